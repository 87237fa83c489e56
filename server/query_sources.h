// The sources of a query: found and checked, asked all at once, and told in the answer.
#ifndef MNEME_SERVER_QUERY_SOURCES_H_
#define MNEME_SERVER_QUERY_SOURCES_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/deployment.h"
#include "mneme/v1/memory.pb.h"
#include "server/query_source.h"

namespace mneme {

// The memories that a request asks, each with its partitions, k, weight and the version that it must see: those of
// `sources`, or the one that `memory` names. NOT_FOUND where there is no such memory; INVALID_ARGUMENT naming the
// field, also where sources are not of one shape; FAILED_PRECONDITION where the fingerprint is not that of each.
absl::StatusOr<std::vector<QuerySource>> FindSources(const Deployment& deployment, const v1::QueryRequest& request);

// INVALID_ARGUMENT naming `field` unless answers, keys and values of `memory` can stand beside those of `first`:
// dimension, metric, value kind, vocabulary size and value dimension.
absl::Status CheckSameShape(const std::string& field, const MemorySpec& memory, const MemorySpec& first);

// Searches all at once, and fills in the outcomes. `done` is called exactly once, when every search has ended, with the
// error of the first source that has one; NOT_FOUND when a memory is dropped meanwhile. Where an answer in part is
// allowed a source may have none of its shards, but one of all sources has answered: else UNAVAILABLE,
// DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED (QUEUE_FULL). `sources` outlive it.
void AskSources(Deployment& deployment, std::vector<QuerySource>& sources, std::function<void(absl::Status)> done);

// Where an answer in part will do: OK when some shard of some source has answered, else why none has: UNAVAILABLE of
// the first source that says so, or what the first says.
absl::Status CheckAnswered(absl::Span<const QuerySource> sources);

// A MixtureAnswer for each: all of it that does not depend on the read-out.
void WriteSources(const Deployment& deployment, absl::Span<const QuerySource> sources, v1::QueryResponse* out);

}  // namespace mneme

#endif  // MNEME_SERVER_QUERY_SOURCES_H_
