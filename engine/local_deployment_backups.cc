// Backups of a deployment whose shards are in this process, and of the one shard that it hosts.
#include <utility>

#include "common/status_macros.h"
#include "engine/local_deployment_state.h"

namespace mneme {
namespace {

absl::Status AskAFrontEnd() {
  return absl::FailedPreconditionError("this process has one shard of several; a front end backs up all of them");
}

}  // namespace

void LocalDeployment::State::MakeBackups(const DeploymentOptions& options) {
  if (!options.hosted.has_value()) {
    backups = std::make_unique<Backups>(BackupsOptions{options.backup_dir, directory.get(), catalogue.get(), by_number,
                                                       clock, options.events});
    return;
  }
  ShardBackupsOptions made;
  made.directory = options.backup_dir;
  made.data = directory.get();
  made.catalogue = catalogue != nullptr ? catalogue.get() : options.hosted->names;
  made.await_names = options.hosted->await_names;
  made.shard = shards.front().get();
  made.events = options.events;
  if (log != nullptr) {
    made.await_handled = [this](Sequence sequence, const CallLimits& limits) -> absl::Status {
      const LogApplier* const running = running_applier.load();
      if (running == nullptr) return absl::UnavailableError("the shard does not apply its log yet");
      return running->AwaitHandled(sequence, limits);
    };
  }
  shard_backups = std::make_unique<ShardBackups>(std::move(made));
}

const Backups* LocalDeployment::backups() const { return state_->backups.get(); }

ShardBackups* LocalDeployment::shard_backups() const { return state_->shard_backups.get(); }

absl::StatusOr<BackupOutcome> LocalDeployment::CreateBackup(uint32_t keep, const CallLimits& limits,
                                                            const BackupProgressSink& progress) const {
  if (state_->backups == nullptr) return AskAFrontEnd();
  const auto within = [&](const BackupProgress& step) { return limits.Check().ok() && progress(step); };
  return state_->backups->Create(keep, within);
}

absl::StatusOr<std::vector<KnownBackup>> LocalDeployment::ListBackups(const CallLimits&) const {
  if (state_->backups == nullptr) return AskAFrontEnd();
  ASSIGN_OR_RETURN(std::vector<ListedBackup> listed, state_->backups->List());
  std::vector<KnownBackup> known;
  for (ListedBackup& backup : listed) known.push_back({backup.number, std::move(backup.manifest)});
  return known;
}

}  // namespace mneme
