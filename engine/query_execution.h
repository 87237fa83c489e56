// QueryExecution: one query on its way through the shards and back.
//
// 1. Wait until every shard it names has applied the version it asks for (I1).
// 2. One task per (shard, slice of query rows) searches immutable versions; slices keep every core busy with one batch.
//    Tasks of short queries that ask alike run together when they wait together (search_pool.h, query_batch.h).
// 3. The last task to finish merges the shards' answers in the order of I4, adds extra candidates and successors.
#ifndef MNEME_ENGINE_QUERY_EXECUTION_H_
#define MNEME_ENGINE_QUERY_EXECUTION_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/answer_cache.h"
#include "engine/commands.h"
#include "engine/routing.h"
#include "engine/search_pool.h"
#include "engine/shard.h"

namespace mneme {

class LabelSumCache;
class MatchCache;

// What a query runs on. Borrowed; must outlive every query.
struct QueryContext {
  std::vector<Shard*> shards;
  const Routing* routing = nullptr;
  SearchPool* pool = nullptr;
  AnswerCache* answers = nullptr;
  LabelSumCache* label_sums = nullptr;
  MatchCache* matches = nullptr;
};

// Starts; `done` is called exactly once, on a search thread unless the query could not be queued.
void ExecuteQuery(const QueryContext& context, MemoryHandle memory, QueryCommand command,
                  std::function<void(absl::StatusOr<QueryOutcome>)> done);

}  // namespace mneme

#endif  // MNEME_ENGINE_QUERY_EXECUTION_H_
