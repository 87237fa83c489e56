// What replicas ask of each other, and front ends of a replica alone (proto/mneme/internal/v1/shard.proto); see
// shard_handlers.h.
#ifndef MNEME_SERVER_CHECKPOINT_HANDLERS_H_
#define MNEME_SERVER_CHECKPOINT_HANDLERS_H_

#include "mneme/internal/v1/shard.pb.h"
#include "server/progress_stream.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleDescribeReplica(const CallContext& call, const internal::v1::Call& request,
                                   internal::v1::Answer* response);
absl::Status HandleDigest(const CallContext& call, const internal::v1::Call& request,
                          const Tell<internal::v1::Answer>& tell);
absl::Status HandleOpenCheckpoint(const CallContext& call, const internal::v1::Call& request,
                                  const Tell<internal::v1::Answer>& tell);
absl::Status HandleReadCheckpoint(const CallContext& call, const internal::v1::Call& request,
                                  const Tell<internal::v1::Answer>& tell);
absl::Status HandleCloseCheckpoint(const CallContext& call, const internal::v1::Call& request,
                                   internal::v1::Answer* response);

}  // namespace mneme

#endif  // MNEME_SERVER_CHECKPOINT_HANDLERS_H_
