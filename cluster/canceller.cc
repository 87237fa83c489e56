#include "cluster/canceller.h"

#include <chrono>
#include <utility>

namespace mneme {
namespace {

constexpr std::chrono::milliseconds kLook{5};

}  // namespace

Canceller::Canceller() : thread_([this] { Run(); }) {}

Canceller::~Canceller() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  arrived_.NotifyAll();
  thread_.join();
}

void Canceller::Watch(std::shared_ptr<const std::atomic<bool>> cancelled, std::weak_ptr<grpc::ClientContext> context) {
  bool first = false;
  {
    MutexLock lock(&mutex_);
    first = watched_.empty();
    watched_.push_back({std::move(cancelled), std::move(context)});
  }
  if (first) arrived_.NotifyAll();
}

void Canceller::CancelAll() {
  MutexLock lock(&mutex_);
  all_ = true;
}

bool Canceller::cancels_all() const {
  MutexLock lock(&mutex_);
  return all_;
}

void Canceller::Run() {
  while (true) {
    std::vector<std::shared_ptr<grpc::ClientContext>> gone;  // let go with no lock held
    {
      MutexLock lock(&mutex_);
      const auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !watched_.empty(); };
      arrived_.Await(&mutex_, work);
      if (stopping_) return;
      std::erase_if(watched_, [&](const Watched& each) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        if (!all_ && (each.cancelled == nullptr || !each.cancelled->load(std::memory_order_relaxed))) {
          return each.context.expired();
        }
        if (auto context = each.context.lock()) gone.push_back(std::move(context));
        return true;
      });
    }
    for (const auto& context : gone) context->TryCancel();
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace mneme
