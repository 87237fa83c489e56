// Read-outs of shards: what one that has all of the nearest makes of them, for a front end that passes it on.
//
// A distribution, or attention, is a few tens of kilobytes where its neighbours are hundreds. The shard is asked for it
// as a client asks, by a mneme.v1.QueryRequest that has k, precision and read-out alone, and answers as clients are
// answered, by a mneme.v1.QueryResponse that has the result alone: both are read and written by what reads and writes
// those of clients. Who merges what several shards found, adds candidates to it, mixes sources, or goes on with the
// neighbours (a stream, for what it appends) needs them, and reads out himself.
#ifndef MNEME_SERVER_SHARD_READ_OUT_H_
#define MNEME_SERVER_SHARD_READ_OUT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/query_plan.h"

namespace mneme {

// What a shard took to make it.
inline double SecondsOf(const FinishedReadOut& made) { return static_cast<double>(made.took_us) * 1e-6; }

// --- The front end --------------------------------------------------------------------------------------------------

// Sets QueryCommand::read_out of a plan that was made of `request`, which it borrows, and whose source was not asked
// yet. Not of a mixture, nor where the neighbours are wanted themselves, nor where question and answer may take more
// bytes than they do, but for a few: with a mask, model's probabilities or contexts that are longer than they, many
// cells, one value a row, or sparse values over a large vocabulary.
void LetShardReadOut(const v1::QueryRequest& request, QueryPlan& plan);

// The result, which a shard made, of a plan whose source has answered, and the benefit that it counted. DATA_LOSS when
// it is another than was asked for.
absl::Status TakeReadOut(const QueryPlan& plan, v1::QueryResponse* out, BenefitCount& benefit);

// --- The shard ------------------------------------------------------------------------------------------------------

// What the neighbours that `command` asks for are to be made into: a plan that has all but the outcome of its source.
// INVALID_ARGUMENT when `asked` is no query with a distribution or attention, as ReadReadOut() says of the memory and
// the rows of `command`, and when it would search for another k.
absl::StatusOr<QueryPlan> PlanReadOut(const MemoryHandle& memory, const QueryCommand& command,
                                      const std::string& asked);

// Takes the neighbours of `outcome`. Errors as WriteReadOut() and CheckSize().
absl::StatusOr<FinishedReadOut> MakeReadOut(QueryPlan& plan, const CallLimits& limits, QueryOutcome& outcome);

}  // namespace mneme

#endif  // MNEME_SERVER_SHARD_READ_OUT_H_
