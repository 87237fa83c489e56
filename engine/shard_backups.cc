#include "engine/shard_backups.h"

#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/random_number.h"
#include "common/status_macros.h"
#include "storage/backup_folder.h"
#include "storage/backup_sets.h"
#include "storage/files.h"

namespace mneme {
namespace {

void RemoveFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
}

std::string StoreIn(const std::string& path) { return path + "/store"; }
std::string NamesIn(const std::string& path) { return path + "/catalogue"; }

ShardBackupsOptions Absolute(ShardBackupsOptions options) {
  if (!options.directory.empty()) options.directory = std::filesystem::absolute(options.directory).string();
  return options;
}

}  // namespace

ShardBackups::ShardBackups(ShardBackupsOptions options)
    : options_(Absolute(std::move(options))), process_(RandomNumber()) {}

absl::Status ShardBackups::CheckDirectory() const {
  if (!options_.directory.empty()) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError("this process was given no directory for backups; start it with "
                                                  "--backup-dir DIR"),
                    reason::kNoBackupDirectory);
}

absl::Status ShardBackups::Told(const absl::Status& status) const {
  return WithoutPaths(status, options_.directory, options_.data->path());
}

absl::StatusOr<ShardBackupState> ShardBackups::Describe() const {
  ShardBackupState state;
  state.has_directory = !options_.directory.empty();
  if (options_.catalogue != nullptr) state.names = NamesMark{process_, options_.catalogue->names().revision()};
  if (!state.has_directory) return state;
  const absl::StatusOr<uint64_t> greatest = GreatestNumber(options_.directory);
  if (!greatest.ok()) return Told(greatest.status());
  state.greatest = *greatest;
  absl::StatusOr<std::vector<ListedBackup>> listed =
      ListBackups(PartDirectory(options_.directory, options_.shard->number()));
  if (!listed.ok()) return Told(listed.status());
  for (ListedBackup& backup : *listed) {
    if (!backup.manifest.ok()) {
      state.damaged.emplace_back(backup.number, std::string(Told(backup.manifest.status()).message()));
    } else if (backup.manifest->part.has_value()) {
      state.parts.push_back(*std::move(backup.manifest));
    }
  }
  return state;
}

absl::StatusOr<ShardBackups::Held> ShardBackups::Begin(uint64_t id, bool fresh) {
  std::string before;
  Held begun;
  {
    MutexLock lock(&mutex_);
    const bool own = held_.has_value() && held_->id == id;
    if (own && held_->busy) {
      return WithReason(absl::UnavailableError("this backup is worked on; ask again"), reason::kShardUnavailable);
    }
    if (!fresh && (!own || !held_->taken)) {
      return absl::NotFoundError("what was taken for the backup has gone; begin another");
    }
    if (!own && held_.has_value() && (held_->busy || Steady::now() < held_->asked + options_.idle)) {
      return absl::FailedPreconditionError(
          absl::StrCat("another backup of shard ", options_.shard->number(), " is being made"));
    }
    if (fresh) {
      if (held_.has_value()) before = held_->path;
      held_ = Held{id, absl::StrCat(options_.data->CheckpointPath(), "/backup-", ++made_)};
    }
    held_->busy = true;
    begun = *held_;
  }
  if (!before.empty()) RemoveFolder(before);
  return begun;
}

void ShardBackups::End(Held held, bool goes) {
  {
    MutexLock lock(&mutex_);
    goes = goes || held_->useless;
    held.busy = false;
    held.asked = Steady::now();
    if (goes) {
      held_.reset();
    } else {
      held_ = held;
    }
  }
  if (goes) RemoveFolder(held.path);
}

absl::Status ShardBackups::TakeStore(Held& held, Sequence at_least, const CallLimits& limits,
                                     const BackupProgressSink& progress) {
  const EntryStore& store = options_.shard->store();
  if (!progress({"flushing", 0, 0})) return absl::CancelledError("the backup was given up");
  if (options_.await_handled != nullptr) RETURN_IF_ERROR(options_.await_handled(at_least, limits));
  // What is in the log alone would be copied instead of linked.
  RETURN_IF_ERROR(store.Flush());
  RETURN_IF_ERROR(MakeDirectory(held.path));
  held.applied = store.applied();
  RETURN_IF_ERROR(store.Checkpoint(StoreIn(held.path)));
  held.taken = true;
  return absl::OkStatus();
}

absl::StatusOr<Sequence> ShardBackups::Take(uint64_t id, Sequence at_least, const CallLimits& limits,
                                            const BackupProgressSink& progress) {
  RETURN_IF_ERROR(CheckDirectory());
  ASSIGN_OR_RETURN(Held held, Begin(id, /*fresh=*/true));
  const absl::Status taken = TakeStore(held, at_least, limits, progress);
  const Sequence applied = held.applied;
  End(std::move(held), /*goes=*/!taken.ok());
  if (!taken.ok()) return Told(taken);
  return applied;
}

absl::StatusOr<NamesMark> ShardBackups::TakeNames(uint64_t id, const CallLimits& limits) {
  if (options_.catalogue == nullptr) {
    return absl::FailedPreconditionError("this process does not have the catalogue; those of shard 0 have it");
  }
  // A replica that was cut off may lack a memory of which a shard has entries.
  if (options_.await_names != nullptr) RETURN_IF_ERROR(options_.await_names(limits));
  ASSIGN_OR_RETURN(Held held, Begin(id, /*fresh=*/false));
  const std::string path = NamesIn(held.path);
  RemoveFolder(path);
  NamesMark mark{process_, 0};
  const absl::Status taken = options_.catalogue->WhileUnchanged([&](const CatalogueStore& store) -> absl::Status {
    mark.revision = options_.catalogue->names().revision();
    RETURN_IF_ERROR(store.Flush());
    return store.Checkpoint(path);
  });
  held.has_names = taken.ok();
  End(std::move(held), /*goes=*/!taken.ok());
  if (!taken.ok()) return Told(taken);
  return mark;
}

BackupSource ShardBackups::SourceOf(const Held& held, const BackupOrder& order) const {
  BackupSource source;
  source.deployment = options_.data->deployment();
  source.now_ms = order.created_ms;
  source.checkpoints.push_back({held.has_names ? NamesIn(held.path) : ""});
  source.checkpoints.push_back({StoreIn(held.path), held.applied});
  source.part = BackupPart{options_.shard->number(), order.set, options_.await_handled != nullptr};
  source.shards = options_.data->shards();
  source.number = order.number;
  return source;
}

absl::StatusOr<WrittenBackup> ShardBackups::Write(const BackupOrder& order, const BackupProgressSink& progress) {
  RETURN_IF_ERROR(CheckDirectory());
  ASSIGN_OR_RETURN(Held held, Begin(order.id, /*fresh=*/false));
  const auto write = [&]() -> absl::StatusOr<WrittenBackup> {
    if (options_.shard->number() == 0 && !held.has_names) {
      return absl::FailedPreconditionError("the names were not taken; shard 0 is backed up with them");
    }
    ASSIGN_OR_RETURN(const auto writer,
                     BackupWriter::Open(PartDirectory(options_.directory, options_.shard->number())));
    return writer->Write(SourceOf(held, order), progress);
  };
  absl::StatusOr<WrittenBackup> written = write();
  End(std::move(held), /*goes=*/true);
  if (!written.ok()) {
    TellNotMade(options_.events, written.status());
    return Told(written.status());
  }
  if (options_.events != nullptr) {
    options_.events("backup_written",
                    absl::StrCat("backup ", order.number, " of shard ", options_.shard->number(), ": ",
                                 written->manifest.entries(), " entries, ", written->manifest.bytes(),
                                 " bytes, of which ", written->new_bytes, " are new"));
  }
  return written;
}

void ShardBackups::LetGo(uint64_t id) {
  std::string path;
  {
    MutexLock lock(&mutex_);
    if (!held_.has_value() || held_->id != id) return;
    if (held_->busy) {
      held_->useless = true;
      return;
    }
    path = held_->path;
    held_.reset();
  }
  RemoveFolder(path);
}

void ShardBackups::LetGoIdle() {
  uint64_t id = 0;
  {
    MutexLock lock(&mutex_);
    if (!held_.has_value() || held_->busy || Steady::now() < held_->asked + options_.idle) return;
    id = held_->id;
  }
  LetGo(id);
}

absl::StatusOr<bool> ShardBackups::Remove(uint64_t number, uint64_t set) const {
  RETURN_IF_ERROR(CheckDirectory());
  const std::string directory = PartDirectory(options_.directory, options_.shard->number());
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) return false;
  const auto remove = [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto writer, BackupWriter::Open(directory));
    return writer->RemovePart(number, set);
  };
  absl::StatusOr<bool> removed = remove();
  if (!removed.ok()) return Told(removed.status());
  return removed;
}

}  // namespace mneme
