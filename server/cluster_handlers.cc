#include "server/cluster_handlers.h"

#include <string>
#include <utility>

#include "engine/replica_description.h"

namespace mneme {
namespace {

v1::ReplicaState StateOf(ReplicaState state) {
  switch (state) {
    case ReplicaState::kServing: return v1::REPLICA_STATE_SERVING;
    case ReplicaState::kReplaying: return v1::REPLICA_STATE_REPLAYING;
    case ReplicaState::kLost: return v1::REPLICA_STATE_LOST;
    case ReplicaState::kFailed: return v1::REPLICA_STATE_FAILED;
    case ReplicaState::kAway: return v1::REPLICA_STATE_AWAY;
  }
  return v1::REPLICA_STATE_UNSPECIFIED;
}

// The halves big endian, the high one first: as hexadecimal digits it is the number.
std::string BytesOf(const Hash128& hash) {
  std::string bytes;
  for (const uint64_t half : {hash.high, hash.low}) {
    for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(half >> shift));
  }
  return bytes;
}

}  // namespace

absl::Status HandleShowCluster(const CallContext& call, const v1::ShowClusterRequest& request,
                               const Tell<v1::ShowClusterResponse>& tell) {
  return call.deployment.DescribeReplicas(
      {.digests = request.digest(), .limits = call.limits}, [&](const ReplicaDescription& replica) -> absl::Status {
        v1::ShowClusterResponse response;
        response.set_shard(replica.shard);
        response.set_replica(replica.replica);
        response.set_address(replica.address);
        response.set_state(StateOf(replica.state));
        response.set_detail(replica.detail);
        response.set_applied(replica.applied);
        response.set_log_end(replica.log_end);
        response.set_entries(replica.entries);
        if (replica.digest.has_value()) {
          response.set_digest(BytesOf(replica.digest->hash));
          response.set_digest_applied(replica.digest->applied);
        }
        if (tell(std::move(response))) return absl::OkStatus();
        return absl::CancelledError("nobody hears of the replicas any more");
      });
}

}  // namespace mneme
