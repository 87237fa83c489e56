// What a replica is asked by those of its deployment: what it is, and for its checkpoints.
#include <utility>

#include "common/status_macros.h"
#include "engine/local_deployment_state.h"

namespace mneme {

void LocalDeployment::State::MakeCheckpoints(const DeploymentOptions& options) {
  if (!options.hosted.has_value()) return;
  ShardCheckpointsOptions made;
  made.data = directory.get();
  made.shard = shards.front().get();
  made.memories = [this] { return names().List(); };
  made.events = options.events;
  if (log != nullptr) {
    made.at_offset = [this](LogOffset offset, const CallLimits& limits,
                            std::function<absl::Status()> work) -> absl::Status {
      LogApplier* const running = running_applier.load();
      if (running == nullptr) return absl::UnavailableError("the shard does not apply its log yet");
      return running->AtOffset(offset, limits, std::move(work));
    };
  }
  checkpoints = std::make_unique<ShardCheckpoints>(std::move(made));
}

PruneDecisions& LocalDeployment::prune_decisions() const { return state_->prune_decisions; }

ShardCheckpoints* LocalDeployment::checkpoints() const { return state_->checkpoints.get(); }

absl::StatusOr<ReplicaChangeOutcome> LocalDeployment::ChangeReplicas(const ReplicaChange&, const CallLimits&,
                                                                     const ReplicaChangeSink&) const {
  return absl::FailedPreconditionError("each shard is in this process alone: it has no replicas to add or drain");
}

absl::Status LocalDeployment::DescribeReplicas(const ReplicaQuestion& question, const ReplicaSink& each) const {
  if (question.digests) {
    return absl::FailedPreconditionError(
        "digests compare the replicas of a shard; here each shard is in this process alone");
  }
  for (const auto& shard : state_->shards) {
    RETURN_IF_ERROR(question.limits.Check());
    ReplicaDescription replica;
    replica.shard = shard->number();
    replica.address = state_->address;
    replica.applied = shard->store().applied();
    replica.log_end = OffsetAfter(replica.applied);
    replica.entries = shard->Statistics().entries;
    absl::Status failed = shard->write_status();
    if (const LogState log = log_state(); log.logged) {
      replica.applied = log.handled;
      replica.log_end = log.seen_end;
      if (!log.status.ok()) failed = log.status;
      if (log.lost) replica.state = ReplicaState::kLost;
    }
    if (!failed.ok()) {
      replica.state = ReplicaState::kFailed;
      replica.detail = std::string(failed.message());
    }
    RETURN_IF_ERROR(each(replica));
  }
  return absl::OkStatus();
}

}  // namespace mneme
