// What a call between processes ended with, as the engine says it.
#ifndef MNEME_CLUSTER_WIRE_STATUS_H_
#define MNEME_CLUSTER_WIRE_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace mneme {

// With the reason and the details that travelled with it. UNAVAILABLE and DEADLINE_EXCEEDED name `who` ("shard 1 at
// HOST:PORT").
absl::Status FromGrpcStatus(const grpc::Status& status, const std::string& who);

}  // namespace mneme

#endif  // MNEME_CLUSTER_WIRE_STATUS_H_
