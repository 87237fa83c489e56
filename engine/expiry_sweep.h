// ExpirySweep: removes entries that are past their expiry, a bounded number at a time. Reads hide them from the moment
// on; this gives their rows back.
#ifndef MNEME_ENGINE_EXPIRY_SWEEP_H_
#define MNEME_ENGINE_EXPIRY_SWEEP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "engine/commands.h"
#include "engine/shard.h"
#include "engine/sweep_log.h"

namespace mneme {

// Not thread-safe: used by the maintenance thread. What it borrows must outlive it.
class ExpirySweep {
 public:
  // `log`: of the shard, which is swept through it; null when it has none.
  ExpirySweep(const Clock* clock, std::function<MemoryHandle(MemoryNumber)> find_memory, SweepLog* log = nullptr)
      : clock_(clock), find_memory_(std::move(find_memory)), log_(log) {}

  // Looks at partitions of which an entry expired a while ago, and removes what expired in them, by a record that names
  // the rows. Bounded: what is left over is found by the next call. Errors are those of the shard's writer; nothing is
  // lost by them.
  absl::Status Run(Shard& shard);

 private:
  struct Findings {
    std::vector<StoredRow> expired;
    int64_t least_expiry_ms = 0;  // of what stays
  };
  Findings Look(const Shard& shard, const PublishedPartition& partition, int64_t now_ms);
  absl::Status Remove(Shard& shard, const PartitionKey& key, int64_t now_ms);
  // Appends a record of the log that names the rows. Whether the last one began with the same.
  bool Append(const PartitionKey& key, std::vector<StoredRow> rows, int64_t now_ms);
  int64_t Slack() const { return log_ == nullptr ? kExpirySlackMs : log_->slack_ms(); }

  const Clock* const clock_;
  const std::function<MemoryHandle(MemoryNumber)> find_memory_;
  SweepLog* const log_;
  std::map<PartitionKey, Row> named_;  // by the last record of a partition: the first row
  // The least expiry of a segment's living rows, by (shard, file number), of the partitions last looked at: a segment
  // of which nothing is due is not read again.
  std::map<std::pair<uint32_t, uint64_t>, int64_t> least_of_segment_;
};

// The least expiry of a block, or kNeverExpires.
int64_t LeastExpiry(const RowBlock& block);

}  // namespace mneme

#endif  // MNEME_ENGINE_EXPIRY_SWEEP_H_
