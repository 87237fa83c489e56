// The centroids read-out: one vector for each label, of entries or of the nearest.
#ifndef MNEME_SERVER_CENTROIDS_READ_OUT_H_
#define MNEME_SERVER_CENTROIDS_READ_OUT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/entry_query.h"
#include "server/unary_call.h"

namespace mneme {

// Blocks. Fills result and statistics; returns the version that was read.
absl::StatusOr<Version> AnswerCentroids(const EntryQuery& query, v1::QueryResponse* response);

// With keys: the nearest are found as for any query, and summed instead of listed. As an AsyncHandler.
absl::Status HandleCentroidsOfNearest(const CallContext& call, const MemoryHandle& memory,
                                      const v1::QueryRequest& request, v1::QueryResponse* response, Done done);

}  // namespace mneme

#endif  // MNEME_SERVER_CENTROIDS_READ_OUT_H_
