#include "server/entry_read_outs.h"

#include <utility>

#include "common/status_macros.h"
#include "server/centroids_read_out.h"
#include "server/convert_memory.h"
#include "server/convert_selection.h"
#include "server/entry_query.h"
#include "server/find_memory.h"
#include "server/match_read_out.h"
#include "server/query_plan.h"
#include "server/read_source.h"
#include "server/select_read_out.h"

namespace mneme {
namespace {

absl::Status ReadSelection(EntryQuery& query) {
  const v1::QueryRequest& request = query.request;
  VisitCommand& selection = query.selection;
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), query.memory->spec));
  RETURN_IF_ERROR(ReadPartitions("partitions", request.partitions(), selection.partitions));
  RETURN_IF_ERROR(ReadFilter("filter", request.filter(), selection.filter));
  RETURN_IF_ERROR(ReadPrecision(request.precision(), query.precision));
  RETURN_IF_ERROR(ReadSource(query.call.deployment, query.memory, request, selection));
  selection.limits = query.call.limits;
  return absl::OkStatus();
}

absl::StatusOr<Version> AnswerReadOut(const EntryQuery& query, v1::QueryResponse* response) {
  if (query.request.has_centroids()) return AnswerCentroids(query, response);
  if (query.request.has_select()) return AnswerSelect(query, response);
  return AnswerMatch(query, response);
}

absl::Status Answer(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                    v1::QueryResponse* response) {
  EntryQuery query{call, memory, request, {}};
  RETURN_IF_ERROR(ReadSelection(query));
  ASSIGN_OR_RETURN(const Version read, AnswerReadOut(query, response));
  response->mutable_coverage()->set_shards_total(static_cast<uint32_t>(read.parts.size()));
  response->mutable_coverage()->set_shards_answered(static_cast<uint32_t>(read.parts.size()));
  response->set_version(call.deployment.EncodeVersion(read));
  return CheckSize(*response);
}

}  // namespace

bool IsEntryReadOut(const v1::QueryRequest& request) {
  return request.has_centroids() || request.has_match() || request.has_select();
}

absl::Status HandleEntryReadOut(const CallContext& call, const v1::QueryRequest& request, v1::QueryResponse* response,
                                Done done) {
  ASSIGN_OR_RETURN(MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  if (request.allow_partial()) {
    return FieldError("allow_partial", "is true; centroids, match and select are of every shard or not at all");
  }
  if (request.has_centroids() && request.has_keys()) {
    return HandleCentroidsOfNearest(call, memory, request, response, std::move(done));
  }
  if (request.has_keys()) {
    return FieldError("keys", request.has_select() ? "is set; select looks at scores" : "is set; match pairs entries");
  }
  CallPool& pool = request.has_match() ? call.front_end.long_calls() : call.front_end.calls();
  return pool.Submit([&call, memory = std::move(memory), &request, response, done = std::move(done)] {
    done(Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(call.limits.Check());  // it may have waited
      return WithMemory(Answer(call, memory, request, response), *memory);
    }));
  });
}

}  // namespace mneme
