// CallPool: a few threads for calls that block, behind a bounded queue.
#ifndef MNEME_SERVER_CALL_POOL_H_
#define MNEME_SERVER_CALL_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace mneme {

// Runs tasks in the order of their arrival. Refuses rather than queue without bound, so that nothing ever blocks a
// gRPC thread. Thread-safe.
class CallPool {
 public:
  CallPool(size_t workers, size_t max_queued);
  // Runs what was accepted, then stops.
  ~CallPool();

  // RESOURCE_EXHAUSTED (QUEUE_FULL) when max_queued tasks wait; then `task` is not run.
  absl::Status Submit(std::function<void()> task);
  size_t queued() const;

 private:
  void Work();

  const size_t max_queued_;
  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> workers_;  // constant after construction
};

}  // namespace mneme

#endif  // MNEME_SERVER_CALL_POOL_H_
