// Read-outs of entries rather than of the nearest ones: centroids, match and select. Unary queries only.
#ifndef MNEME_SERVER_ENTRY_READ_OUTS_H_
#define MNEME_SERVER_ENTRY_READ_OUTS_H_

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

// True when the request's read-out is one of them.
bool IsEntryReadOut(const v1::QueryRequest& request);

// Answers such a request on a pool of calls that may block. An AsyncHandler.
absl::Status HandleEntryReadOut(const CallContext& call, const v1::QueryRequest& request, v1::QueryResponse* response,
                                Done done);

}  // namespace mneme

#endif  // MNEME_SERVER_ENTRY_READ_OUTS_H_
