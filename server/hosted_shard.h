// What every call between processes begins with, on the side of the shard: is it meant, and what is asked.
#ifndef MNEME_SERVER_HOSTED_SHARD_H_
#define MNEME_SERVER_HOSTED_SHARD_H_

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "engine/flat_commands.h"
#include "engine/local_deployment.h"
#include "mneme/internal/v1/shard.pb.h"
#include "server/call_record.h"

namespace mneme {

// The deployment of a process of role `shard`.
inline LocalDeployment& Hosted(Deployment& deployment) { return static_cast<LocalDeployment&>(deployment); }

// FAILED_PRECONDITION when it speaks another protocol or means another shard or deployment.
absl::Status CheckTarget(const LocalDeployment& shard, const internal::v1::Target& target);

// UNAVAILABLE when the shard has a replicated log and this replica applies no more of it: what it has grows old, and
// another has what it lacks.
absl::Status CheckApplies(const LocalDeployment& shard);

// FAILED_PRECONDITION when the moment at which a front end took a write is too far from that of this process
// (engine/log_record.h): expiries and remembered requests go by it.
absl::Status CheckStamp(int64_t stamp_ms, int64_t now_ms);

// NOT_FOUND when it was dropped; UNAVAILABLE when this process has not been told of it yet.
absl::StatusOr<MemoryHandle> FindNumber(const LocalDeployment& shard, MemoryNumber number);
// The same, for a read that must see `at_least`, once that has been applied. Errors of LocalDeployment::Await(), too.
absl::StatusOr<MemoryHandle> FindApplied(const LocalDeployment& shard, MemoryNumber number, const Version& at_least,
                                         const CallLimits& limits);

// Parts of FindLeaseOn().
absl::Status CheckOwned(const LocalDeployment& shard, const MemoryRecord& memory, const PartitionSelection& partitions);
absl::StatusOr<LeaseHandle> FindCovering(const LocalDeployment& shard, const MemoryRecord& memory,
                                         const std::string& id, const PartitionSelection& partitions);

// The lease of a command, if `id` is one; null: it reads what is there now. Errors as Leases::Find; INVALID_ARGUMENT
// when the lease does not cover what is asked; FAILED_PRECONDITION when the shard has nothing of it. What had expired
// when the lease was taken stays hidden, whatever stamp the id that its holder gave a front end says.
template <typename Command>
absl::Status FindLeaseOn(const LocalDeployment& shard, const MemoryRecord& memory, const std::string& id,
                         Command& command) {
  RETURN_IF_ERROR(CheckOwned(shard, memory, command.partitions));
  if (id.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(command.lease, FindCovering(shard, memory, id, command.partitions));
  command.filter.stamp_ms = std::max(command.filter.stamp_ms, command.lease->stamp_ms);
  return absl::OkStatus();
}

// Reads the parts of a call that is meant.
template <typename... Ts>
absl::Status Open(const CallContext& call, const internal::v1::Call& request, Ts&... parts) {
  RETURN_IF_ERROR(CheckTarget(Hosted(call.deployment), request.target()));
  RETURN_IF_ERROR(call.front_end.CheckReplayed());
  RETURN_IF_ERROR(CheckApplies(Hosted(call.deployment)));
  return Unflat(request.body(), parts...);
}

}  // namespace mneme

#endif  // MNEME_SERVER_HOSTED_SHARD_H_
