#include "server/call_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/request_error.h"

namespace mneme {

CallPool::CallPool(size_t workers, size_t max_queued) : max_queued_(max_queued) {
  workers_.reserve(workers);
  for (size_t i = 0; i < workers; ++i) workers_.emplace_back([this] { Work(); });
}

CallPool::~CallPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
}

absl::Status CallPool::Submit(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  if (tasks_.size() >= max_queued_) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(max_queued_, " calls wait already; try again")),
                      reason::kQueueFull);
  }
  tasks_.push_back(std::move(task));
  return absl::OkStatus();
}

size_t CallPool::queued() const {
  absl::MutexLock lock(&mutex_);
  return tasks_.size();
}

void CallPool::Work() {
  while (true) {
    std::function<void()> task;
    {
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !tasks_.empty(); };
      absl::MutexLock lock(&mutex_, absl::Condition(&ready));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace mneme
