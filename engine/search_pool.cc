#include "engine/search_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {

SearchPool::SearchPool(size_t threads) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

SearchPool::~SearchPool() { Stop(); }

void SearchPool::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  arrived_.NotifyAll();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

absl::Status SearchPool::Submit(std::vector<std::function<void()>> tasks) {
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(Enqueue(tasks));
  }
  for (size_t i = 0; i < tasks.size(); ++i) arrived_.NotifyOne();
  return absl::OkStatus();
}

absl::Status SearchPool::Enqueue(std::vector<std::function<void()>>& tasks) {
  if (stopping_) return absl::UnavailableError("the server is shutting down");
  // What comes to an idle pool is taken whole, however many shards it has.
  if (!tasks_.empty() && tasks_.size() + tasks.size() > limits::kMaxQueuedSearches) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(tasks_.size(), " searches are waiting; the bound is ",
                                                                limits::kMaxQueuedSearches)),
                      reason::kQueueFull);
  }
  for (auto& task : tasks) tasks_.push_back(std::move(task));
  return absl::OkStatus();
}

size_t SearchPool::queued() const {
  MutexLock lock(&mutex_);
  return tasks_.size();
}

void SearchPool::Run() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mutex_);
      arrived_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !tasks_.empty() || stopping_; });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace mneme
