// MergeLog: the way of merges into the log of a shard that has one.
//
// What pruning chooses depends on an index, of which each replica has one of its own: so one replica chooses, and says
// in records which rows went into which. Every replica merges by them what it still has (MergeRowsOperation).
#ifndef MNEME_ENGINE_MERGE_LOG_H_
#define MNEME_ENGINE_MERGE_LOG_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "engine/commands.h"
#include "engine/log_applier.h"
#include "engine/shard_log.h"
#include "engine/write_operations.h"

namespace mneme {

// The rows of a merge, without what lies in them.
RowMerges RowsOf(const MergeOperation& merges);

// Of the replica that chose; all are borrowed.
struct MergeLog {
  ShardLog* log = nullptr;
  LogApplier* applier = nullptr;
  uint64_t deployment = 0;
  const Clock* clock = nullptr;

  // Appends a record, and waits until this replica has applied it; blocks. What the log says of it: after an
  // UNAVAILABLE it may be applied yet. What `limits` say while it waits, though it will be applied; NOT_FOUND when the
  // memory was dropped.
  absl::StatusOr<MergeResult> Write(const MergeOperation& merges, const CallLimits& limits) const;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_MERGE_LOG_H_
