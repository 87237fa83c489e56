// SearchPool: the fixed set of threads on which searches run, one per core by default. Nothing else computes distances.
//
// Batches form by themselves: a thread that becomes free takes the task that has waited longest and everything that may
// run with it. It waits for nothing: an idle pool begins at once, and a busy one has longer batches the longer its
// queue.
//
// What could not be answered before its deadline is refused at once: in a queue that is longer than callers wait,
// whoever is at its head has hardly any time left, and every search would be for nobody.
#ifndef MNEME_ENGINE_SEARCH_POOL_H_
#define MNEME_ENGINE_SEARCH_POOL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"

namespace mneme {

// A piece of work for one search thread. All tasks of a pool are of one class.
class SearchTask {
 public:
  virtual ~SearchTask() = default;

  // Tasks of equal affinity may run together; 0: alone.
  virtual uint64_t affinity() const = 0;
  // Query rows that it searches.
  virtual size_t rows() const = 0;
  // Nobody waits for it after that.
  virtual std::chrono::steady_clock::time_point deadline() const = 0;
  // Called once for the first of the tasks that run together; `joined` are the others, in the order of their arrival.
  virtual void Run(std::vector<std::unique_ptr<SearchTask>> joined) = 0;
};

// Thread-safe. Tasks run in the order of their arrival, save those that join an earlier one.
class SearchPool {
 public:
  // Tasks join as long as they have no more than `max_batched_rows` rows together; 1: none does.
  SearchPool(size_t threads, size_t max_batched_rows);
  ~SearchPool();

  // Runs what waits, then stops; later tasks are UNAVAILABLE. Called once at most, before the destructor calls it
  // again.
  void Stop();

  size_t threads() const { return threads_.size(); }
  // Queues all of `tasks` or none: RESOURCE_EXHAUSTED when some wait already and more than kMaxQueuedSearches would, or
  // when these would not be done before the first of their deadlines, as fast as rows were searched lately.
  absl::Status Submit(std::vector<std::unique_ptr<SearchTask>> tasks);
  size_t queued() const;

 private:
  using Tasks = std::vector<std::unique_ptr<SearchTask>>;

  absl::Status Enqueue(Tasks& tasks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckDeadline(const Tasks& tasks) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Tasks TakeJoining(const SearchTask& first) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();

  const size_t max_batched_rows_;

  mutable Mutex mutex_;
  CondVar arrived_;
  std::deque<std::unique_ptr<SearchTask>> tasks_ ABSL_GUARDED_BY(mutex_);
  size_t queued_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  // What a row takes a thread, of what ran lately; 0: nothing has.
  std::chrono::duration<double> row_time_ ABSL_GUARDED_BY(mutex_) = {};
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SEARCH_POOL_H_
