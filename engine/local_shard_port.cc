#include "engine/local_shard_port.h"

#include <utility>

#include "common/status_macros.h"
#include "engine/log_record.h"
#include "engine/session_bytes.h"
#include "engine/session_planner.h"

namespace mneme {

absl::Status LocalShardPort::Submit(WriteOperation operation) {
  if (FillsDisk(operation)) RETURN_IF_ERROR(disk_->Check());
  return shard_->Submit(std::move(operation));
}

absl::StatusOr<StateOutcome> LocalShardPort::ReadStates(const MemoryRecord& memory, const ApplyStates& apply,
                                                        int64_t stamp_ms, const CallLimits& limits) const {
  RETURN_IF_ERROR(limits.Check());
  SessionPlanner planner(shard_->store().ReadStates());
  return planner.Plan({memory.number, 0, stamp_ms}, apply);
}

absl::StatusOr<std::string> LocalShardPort::ReadSession(const MemoryRecord& memory, const std::string& session,
                                                        int64_t stamp_ms, const CallLimits& limits) const {
  RETURN_IF_ERROR(limits.Check());
  SessionPlanner planner(shard_->store().ReadStates());
  ASSIGN_OR_RETURN(const auto states, planner.ReadSession({memory.number, 0, stamp_ms}, session));
  return EncodeSessionBytes(states);
}

absl::StatusOr<std::vector<NamedSession>> LocalShardPort::ListSessions(const MemoryRecord& memory,
                                                                       const std::string& prefix,
                                                                       const std::string& after, size_t limit,
                                                                       const CallLimits& limits) const {
  RETURN_IF_ERROR(limits.Check());
  return shard_->store().ReadStates()->ScanSessions(memory.number, prefix, after, limit);
}

}  // namespace mneme
