// LineBudget: how many log lines of one kind are written in a second, so that a flood of calls does not fill the disk.
#ifndef MNEME_SERVER_LINE_BUDGET_H_
#define MNEME_SERVER_LINE_BUDGET_H_

#include <chrono>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe.
class LineBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr int kLinesPerSecond = 50;

  // False once a second's worth has been taken. True: `left_out` is how many were refused since the last that was not.
  bool Take(uint64_t* left_out, Time now = std::chrono::steady_clock::now()) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (now - begun_ >= std::chrono::seconds(1)) {
      begun_ = now;
      taken_ = 0;
    }
    if (taken_ == kLinesPerSecond) {
      ++refused_;
      return false;
    }
    ++taken_;
    *left_out = refused_;
    refused_ = 0;
    return true;
  }

 private:
  Mutex mutex_;
  Time begun_ ABSL_GUARDED_BY(mutex_);
  int taken_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mneme

#endif  // MNEME_SERVER_LINE_BUDGET_H_
