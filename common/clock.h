// Clock: where time comes from. Tests hand in their own.
#ifndef MNEME_COMMON_CLOCK_H_
#define MNEME_COMMON_CLOCK_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace mneme {

// Wall time for stamps and expiry. Deadlines use std::chrono::steady_clock and never this. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Unix time in milliseconds; of SteadyClock, since some moment.
  virtual int64_t NowMs() const = 0;
};

// The machine's clock.
class SystemClock final : public Clock {
 public:
  int64_t NowMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

// What nobody sets: milliseconds since some moment, for what lasts a while.
class SteadyClock final : public Clock {
 public:
  int64_t NowMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// A clock that a test moves.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t now_ms) : now_ms_(now_ms) {}
  int64_t NowMs() const override { return now_ms_.load(); }
  void Advance(int64_t ms) { now_ms_ += ms; }
  void Set(int64_t now_ms) { now_ms_ = now_ms; }

 private:
  std::atomic<int64_t> now_ms_;
};

}  // namespace mneme

#endif  // MNEME_COMMON_CLOCK_H_
