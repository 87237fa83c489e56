// CallTimer: what is to be done about calls that take too long, at its time.
#ifndef MNEME_CLUSTER_CALL_TIMER_H_
#define MNEME_CLUSTER_CALL_TIMER_H_

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe. One thread for all calls; it rests for a millisecond at least, so that many calls wake it as seldom as
// few.
class CallTimer {
 public:
  using Time = std::chrono::steady_clock::time_point;

  CallTimer();
  ~CallTimer();

  // Calls `work`, which must not block, at `when` or some milliseconds later; never when the timer ends before.
  void At(Time when, std::function<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::multimap<Time, std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_CALL_TIMER_H_
