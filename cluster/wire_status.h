// What a call between processes ended with, as the engine says it.
#ifndef MNEME_CLUSTER_WIRE_STATUS_H_
#define MNEME_CLUSTER_WIRE_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace mneme {

// With the reason and the details that travelled with it. UNAVAILABLE and DEADLINE_EXCEEDED name `who` ("shard 1 at
// HOST:PORT"). UNAVAILABLE of any reason is SHARD_UNAVAILABLE: what says of itself that it is starting or stopping is
// `who`, not the process that tells it on.
absl::Status FromGrpcStatus(const grpc::Status& status, const std::string& who);

// Whether the process took no part in this: it was not reached, did not say in time, or is starting or stopping. False
// for what it decided, be it a refusal.
bool IsAway(const grpc::Status& status);

}  // namespace mneme

#endif  // MNEME_CLUSTER_WIRE_STATUS_H_
