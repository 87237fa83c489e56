#include "server/cluster_handlers.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "engine/replica_description.h"
#include "server/options.h"
#include "server/request_error.h"

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

v1::ShowClusterResponse ResponseOf(const ReplicaDescription& replica) {
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
  return response;
}

// Empty: not given.
absl::Status CheckAddress(const std::string& field, const std::string& address) {
  if (address.empty()) return absl::OkStatus();
  const auto parts = SplitAddress(address);
  if (parts.ok() && parts->second != 0) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is \"", address, "\"; must be HOST:PORT with the port that the process has"));
}

}  // namespace

absl::Status HandleShowCluster(const CallContext& call, const v1::ShowClusterRequest& request,
                               const Tell<v1::ShowClusterResponse>& tell) {
  return call.deployment.DescribeReplicas(
      {.digests = request.digest(), .limits = call.limits}, [&](const ReplicaDescription& replica) -> absl::Status {
        if (tell(ResponseOf(replica))) return absl::OkStatus();
        return absl::CancelledError("nobody hears of the replicas any more");
      });
}

absl::Status HandleChangeReplicas(const CallContext& call, const v1::ChangeReplicasRequest& request,
                                  const Tell<v1::ChangeReplicasResponse>& tell) {
  RETURN_IF_ERROR(CheckAddress("add", request.add()));
  RETURN_IF_ERROR(CheckAddress("drain", request.drain()));
  if (request.add() == request.drain()) {
    return FieldError("add", request.add().empty() ? "is empty, and so is drain; must be the address of a process"
                                                   : "is what drain is; must be another address");
  }
  const auto progress = [&](const ReplicaChangeStep& step) {
    v1::ChangeReplicasResponse response;
    response.set_stage(step.stage);
    *response.mutable_replica() = ResponseOf(step.replica);
    return tell(std::move(response));
  };
  ASSIGN_OR_RETURN(const ReplicaChangeOutcome changed,
                   call.deployment.ChangeReplicas({request.add(), request.drain(), request.shard()}, call.limits,
                                                  progress));
  v1::ChangeReplicasResponse done;
  done.set_stage("done");
  done.set_shard(changed.shard);
  for (const std::string& address : changed.replicas) done.add_replicas(address);
  (void)tell(std::move(done));
  return absl::OkStatus();
}

}  // namespace mneme
