#include "engine/search_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Rows that share one pass over the keys: a smaller share would leave the pass half empty.
constexpr size_t kMinShareRows = 8;

}  // namespace

SearchPool::SearchPool(size_t threads, size_t max_batched_rows) : max_batched_rows_(max_batched_rows) {
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

absl::Status SearchPool::Submit(Tasks tasks) {
  const size_t count = tasks.size();
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(Enqueue(tasks));
  }
  for (size_t i = 0; i < count; ++i) arrived_.NotifyOne();
  return absl::OkStatus();
}

absl::Status SearchPool::Enqueue(Tasks& tasks) {
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

// Everything that waits is shared with the other threads, which are soon free as well: one long batch would leave them
// with what little comes meanwhile.
SearchPool::Tasks SearchPool::TakeJoining(const SearchTask& first) {
  Tasks joined;
  if (first.affinity() == 0 || first.rows() >= max_batched_rows_) return joined;
  size_t waiting = first.rows();
  for (const auto& task : tasks_) {
    if (task->affinity() == first.affinity()) waiting += task->rows();
  }
  if (waiting == first.rows()) return joined;
  const size_t share = std::max((waiting + threads_.size() - 1) / threads_.size(), kMinShareRows);
  const size_t bound = std::min(share, max_batched_rows_);
  size_t rows = first.rows();
  for (auto& task : tasks_) {
    if (task->affinity() != first.affinity() || rows + task->rows() > bound) continue;
    rows += task->rows();
    joined.push_back(std::move(task));
  }
  std::erase(tasks_, nullptr);
  return joined;
}

size_t SearchPool::queued() const {
  MutexLock lock(&mutex_);
  return tasks_.size();
}

void SearchPool::Run() {
  while (true) {
    std::unique_ptr<SearchTask> first;
    Tasks joined;
    {
      MutexLock lock(&mutex_);
      arrived_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !tasks_.empty() || stopping_; });
      if (tasks_.empty()) return;
      first = std::move(tasks_.front());
      tasks_.pop_front();
      joined = TakeJoining(*first);
    }
    first->Run(std::move(joined));
  }
}

}  // namespace mneme
