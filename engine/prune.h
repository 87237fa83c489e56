// Prune: greedy merge of redundant entries (He, Neubig and Berg-Kirkpatrick 2021, "Efficient Nearest Neighbor Language
// Models", section 4.2), in a version of each shard, and the guard that asks what it costs.
//
// 1. Entries are visited in the order of their rows. One that was not merged yet takes in those of its nearest
//    neighbours that have its value, label and expiry and a weight of exactly 1; its own weight grows by theirs.
// 2. The guard's queries are answered exactly by the version as it is, and by the same version without the merged rows
//    and with the new weights: what would be, before anything is written (prune_guard.h).
// 3. The shard's writer applies the merges in groups; each group is one atomic batch. A merge of an entry that was
//    written or removed meanwhile is left out, so that nothing comes back (I5). Where the shard has a log they go
//    through it (merge_log.h).
// Entries are merged within a shard: several shards merge a little less of a spread memory than one.
#ifndef MNEME_ENGINE_PRUNE_H_
#define MNEME_ENGINE_PRUNE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/merge_log.h"
#include "engine/prune_command.h"
#include "engine/prune_guard.h"
#include "engine/shard.h"

namespace mneme {

// FAILED_PRECONDITION above kMaxPrunedEntries.
absl::Status CheckPrunable(uint64_t entries);

// Where merges are written.
struct MergeWriter {
  std::function<absl::StatusOr<MergeResult>(Shard& shard, MergeOperation merges)> write;  // blocks
  size_t group_rows = 0;  // that are merged in one group
};
// By the writers of shards that have no log, and by the log of the one shard that has one.
MergeWriter ByShards();
MergeWriter ByLog(const MergeLog& log, const CallLimits& limits);

// Blocks. FAILED_PRECONDITION, with nothing written, when there are too many entries or the guard refuses; CANCELLED
// and DEADLINE_EXCEEDED between steps: groups that are written stay. Takes some sixty bytes of ram for each entry.
absl::StatusOr<PruneOutcome> Prune(absl::Span<Shard* const> shards, const MemoryHandle& memory,
                                   const PruneCommand& command, const MergeWriter& writer);

}  // namespace mneme

#endif  // MNEME_ENGINE_PRUNE_H_
