// What the sweeps of maintenance found to be past its expiry, as the writer removes it: at once, or where a log has it.
// The group is empty before.
#include "common/status_macros.h"
#include "engine/shard.h"

namespace mneme {

absl::Status Shard::Expire(Round& round, const ExpireOperation& operation) {
  if (operation.position != 0) return ExpireLogged(round, operation);
  const auto partition = partitions_.find(operation.key);
  if (dropped_.contains(operation.key.memory) || partition == partitions_.end() ||
      partition->second->generation() != operation.generation) {
    return absl::OkStatus();  // emptied meanwhile: those rows are gone
  }
  round.group->PlanExpiry(operation.memory->spec, operation.key, operation.rows);
  Close(round);
  return write_status();
}

absl::Status Shard::ExpireLogged(Round& round, const ExpireOperation& operation) {
  const PartitionKey& key = operation.key;
  absl::Status planned;
  if (!dropped_.contains(key.memory)) {
    planned = WakeForWrite(key.memory, {&key.partition, 1});
    if (planned.ok() && partitions_.contains(key)) planned = round.group->PlanLoggedExpiry(operation);
  }
  Pass(round, operation.position, planned);
  Close(round);
  return write_status();
}

absl::Status Shard::ExpireStates(Round& round, const ExpireStatesOperation& operation) {
  const absl::StatusOr<StateExpiryPlan> plan = round.group->PlanStateExpiry(operation);
  if (!plan.ok()) {
    if (operation.position != 0) Refuse(plan.status());
    NewGroup(round);
    return plan.status();
  }
  Close(round);
  RETURN_IF_ERROR(write_status());
  state_expiries_.Count(plan->removed);
  return plan->damaged;
}

}  // namespace mneme
