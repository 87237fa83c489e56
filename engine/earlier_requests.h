// EarlierRequests: requests that were remembered before a restore onto another number of shards, when they are made
// again.
//
// A retry is split over other shards than the request was, and the backup may have it on some of those only. So each
// shard remembers what every shard of then did (RequestPart), and a part covers what was its shard's by the routing of
// then: whatever comes its way and is covered was done, the rest is to be done now.
#ifndef MNEME_ENGINE_EARLIER_REQUESTS_H_
#define MNEME_ENGINE_EARLIER_REQUESTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/columns.h"
#include "engine/commands.h"
#include "engine/state_commands.h"
#include "engine/write_operations.h"
#include "storage/entry_store.h"

namespace mneme {

using RequestParts = std::vector<RequestPart>;

// --- Inserts and deletes ---------------------------------------------------------------------------------------------

// Takes out of `entries`, which have ids, those that are covered.
void RemoveCovered(const RequestParts& parts, const MemoryRecord& memory, PartitionId partition,
                   EntryColumns& entries);
// A deletion is asked of every shard that may have something of it. Where the backup lacks one of them nothing of it is
// covered: it is done anew. (Parts of two deployments of as many shards, with others in between, count as of one.)
bool CoversDeletion(const RequestParts& parts, const MemoryRecord& memory, const PartitionSelection& partitions);
// The answer to one of which nothing is left, or, with the sequence and ids to come, to one of which something is; what
// this shard did of it since included. DATA_LOSS when what is remembered is damaged.
absl::StatusOr<WriteResult> ReplayEarlier(const RememberedRequest& known);

// --- Working memory --------------------------------------------------------------------------------------------------

// What this shard has to do of a request, and which of its commands that is (of ApplyStates).
struct RestOfStates {
  std::optional<StateRequest> request;  // nullopt: nothing
  ApplyStates covered;                  // the other commands
  std::vector<size_t> rest_positions;
  std::vector<size_t> covered_positions;
};
RestOfStates RestOf(const RequestParts& parts, const MemoryRecord& memory, const StateRequest& request);
// DATA_LOSS as above.
absl::StatusOr<std::shared_ptr<const EarlierOutcome>> EarlierStates(const RequestParts& parts);
// Puts into `answers`, which are as shards gave them, those that were given before. hashes: of the session of each
// command of the whole request (Routing::HashOfSession).
absl::Status TakeEarlierAnswers(const EarlierOutcome& earlier, const std::vector<uint64_t>& hashes,
                                std::vector<StateAnswer>& answers);

}  // namespace mneme

#endif  // MNEME_ENGINE_EARLIER_REQUESTS_H_
