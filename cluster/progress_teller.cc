#include "cluster/progress_teller.h"

#include <utility>

namespace mneme {

ProgressTeller::ProgressTeller(const CallLimits& limits, FlatProgress first,
                               std::function<bool(const FlatProgress&)> tell, std::chrono::milliseconds again)
    : given_(limits), tell_(std::move(tell)), again_(again), last_(std::move(first)), thread_([this] { Run(); }) {}

ProgressTeller::~ProgressTeller() {
  {
    MutexLock lock(&mutex_);
    ended_ = true;
  }
  ending_.NotifyAll();
  thread_.join();
}

CallLimits ProgressTeller::limits() const {
  CallLimits own = given_;
  own.cancelled = cancelled_;
  return own;
}

bool ProgressTeller::Tell(FlatProgress step) {
  MutexLock lock(&mutex_);
  last_ = std::move(step);
  return TellLast();
}

bool ProgressTeller::TellLast() {
  const bool wanted = given_.Check().ok() && tell_(last_);
  if (!wanted) cancelled_->store(true, std::memory_order_relaxed);
  return !cancelled_->load(std::memory_order_relaxed);
}

void ProgressTeller::Run() {
  MutexLock lock(&mutex_);
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_; };
  while (!ending_.AwaitFor(&mutex_, again_, ended) && TellLast()) {
  }
}

}  // namespace mneme
