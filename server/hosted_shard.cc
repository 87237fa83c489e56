#include "server/hosted_shard.h"

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"

namespace mneme {

absl::Status CheckTarget(const LocalDeployment& shard, const internal::v1::Target& target) {
  if (target.protocol() != kInternalProtocol) {
    return absl::FailedPreconditionError(absl::StrCat("this shard speaks internal protocol ", kInternalProtocol,
                                                      "; it was asked in ", target.protocol(),
                                                      ": all processes of a deployment must be of one version"));
  }
  const uint32_t number = shard.port().number();
  if (target.deployment() != shard.identity() || target.shards() != shard.shards() || target.shard() != number) {
    return absl::FailedPreconditionError(
        absl::StrCat("this is shard ", number, " of ", shard.shards(), "; asked was shard ", target.shard(), " of ",
                     target.shards(), target.deployment() == shard.identity() ? "" : " of another deployment",
                     ": check --shard-addresses of whoever asked"));
  }
  return absl::OkStatus();
}

absl::Status CheckApplies(const LocalDeployment& shard) {
  const absl::Status applies = shard.log_state().status;
  if (applies.ok()) return absl::OkStatus();
  return WithReason(absl::UnavailableError(absl::StrCat("this replica of shard ", shard.port().number(),
                                                        " applies no more of its log: ", applies.message())),
                    reason::kShardUnavailable);
}

absl::Status CheckStamp(int64_t stamp_ms, int64_t now_ms) {
  const int64_t ahead_ms = stamp_ms - now_ms;
  if (-limits::kMaxBehindMs <= ahead_ms && ahead_ms <= limits::kMaxAheadMs) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the clock of the front end is ", ahead_ms, " ms ahead of that of the shard; must be in [",
                   -limits::kMaxBehindMs, ", ", limits::kMaxAheadMs, "]: set the clocks of their machines"));
}

absl::StatusOr<MemoryHandle> FindNumber(const LocalDeployment& shard, MemoryNumber number) {
  if (MemoryHandle memory = shard.names().FindByNumber(number)) return memory;
  if (number < shard.names().next_number()) {
    return WithReason(absl::NotFoundError("the memory was dropped"), reason::kMemoryNotFound);
  }
  return WithReason(absl::UnavailableError(absl::StrCat("shard ", shard.port().number(),
                                                        " has not been told of the memory yet; try again")),
                    reason::kShardUnavailable);
}

absl::StatusOr<MemoryHandle> FindApplied(const LocalDeployment& shard, MemoryNumber number, const Version& at_least,
                                         const CallLimits& limits) {
  ASSIGN_OR_RETURN(MemoryHandle memory, FindNumber(shard, number));
  RETURN_IF_ERROR(shard.Await(at_least, limits));
  return memory;
}

absl::Status CheckOwned(const LocalDeployment& shard, const MemoryRecord& memory,
                        const PartitionSelection& partitions) {
  if (shard.Owns(memory, partitions)) return absl::OkStatus();
  return absl::FailedPreconditionError("the shard has none of the partitions that it was asked for");
}

absl::StatusOr<LeaseHandle> FindCovering(const LocalDeployment& shard, const MemoryRecord& memory,
                                         const std::string& id, const PartitionSelection& partitions) {
  ASSIGN_OR_RETURN(LeaseHandle lease, shard.leases().Find(id, memory));
  if (lease->Covers(partitions)) return lease;
  return absl::InvalidArgumentError("asks for more than the lease was taken for; name partitions that it holds");
}

}  // namespace mneme
