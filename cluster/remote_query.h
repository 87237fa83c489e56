// RemoteQuery: one query on its way to shards of other processes and back.
//
// 1. Every shard that owns a part of it is asked for its own k nearest, all at once.
// 2. Their columns merge in the order of I4: what is found is what one process would find, to the byte.
// 3. Extra candidates that were not found, then successors, are scored on the shards that own them.
// Of one shard alone, where step 3 has nothing to do, the neighbours are read out by it (QueryCommand::read_out), and
// step 2 passes on what it made of them.
// Where the command allows it, a shard that is away, silent until little of the deadline is left, or too busy to answer
// by then (QUEUE_FULL), is missing: it is not asked again, and the coverage names it. One that is so only in step 3 is
// missing, too, though what it found is there, and its part of the version.
// Merging is done on search threads, as is what follows it; threads of gRPC only hand over, or pass on what the one
// shard has read out where that is short.
#ifndef MNEME_CLUSTER_REMOTE_QUERY_H_
#define MNEME_CLUSTER_REMOTE_QUERY_H_

#include <functional>

#include "absl/status/statusor.h"
#include "cluster/query_admission.h"
#include "cluster/shard_fan.h"
#include "engine/commands.h"
#include "engine/search_pool.h"

namespace mneme {

// Borrowed; must outlive every query.
struct RemoteQueryContext {
  const ShardFan* shards = nullptr;
  SearchPool* pool = nullptr;
  QueryAdmission* admission = nullptr;
};

// Starts; the command has its stamp. `done` is called exactly once, with RESOURCE_EXHAUSTED (QUEUE_FULL) when too many
// are on their way, and by a thread as Deployment::Query() says. Where an answer in part is allowed it may be of no
// shard at all.
void ExecuteRemoteQuery(const RemoteQueryContext& context, MemoryHandle memory, QueryCommand command,
                        std::function<void(absl::StatusOr<QueryOutcome>)> done);

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_QUERY_H_
