// Verifying and restoring backups (backup.h).
#include <rocksdb/cache.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/backup.h"
#include "storage/backup_sets.h"
#include "storage/catalogue_store.h"
#include "storage/commit_watermark.h"
#include "storage/data_directory.h"
#include "storage/files.h"
#include "storage/format.h"
#include "storage/metered_file_system.h"
#include "storage/reshard.h"
#include "storage/rocksdb_entry_store.h"
#include "storage/store_backups.h"
#include "storage/store_progress.h"

namespace mneme {
namespace {

// Of the stores that a restore onto another number of shards reads, and of those that it writes.
constexpr size_t kReshardCacheBytes = size_t{16} << 20;
constexpr size_t kReshardWriteBufferBytes = size_t{256} << 20;
// Of the names, which are read once and written once.
constexpr size_t kDetachBytes = size_t{8} << 20;

// Calls `work` with each store of a backup, to be read.
absl::Status ForEachStore(const FoundBackup& backup, const char* stage, const char* what,
                          const BackupProgressSink& sink,
                          const std::function<absl::Status(size_t, const StoredBackup&)>& work) {
  const BackupManifest& manifest = backup.manifest;
  StoreProgress progress(stage, manifest.bytes(), sink);
  const auto meter = std::make_shared<MeteredFileSystem>(rocksdb::FileSystem::Default(),
                                                         MeteredFileSystem::Metered::kReads,
                                                         [&](uint64_t bytes) { return progress.Moved(bytes); });
  for (size_t i = 0; i < manifest.stores.size(); ++i) {
    if (manifest.stores[i].id == 0) continue;  // of another shard than 0: no catalogue
    if (!progress.Begin(manifest.stores[i].bytes)) return GivenUp(what);
    const auto stored = StoredBackup::Open(backup.folders[i], manifest.stores[i], meter);
    absl::Status status = stored.status();
    if (status.ok()) status = work(i, **stored);
    RETURN_IF_ERROR(StoppedOr(*meter, what, std::move(status)));
  }
  return progress.Begin(0) ? absl::OkStatus() : GivenUp(what);
}

absl::Status Damaged(uint64_t number, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("backup ", number, " cannot be restored: ", status.message()));
}

absl::Status VerifyStores(const FoundBackup& backup, const BackupProgressSink& progress) {
  const absl::Status verified = ForEachStore(backup, "verifying", "verification", progress,
                                             [](size_t, const StoredBackup& store) { return store.Verify(); });
  return verified.ok() || absl::IsCancelled(verified) ? verified : Damaged(backup.manifest.number, verified);
}

// The path of store `i` of a manifest, in the directory that is made of it.
std::string PathOf(const DataDirectory& made, const BackupManifest& manifest, size_t i) {
  if (i == 0) return made.CataloguePath();
  return made.StorePath(manifest.part.has_value() ? manifest.part->shard : static_cast<uint32_t>(i) - 1);
}

// Writes the files of store `i`, and what it must have: without that it is refused.
absl::Status RestoreStore(const DataDirectory& made, const BackupManifest& manifest, size_t i,
                          const StoredBackup& store) {
  const std::string path = PathOf(made, manifest, i);
  RETURN_IF_ERROR(store.Restore(path));
  return CommitWatermark::Create(absl::StrCat(path, "/", format::kWatermarkFile), manifest.stores[i].applied).status();
}

// The names of a directory that goes on without the log that they had.
absl::Status DetachNames(const DataDirectory& made) {
  StoreResources resources(kDetachBytes, kDetachBytes);
  return DetachCatalogue(made.CataloguePath(), &resources);
}

// The shards of a backup, opened where they lie; each is closed before what it is read through.
class OpenedShards {
 public:
  absl::Status Open(const FoundBackup& backup) {
    const BackupManifest& manifest = backup.manifest;
    for (size_t i = 1; i < manifest.stores.size(); ++i) {
      ASSIGN_OR_RETURN(auto stored, StoredBackup::Open(backup.folders[i], manifest.stores[i],
                                                       rocksdb::FileSystem::Default()));
      stored_.push_back(std::move(stored));
      ASSIGN_OR_RETURN(StoredBackup::OpenedDb opened, stored_.back()->OpenDb(cache_));
      RETURN_IF_ERROR(stored_.back()->CheckContents(*opened.db));
      opened_.push_back(std::move(opened));
      sources.push_back({opened_.back().db.get(), manifest.stores[i].applied});
    }
    return absl::OkStatus();
  }

  std::vector<ReshardSource> sources;

 private:
  const std::shared_ptr<rocksdb::Cache> cache_ = rocksdb::NewLRUCache(kReshardCacheBytes);
  std::vector<std::unique_ptr<StoredBackup>> stored_;
  std::vector<StoredBackup::OpenedDb> opened_;
};

// Fills the stores of `made`, which has as many shards as `placement` says.
absl::Status RestoreOnto(const Placement& placement, const FoundBackup& backup, const DataDirectory& made,
                         const BackupProgressSink& sink) {
  const BackupManifest& manifest = backup.manifest;
  uint64_t bytes = 0;
  for (size_t i = 1; i < manifest.stores.size(); ++i) bytes += manifest.stores[i].bytes;
  StoreProgress progress("restoring", bytes, sink);
  if (!progress.Begin(bytes)) return GivenUp("restore");
  ASSIGN_OR_RETURN(const auto names, StoredBackup::Open(backup.folders[0], manifest.stores[0],
                                                        rocksdb::FileSystem::Default()));
  RETURN_IF_ERROR(RestoreStore(made, manifest, 0, *names));
  RETURN_IF_ERROR(DetachNames(made));
  StoreResources resources(kReshardCacheBytes, kReshardWriteBufferBytes);
  ReshardOptions options;
  options.placement = &placement;
  CatalogueRecords records;
  {
    ASSIGN_OR_RETURN(const auto catalogue, OpenCatalogueStore(made.CataloguePath(), &resources));
    ASSIGN_OR_RETURN(records, catalogue->Read());
    ASSIGN_OR_RETURN(options.next_number, catalogue->NextNumber());
  }
  options.names = &records;
  OpenedShards shards;
  RETURN_IF_ERROR(shards.Open(backup));
  options.from = shards.sources;
  std::vector<std::unique_ptr<EntryStore>> stores;
  for (uint32_t shard = 0; shard < made.shards(); ++shard) {
    RETURN_IF_ERROR(MakeDirectory(made.StorePath(shard)));
    ASSIGN_OR_RETURN(auto store, OpenRocksDbEntryStore({.path = made.StorePath(shard),
                                                        .resources = &resources,
                                                        .file_system = nullptr,
                                                        .map_server_ids = true}));
    options.to.push_back(store.get());
    stores.push_back(std::move(store));
  }
  options.moved = [&](uint64_t moved) { return progress.Moved(moved); };
  RETURN_IF_ERROR(Reshard::Run(options));
  return progress.Begin(0) ? absl::OkStatus() : GivenUp("restore");
}

// Of the directory that becomes of it.
absl::StatusOr<std::optional<HostedDirectory>> HostedBy(const RestoreTarget& target, const FoundBackup& backup) {
  if (!target.shard.has_value()) return std::optional<HostedDirectory>();
  HostedDirectory hosted;
  hosted.shard = *target.shard;
  hosted.deployment = target.deployment;
  // It goes on with the log of its deployment; another one has none that knows what this shard has.
  hosted.logged = backup.logged && target.deployment == backup.manifest.deployment;
  if (hosted.shard == 0 || hosted.deployment != 0) return std::optional(hosted);
  return absl::InvalidArgumentError(absl::StrCat("shard ", hosted.shard, " is restored alone; needs the number of its "
                                                 "deployment: that which the restore of shard 0 told, or the one of "
                                                 "the backup, to go on with that"));
}

// INVALID_ARGUMENT for what cannot be.
absl::Status CheckTarget(const RestoreTarget& target, const FoundBackup& backup, uint32_t shards) {
  if (shards == 0 || shards > limits::kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat("shards is ", shards, "; must be in [1, ", limits::kMaxShards, "]"));
  }
  const uint32_t own = backup.manifest.shards;
  if ((target.shard.has_value() || target.apart) && shards != own) {
    return absl::InvalidArgumentError(absl::StrCat("shards is ", shards, ", but what is restored is for a process of "
                                                   "each shard; must be the ", own, " of the backup"));
  }
  if (!target.apart || backup.of_parts) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("backup ", backup.manifest.number, " was written by one process of "
                                                    "all shards; it is restored as one"));
}

// Makes of the directory `whole`, which has all shards, one for each of them, and removes it.
absl::Status MoveApart(const std::string& whole, const std::string& data_dir) {
  {
    ASSIGN_OR_RETURN(const auto all, DataDirectory::Open(whole, 0));
    for (uint32_t shard = 0; shard < all->shards(); ++shard) {
      const auto fill = [&](const DataDirectory& made) -> absl::Status {
        if (shard == 0) RETURN_IF_ERROR(MovePath(all->CataloguePath(), made.CataloguePath()));
        return MovePath(all->StorePath(shard), made.StorePath(shard));
      };
      RETURN_IF_ERROR(DataDirectory::Make(absl::StrFormat("%s/shard-%03u", data_dir, shard), all->shards(), fill,
                                          HostedDirectory{shard, all->deployment(), false, false}));
    }
  }
  std::error_code error;
  std::filesystem::remove_all(whole, error);
  return absl::OkStatus();
}

// Makes `data_dir` of the backup, as the target says but for `apart`.
absl::Status RestoreInto(const std::string& data_dir, const FoundBackup& backup, const RestoreTarget& target,
                         uint32_t shards, const BackupProgressSink& progress) {
  const BackupManifest& manifest = backup.manifest;
  ASSIGN_OR_RETURN(const std::optional<HostedDirectory> hosted, HostedBy(target, backup));
  const auto fill = [&](const DataDirectory& made) -> absl::Status {
    if (shards != manifest.shards) {
      RETURN_IF_ERROR(RestoreOnto(*target.onto, backup, made, progress));
    } else {
      RETURN_IF_ERROR(ForEachStore(
          backup, "restoring", "restore", progress,
          [&](size_t i, const StoredBackup& store) { return RestoreStore(made, manifest, i, store); }));
      const bool has_names = manifest.stores.front().id != 0;
      const bool logged = hosted.has_value() && hosted->logged;
      if (has_names && !logged) RETURN_IF_ERROR(DetachNames(made));
      // The log of names has what was acknowledged since; until that is applied nobody may be told these.
      if (has_names && logged) RETURN_IF_ERROR(ReplaceFile(made.RestoredPath(), ""));
    }
    return target.finish == nullptr ? absl::OkStatus() : target.finish(made, manifest);
  };
  return DataDirectory::Make(data_dir, shards, fill, hosted);
}

// The same of a target whose shards are apart: nothing of it stays after an error.
absl::Status RestoreApart(const FoundBackup& backup, const RestoreTarget& target, const BackupProgressSink& progress) {
  std::error_code error;
  const bool was_there = std::filesystem::exists(target.data_dir, error);
  RETURN_IF_ERROR(MakeDirectory(target.data_dir));
  ASSIGN_OR_RETURN(const int lock_fd,
                   LockDirectory(target.data_dir, absl::StrCat("another process restores into ", target.data_dir)));
  const absl::Cleanup release = [lock_fd] { ::close(lock_fd); };
  RETURN_IF_ERROR(DataDirectory::CheckUnused(target.data_dir));  // another one may have ended meanwhile
  absl::Cleanup remove = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(target.data_dir, error)) {
      std::filesystem::remove_all(entry.path(), error);
    }
    if (!was_there) std::filesystem::remove(target.data_dir, error);
  };
  const std::string whole = target.data_dir + "/whole";
  RETURN_IF_ERROR(RestoreInto(whole, backup, target, backup.manifest.shards, progress));
  RETURN_IF_ERROR(MoveApart(whole, target.data_dir));
  std::move(remove).Cancel();
  std::filesystem::remove(target.data_dir + "/LOCK", error);
  return absl::OkStatus();
}

// The backup that a target is made of. One shard that goes on in its deployment has the newest part that there is; all
// others, of a new one, are of one backup, and so of one that is seen to be whole unless its number is given.
absl::StatusOr<FoundBackup> FindFor(const RestoreTarget& target, const std::string& directory, uint64_t number) {
  ASSIGN_OR_RETURN(FoundBackup found, FindBackup(directory, number, target.shard));
  if (!target.shard.has_value() || number != 0 || target.deployment == found.manifest.deployment) return found;
  const absl::StatusOr<FoundBackup> whole = FindBackup(directory, 0, std::nullopt);
  if (whole.ok()) return FindBackup(directory, whole->manifest.number, target.shard);
  return absl::FailedPreconditionError(absl::StrCat(
      "shard ", *target.shard, " is restored for another deployment, and which backup is the newest of all its shards "
      "is not seen here (", whole.status().message(), "): give the number that all of them are restored from"));
}

}  // namespace

absl::StatusOr<BackupManifest> VerifyBackup(const std::string& directory, uint64_t number,
                                            const BackupProgressSink& progress, std::optional<uint32_t> shard) {
  ASSIGN_OR_RETURN(FoundBackup backup, FindBackup(directory, number, shard));
  RETURN_IF_ERROR(VerifyStores(backup, progress));
  return std::move(backup.manifest);
}

absl::StatusOr<BackupManifest> RestoreBackup(const std::string& directory, uint64_t number,
                                             const RestoreTarget& target, const BackupProgressSink& progress) {
  RETURN_IF_ERROR(DataDirectory::CheckUnused(target.data_dir));
  ASSIGN_OR_RETURN(FoundBackup backup, FindFor(target, directory, number));
  const uint32_t shards = target.onto.has_value() ? target.onto->shards : backup.manifest.shards;
  RETURN_IF_ERROR(CheckTarget(target, backup, shards));
  RETURN_IF_ERROR(HostedBy(target, backup).status());
  RETURN_IF_ERROR(VerifyStores(backup, progress));
  if (target.apart) {
    RETURN_IF_ERROR(RestoreApart(backup, target, progress));
  } else {
    RETURN_IF_ERROR(RestoreInto(target.data_dir, backup, target, shards, progress));
  }
  return std::move(backup.manifest);
}

}  // namespace mneme
