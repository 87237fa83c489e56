// Candidates: entries that a query names itself (extra candidates) and the successors of what it found.
#ifndef MNEME_ENGINE_CANDIDATES_H_
#define MNEME_ENGINE_CANDIDATES_H_

#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "engine/routing.h"
#include "engine/shard.h"
#include "index/search.h"

namespace mneme {

// An entry to look up for a query row, and the source it must have.
struct WantedEntry {
  size_t query = 0;
  PartitionId partition = 0;
  EntryId id = 0;
  std::optional<uint64_t> source;
};

// --- What a front end does, wherever the shards are ----------------------------------------------------------------

// By the shards that own them, or may; those of one shard stay in their order.
std::map<uint32_t, std::vector<WantedEntry>> SplitByOwner(const Routing& routing, const MemoryRecord& memory,
                                                          const std::vector<WantedEntry>& wanted);

// The command's extra candidates, less those that were found: what the search found stays as it was found, for its
// version may be older than what is scored now (I3).
std::vector<WantedEntry> WantedCandidates(const QueryCommand& command, const NeighbourColumns& found);
// Merges what shards scored of them into `neighbours`.
void AddCandidates(const std::vector<NeighbourColumns>& answers, NeighbourColumns& neighbours);

// Fills outcome.successors; the entries to look for: those with the next id (SuccessorOf) and the same source.
std::vector<WantedEntry> WantedSuccessors(QueryOutcome& outcome);
// Fills outcome.has_successor from what shards found of `wanted`.
void MarkSuccessors(const std::vector<WantedEntry>& wanted, const std::vector<NeighbourColumns>& answers,
                    QueryOutcome& outcome);
// `request` for successors, which nothing excludes and whose keys nobody wants.
SearchRequest PlainRequest(SearchRequest request);

// --- What is asked of a shard --------------------------------------------------------------------------------------

// Borrowed for one call.
struct CandidateContext {
  const MemoryRecord& memory;
  const Lease* lease;  // may be null
  const CallLimits& limits;
  const Routing& routing;
};

// Scores what the shard holds of `wanted` (ascending by query). Those that are deleted, filtered, or have another
// source are left out.
absl::StatusOr<NeighbourColumns> ScoreOn(Shard& shard, const CandidateContext& context, const SearchRequest& request,
                                         const std::vector<WantedEntry>& wanted);

}  // namespace mneme

#endif  // MNEME_ENGINE_CANDIDATES_H_
