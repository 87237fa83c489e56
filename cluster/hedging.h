// Hedging: when a read that a replica of a shard has not answered is also asked at another, and how often.
#ifndef MNEME_CLUSTER_HEDGING_H_
#define MNEME_CLUSTER_HEDGING_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "common/limits.h"
#include "common/mutex.h"

namespace mneme {

// Reads that are hedged; each kind has times of its own. They are answered within milliseconds, so that one which is
// late waits for its replica. What reads a whole memory takes as long as that is large, and would only be read twice.
enum class HedgedRead : uint8_t { kQuery, kScore, kGet, kStates };

// Of one shard. Thread-safe.
//
// A read is late after the p95 of the last answers to its kind, but not before kMinHedgeMs, and at the latest after
// kMaxHedgeMs, as while few answers are known. An answer's time is that from the question on, whichever replica gave
// it: what is late stays above the p95 when it is hedged, and one in twenty is, however fast or slow the replicas are.
//
// What may be hedged is paid for by the reads before (limits.h). Where nothing is saved up one each kMaxHedgeMs is
// free: callers who all wait for a replica that sleeps ask nothing more, and would pay for nothing.
class Hedging {
 public:
  using Duration = std::chrono::steady_clock::duration;

  // A read begins: after so long it is late.
  Duration Begin(HedgedRead read) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether a read that is late may be asked at another replica now, which is counted.
  bool Take(std::chrono::steady_clock::time_point now) ABSL_LOCKS_EXCLUDED(mutex_);
  // A read was answered, by the replica that was asked because it was late if `hedge_won`.
  void Answered(HedgedRead read, Duration time, bool hedge_won) ABSL_LOCKS_EXCLUDED(mutex_);

  // Reads that were asked at another replica, and those that it answered.
  uint64_t hedged() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t won() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  static constexpr size_t kReads = 4;
  // Of the last answers: the p95 is the seventh longest of them.
  static constexpr size_t kKept = 128;
  static constexpr size_t kFewest = 32;
  // The p95 is found anew after so many more: a microsecond each time.
  static constexpr size_t kStep = 16;

  struct Times {
    std::array<Duration, kKept> last = {};
    uint64_t answers = 0;
    Duration late = std::chrono::milliseconds(limits::kMaxHedgeMs);
  };

  mutable Mutex mutex_;
  std::array<Times, kReads> times_ ABSL_GUARDED_BY(mutex_);
  // Reads for which no other was hedged yet: kReadsPerHedge of them pay for one.
  uint64_t saved_ ABSL_GUARDED_BY(mutex_) = limits::kReadsPerHedge * limits::kMostHedgesAtOnce;
  std::chrono::steady_clock::time_point next_free_ ABSL_GUARDED_BY(mutex_);
  uint64_t hedged_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t won_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_HEDGING_H_
