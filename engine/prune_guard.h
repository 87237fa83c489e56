// The guard of a prune: by how much it would raise the perplexity of queries of which it is known what followed them.
//
// Each query is answered exactly by the partition as it is, and as it would be without the merged rows and with the new
// weights. What it says is a read-out of the k nearest of all shards in the order of I4: so who has the neighbours of
// every shard's part, wherever they are, reckons what one process would, to the bit.
#ifndef MNEME_ENGINE_PRUNE_GUARD_H_
#define MNEME_ENGINE_PRUNE_GUARD_H_

#include <cstddef>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/columns.h"
#include "engine/prune_command.h"

namespace mneme {

// FAILED_PRECONDITION, in words, when the guard's perplexity rises by more than `max_rise`, or is infinite: it is the
// exponential of a mean, which overflows where a target has next to no probability.
absl::Status CheckGuard(double before, double after, double max_rise);

// The exact neighbours of the guard's queries [first, first + count), with their weights: as the partition is, or as it
// would be when it was pruned.
using GuardSearch = std::function<absl::StatusOr<NeighbourColumns>(bool pruned, size_t first, size_t count)>;

// Calls `each` for the guard's queries in batches, all of them as the partition is, then all as it would be.
absl::Status ForEachGuardBatch(const PruneGuard& guard,
                               const std::function<absl::Status(bool pruned, size_t first, size_t count)>& each);

// Notes both perplexities in `outcome`. CheckGuard() of them unless the command is a dry run; CANCELLED when its
// progress says so.
absl::Status ReckonGuard(const PruneCommand& command, const GuardSearch& search, PruneOutcome& outcome);

}  // namespace mneme

#endif  // MNEME_ENGINE_PRUNE_GUARD_H_
