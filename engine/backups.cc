#include "engine/backups.h"

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/status_macros.h"
#include "storage/files.h"

namespace mneme {

Backups::Backups(BackupsOptions options) : options_(std::move(options)) {
  if (!options_.directory.empty()) options_.directory = std::filesystem::absolute(options_.directory).string();
}

absl::Status Backups::WithoutPaths(const absl::Status& status) const {
  return mneme::WithoutPaths(status, options_.directory, options_.data->path());
}

absl::Status Backups::CheckDirectory() const {
  if (!options_.directory.empty()) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError("the server was given no directory for backups; start it with --backup-dir DIR"),
      reason::kNoBackupDirectory);
}

absl::Status Backups::Flush(const BackupProgressSink& progress) const {
  for (const Shard* shard : options_.shards) {
    if (!progress({"flushing", 0, 0})) return absl::CancelledError("the backup was given up");
    RETURN_IF_ERROR(shard->store().Flush());
  }
  return absl::OkStatus();
}

// Entries of a memory that is being dropped may be in a checkpoint or not: the catalogue's says that it was dropped, or
// knows it no more, and whoever opens a shard removes what the catalogue does not know.
absl::StatusOr<BackupSource> Backups::TakeCheckpoints() const {
  const std::string root = options_.data->CheckpointPath();
  std::error_code error;
  std::filesystem::remove_all(root, error);
  RETURN_IF_ERROR(MakeDirectory(root));
  BackupSource source;
  source.deployment = options_.data->deployment();
  source.now_ms = options_.clock->NowMs();
  const auto take = [&](const CatalogueStore& store) -> absl::Status {
    RETURN_IF_ERROR(store.Flush());
    source.checkpoints.push_back({root + "/catalogue"});
    RETURN_IF_ERROR(store.Checkpoint(source.checkpoints.back().path));
    for (const Shard* shard : options_.shards) {
      source.checkpoints.push_back({absl::StrCat(root, "/shard-", shard->number()), shard->store().applied()});
      RETURN_IF_ERROR(shard->store().Checkpoint(source.checkpoints.back().path));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(options_.catalogue->WhileUnchanged(take));
  return source;
}

absl::StatusOr<BackupOutcome> Backups::CreateIn(BackupWriter& writer, uint32_t keep,
                                                const BackupProgressSink& progress) const {
  const absl::Cleanup remove = [this] {
    std::error_code error;
    std::filesystem::remove_all(options_.data->CheckpointPath(), error);
  };
  RETURN_IF_ERROR(Flush(progress));
  ASSIGN_OR_RETURN(const BackupSource source, TakeCheckpoints());
  BackupOutcome outcome;
  ASSIGN_OR_RETURN(outcome.written, writer.Write(source, progress));
  const BackupManifest& manifest = outcome.written.manifest;
  if (options_.events) {
    options_.events("backup_written",
                    absl::StrCat("backup ", manifest.number, ": ", manifest.entries(), " entries, ", manifest.bytes(),
                                 " bytes, of which ", outcome.written.new_bytes, " are new"));
  }
  if (keep == 0) return outcome;
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> before, List());
  {
    MutexLock lock(&mutex_);
    for (const ListedBackup& backup : before) removed_.insert_or_assign(backup.number, backup);
  }
  const absl::StatusOr<uint32_t> removed = writer.RemoveOld(source.deployment, keep);
  if (!removed.ok()) {
    return absl::Status(removed.status().code(), absl::StrCat("backup ", manifest.number,
                                                              " was made, but older ones could not be removed: ",
                                                              removed.status().message()));
  }
  outcome.removed = *removed;
  MutexLock lock(&mutex_);
  removed_.clear();
  return outcome;
}

absl::StatusOr<BackupOutcome> Backups::Create(uint32_t keep, const BackupProgressSink& progress) const {
  RETURN_IF_ERROR(CheckDirectory());
  {
    MutexLock lock(&mutex_);
    ++begun_;
  }
  const absl::Cleanup end = [this] {
    MutexLock lock(&mutex_);
    ++ended_;
  };
  const auto create = [&]() -> absl::StatusOr<BackupOutcome> {
    ASSIGN_OR_RETURN(const auto writer, BackupWriter::Open(options_.directory));
    return CreateIn(*writer, keep, progress);
  };
  absl::StatusOr<BackupOutcome> outcome = create();
  if (outcome.ok()) return outcome;
  TellNotMade(options_.events, outcome.status());
  return WithoutPaths(outcome.status());
}

absl::StatusOr<uint64_t> Backups::LastNumber() const {
  const auto under_way = [] { return absl::UnavailableError("a backup is being made"); };
  uint64_t begun = 0;
  {
    MutexLock lock(&mutex_);
    begun = begun_;
    if (begun != ended_) return under_way();
  }
  std::error_code error;
  if (std::filesystem::exists(options_.data->CheckpointPath(), error) || error) return under_way();
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, List());
  MutexLock lock(&mutex_);
  if (begun != begun_) return under_way();
  return listed.empty() ? uint64_t{0} : listed.back().number;
}

absl::StatusOr<std::vector<ListedBackup>> Backups::List() const {
  RETURN_IF_ERROR(CheckDirectory());
  absl::StatusOr<std::vector<ListedBackup>> listed = ListBackups(options_.directory);
  if (!listed.ok()) return WithoutPaths(listed.status());
  for (ListedBackup& backup : *listed) {
    if (!backup.manifest.ok()) backup.manifest = WithoutPaths(backup.manifest.status());
  }
  return listed;
}

absl::StatusOr<std::map<uint64_t, ListedBackup>> Backups::Left() const {
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, List());
  std::map<uint64_t, ListedBackup> left;
  for (const ListedBackup& backup : listed) left.emplace(backup.number, backup);
  MutexLock lock(&mutex_);  // after the list: what went from it before was noted before
  left.insert(removed_.begin(), removed_.end());
  return left;
}

}  // namespace mneme
