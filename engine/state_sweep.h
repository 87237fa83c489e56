// StateSweep: removes sessions and states that are past their expiry, a bounded number at a time. Reads hide them from
// the moment on; this gives their bytes back.
#ifndef MNEME_ENGINE_STATE_SWEEP_H_
#define MNEME_ENGINE_STATE_SWEEP_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "engine/shard.h"
#include "engine/sweep_log.h"

namespace mneme {

// Not thread-safe: used by the maintenance thread. What it borrows must outlive it.
class StateSweep {
 public:
  // `log`: of the shard, which is swept through it; null when it has none.
  explicit StateSweep(const Clock* clock, SweepLog* log = nullptr) : clock_(clock), log_(log) {}

  // Removes what expired a while ago, by an operation of the shard's writer that names it. Only what is due is looked
  // at, with no lock held. Bounded: what is left over is found by the next call. Errors are the store's and those of
  // the shard's writer; nothing is lost by them.
  absl::Status Run(Shard& shard);

 private:
  // What one operation is to remove, and the least expiry of what stays.
  struct Findings {
    std::vector<StateExpiry> due;
    int64_t least_expiry_ms = 0;
  };
  static absl::StatusOr<Findings> Look(const Shard& shard, int64_t from_ms, int64_t now_ms);
  absl::Status Remove(Shard& shard, int64_t from_ms, int64_t now_ms);
  int64_t Slack() const { return log_ == nullptr ? kExpirySlackMs : log_->slack_ms(); }

  const Clock* const clock_;
  SweepLog* const log_;
  std::optional<StateExpiry> named_;  // by the last record: the first of it
};

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_SWEEP_H_
