#include "server/shard_backup_handlers.h"

#include <optional>
#include <utility>

#include "common/status_macros.h"
#include "engine/flat_backups.h"
#include "engine/shard_backups.h"
#include "server/hosted_shard.h"

namespace mneme {
namespace {

using internal::v1::Answer;
using internal::v1::Call;

// How far the work is, until there is a result.
template <typename Result>
bool Say(const Tell<Answer>& tell, const BackupProgress& step, const std::optional<Result>& result = std::nullopt) {
  Answer answer;
  answer.set_body(Flat(FlatProgress{step.stage, step.bytes_done, step.bytes_total}, result));
  return tell(std::move(answer));
}

ShardBackups& BackupsOf(const CallContext& call) { return *Hosted(call.deployment).shard_backups(); }

}  // namespace

absl::Status HandleDescribeBackups(const CallContext& call, const Call& request, Answer* response) {
  RETURN_IF_ERROR(Open(call, request));
  ASSIGN_OR_RETURN(const ShardBackupState state, BackupsOf(call).Describe());
  response->set_body(Flat(state));
  return absl::OkStatus();
}

absl::Status HandleTakeBackup(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  TakeBackupCommand take;
  RETURN_IF_ERROR(CheckTarget(Hosted(call.deployment), request.target()));
  RETURN_IF_ERROR(Unflat(request.body(), take));
  TakenBackup taken;
  if (take.step == BackupStep::kHoldNames || take.step == BackupStep::kLetNamesGo) {
    // Also while the replica replays the log of its entries, or applies no more of it: changes of names come to it.
    NamesHold& hold = call.front_end.names_hold();
    take.step == BackupStep::kHoldNames ? hold.Hold(take.id) : hold.LetGo(take.id);
    (void)Say<TakenBackup>(tell, {"done", 0, 0}, taken);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Open(call, request, take));
  if (take.step == BackupStep::kNames) {
    ASSIGN_OR_RETURN(taken.names, BackupsOf(call).TakeNames(take.id, call.limits));
  } else {
    const auto progress = [&](const BackupProgress& step) { return Say<TakenBackup>(tell, step); };
    ASSIGN_OR_RETURN(taken.applied, BackupsOf(call).Take(take.id, take.at_least, call.limits, progress));
  }
  (void)Say<TakenBackup>(tell, {"done", 0, 0}, taken);
  return absl::OkStatus();
}

absl::Status HandleWriteBackup(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  BackupOrder order;
  RETURN_IF_ERROR(Open(call, request, order));
  const auto progress = [&](const BackupProgress& step) { return Say<WrittenBackup>(tell, step); };
  ASSIGN_OR_RETURN(const WrittenBackup written, BackupsOf(call).Write(order, progress));
  (void)Say<WrittenBackup>(tell, {"done", 0, 0}, written);
  return absl::OkStatus();
}

absl::Status HandleRemoveBackup(const CallContext& call, const Call& request, Answer* response) {
  BackupOrder order;
  RETURN_IF_ERROR(Open(call, request, order));
  if (order.id != 0) BackupsOf(call).LetGo(order.id);
  bool removed = false;
  if (order.number != 0) {
    ASSIGN_OR_RETURN(removed, BackupsOf(call).Remove(order.number, order.set));
  }
  response->set_body(Flat(removed));
  return absl::OkStatus();
}

}  // namespace mneme
