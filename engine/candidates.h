// Candidates: entries that a query names itself (extra candidates) and the successors of what it found.
#ifndef MNEME_ENGINE_CANDIDATES_H_
#define MNEME_ENGINE_CANDIDATES_H_

#include <vector>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "engine/routing.h"
#include "engine/shard.h"
#include "index/search.h"

namespace mneme {

// Borrowed for one call.
struct CandidateContext {
  const std::vector<Shard*>& shards;
  const Routing& routing;
  const MemoryRecord& memory;
  const QueryCommand& command;
};

// Scores the command's extra candidates on the shards that own them and merges them into `neighbours`. Those that are
// deleted, filtered, of another source or there already are left out.
absl::Status AddExtraCandidates(const CandidateContext& context, const SearchRequest& request,
                                NeighbourColumns& neighbours);

// Fills outcome.successors and has_successor: the entry with the next id (SuccessorOf) and the same source.
absl::Status FindSuccessors(const CandidateContext& context, const SearchRequest& request, QueryOutcome& outcome);

}  // namespace mneme

#endif  // MNEME_ENGINE_CANDIDATES_H_
