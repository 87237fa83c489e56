// Prune: greedy merge of redundant entries (He, Neubig and Berg-Kirkpatrick 2021, "Efficient Nearest Neighbor Language
// Models", section 4.2), in a version of each shard, and the guard that asks what it costs.
//
// 1. Entries are visited in the order of their rows. One that was not merged yet takes in those of its nearest
//    neighbours that have its value, label and expiry and a weight of exactly 1; its own weight grows by theirs.
// 2. The guard's queries are answered exactly by the version as it is, and by the same version without the merged rows
//    and with the new weights: what would be, before anything is written.
// 3. The shard's writer applies the merges in groups; each group is one atomic batch. A merge of an entry that was
//    written or removed meanwhile is left out, so that nothing comes back (I5).
// Entries are merged within a shard: several shards merge a little less of a spread memory than one.
#ifndef MNEME_ENGINE_PRUNE_H_
#define MNEME_ENGINE_PRUNE_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/prune_command.h"
#include "engine/shard.h"

namespace mneme {

// FAILED_PRECONDITION above kMaxPrunedEntries.
absl::Status CheckPrunable(uint64_t entries);
// FAILED_PRECONDITION, in words, when the guard's perplexity rises by more than `max_rise`, or is infinite: it is the
// exponential of a mean, which overflows where a target has next to no probability.
absl::Status CheckGuard(double before, double after, double max_rise);

// Blocks. FAILED_PRECONDITION, with nothing written, when there are too many entries or the guard refuses; CANCELLED
// and DEADLINE_EXCEEDED between steps: groups that are written stay. Takes some sixty bytes of ram for each entry.
absl::StatusOr<PruneOutcome> Prune(absl::Span<Shard* const> shards, const MemoryHandle& memory,
                                   const PruneCommand& command);

}  // namespace mneme

#endif  // MNEME_ENGINE_PRUNE_H_
