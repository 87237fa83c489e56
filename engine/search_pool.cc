#include "engine/search_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"

namespace mneme {

SearchPool::SearchPool(size_t threads) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

SearchPool::~SearchPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status SearchPool::Submit(std::vector<std::function<void()>> tasks) {
  absl::MutexLock lock(&mutex_);
  if (tasks_.size() + tasks.size() > limits::kMaxQueuedSearches) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(tasks_.size(), " searches are waiting; the bound is ",
                                                                limits::kMaxQueuedSearches)),
                      reason::kQueueFull);
  }
  for (auto& task : tasks) tasks_.push_back(std::move(task));
  return absl::OkStatus();
}

size_t SearchPool::queued() const {
  absl::MutexLock lock(&mutex_);
  return tasks_.size();
}

void SearchPool::Run() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](SearchPool* pool) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pool->mutex_) {
            return !pool->tasks_.empty() || pool->stopping_;
          },
          this));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace mneme
