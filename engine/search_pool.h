// SearchPool: the fixed set of threads on which searches run, one per core by default. Nothing else computes distances.
#ifndef MNEME_ENGINE_SEARCH_POOL_H_
#define MNEME_ENGINE_SEARCH_POOL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe. Tasks run in the order of their arrival.
class SearchPool {
 public:
  explicit SearchPool(size_t threads);
  ~SearchPool();

  // Runs what waits, then stops; later tasks are UNAVAILABLE. Called once at most, before the destructor calls it again.
  void Stop();

  size_t threads() const { return threads_.size(); }
  // Queues all of `tasks` or none: RESOURCE_EXHAUSTED when some wait already and more than
  // kMaxQueuedSearches would.
  absl::Status Submit(std::vector<std::function<void()>> tasks);
  size_t queued() const;

 private:
  absl::Status Enqueue(std::vector<std::function<void()>>& tasks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();

  mutable Mutex mutex_;
  CondVar arrived_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SEARCH_POOL_H_
