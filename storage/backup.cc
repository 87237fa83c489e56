#include "storage/backup.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/backup_folder.h"
#include "storage/backup_sets.h"
#include "storage/files.h"
#include "storage/format.h"
#include "storage/metered_file_system.h"
#include "storage/store_backups.h"
#include "storage/store_progress.h"

namespace mneme {
namespace {

// By which RocksDB knows, in a folder below `directory`, what whole manifests name, be they of parts or not.
std::set<uint32_t> IdsIn(const std::string& folder, const std::string& directory,
                         const std::vector<ListedBackup>& listed) {
  std::set<uint32_t> ids;
  for (const ListedBackup& backup : listed) {
    if (!backup.manifest.ok()) continue;
    for (size_t i = 0; i < backup.manifest->stores.size(); ++i) {
      if (StoreFolder(directory, backup.manifest->part, i) == folder) ids.insert(backup.manifest->stores[i].id);
    }
  }
  return ids;
}

// The part that was written before, when it is asked for again; nullopt when it was not.
absl::StatusOr<std::optional<BackupManifest>> FindPart(const std::vector<ListedBackup>& listed,
                                                       const BackupSource& source) {
  for (const ListedBackup& backup : listed) {
    if (backup.number != source.number) continue;
    if (backup.manifest.ok() && backup.manifest->part == source.part) return std::optional(*backup.manifest);
    return absl::FailedPreconditionError(
        absl::StrCat("there is another backup ", source.number, " of shard ", source.part->shard, " already"));
  }
  return std::optional<BackupManifest>();
}

uint64_t BytesIn(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const uintmax_t size = entry.file_size(error);
    if (!error) bytes += size;
  }
  return bytes;
}

}  // namespace

BackupWriter::BackupWriter(std::string directory, std::shared_ptr<rocksdb::FileSystem> file_system, int lock_fd)
    : directory_(std::move(directory)), file_system_(std::move(file_system)), lock_fd_(lock_fd) {}

BackupWriter::~BackupWriter() { ::close(lock_fd_); }

absl::StatusOr<std::unique_ptr<BackupWriter>> BackupWriter::Open(std::string directory,
                                                                 std::shared_ptr<rocksdb::FileSystem> file_system) {
  RETURN_IF_ERROR(MakeDirectory(directory));
  ASSIGN_OR_RETURN(const int lock_fd,
                   LockDirectory(directory, absl::StrCat("another backup is being written into ", directory)));
  if (file_system == nullptr) file_system = rocksdb::FileSystem::Default();
  return std::unique_ptr<BackupWriter>(new BackupWriter(std::move(directory), std::move(file_system), lock_fd));
}

absl::StatusOr<WrittenBackup> BackupWriter::Write(const BackupSource& source, const BackupProgressSink& sink) {
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, ListBackups(directory_));
  if (source.part.has_value()) {
    ASSIGN_OR_RETURN(std::optional<BackupManifest> before, FindPart(listed, source));
    if (before.has_value()) return WrittenBackup{*std::move(before), 0};
  }
  const bool all_whole =
      std::all_of(listed.begin(), listed.end(), [](const ListedBackup& backup) { return backup.manifest.ok(); });
  WrittenBackup made;
  BackupManifest& manifest = made.manifest;
  manifest.number = source.number;
  if (!source.part.has_value()) {
    ASSIGN_OR_RETURN(const uint64_t greatest, GreatestNumber(directory_));
    manifest.number = greatest + 1;
  }
  if (manifest.number == 0) return absl::FailedPreconditionError(absl::StrCat(directory_, " has the last number"));
  manifest.created_ms = source.now_ms;
  manifest.deployment = source.deployment;
  manifest.shards = source.part.has_value() ? source.shards : static_cast<uint32_t>(source.checkpoints.size() - 1);
  manifest.part = source.part;

  std::vector<uint64_t> sizes;
  uint64_t total = 0;
  for (const BackupCheckpoint& each : source.checkpoints) total += sizes.emplace_back(BytesIn(each.path));
  StoreProgress progress("copying", total, sink);
  const auto meter =
      std::make_shared<MeteredFileSystem>(file_system_, MeteredFileSystem::Metered::kAppends,
                                          [&](uint64_t bytes) { return progress.Moved(bytes); });
  std::vector<std::unique_ptr<StoreBackups>> stores;
  const auto write = [&]() -> absl::Status {
    for (size_t i = 0; i < source.checkpoints.size(); ++i) {
      if (!progress.Begin(sizes[i])) return GivenUp("backup");
      if (source.checkpoints[i].path.empty()) {  // of another shard than 0: no catalogue
        manifest.stores.emplace_back();
        stores.emplace_back();
        continue;
      }
      const std::string folder = StoreFolder(directory_, source.part, i);
      ASSIGN_OR_RETURN(auto opened, StoreBackups::Open(folder, meter));
      // What was cut before it had a manifest; while one cannot be read, what it names is not known.
      if (all_whole) RETURN_IF_ERROR(opened->KeepOnly(IdsIn(folder, directory_, listed)));
      const BackupCheckpoint& checkpoint = source.checkpoints[i];
      ASSIGN_OR_RETURN(const BackedUpStore store, opened->Add(checkpoint.path, checkpoint.applied));
      manifest.stores.push_back(store);
      stores.push_back(std::move(opened));
    }
    return ReplaceFile(ManifestPath(directory_, manifest.number), format::EncodeBackupManifest(manifest));
  };
  const absl::Status written = write();
  made.new_bytes = progress.moved_in_all();
  if (written.ok()) return made;
  const std::string path = ManifestPath(directory_, manifest.number);
  ::unlink(path.c_str());
  ::unlink((path + ".tmp").c_str());
  (void)SyncDirectory(directory_);  // the manifest goes before what it names
  for (size_t i = 0; i < stores.size(); ++i) {
    if (stores[i] != nullptr) (void)stores[i]->Remove(manifest.stores[i].id);
  }
  return StoppedOr(*meter, "backup", written);
}

absl::StatusOr<uint32_t> BackupWriter::RemoveOld(uint64_t deployment, uint32_t keep) {
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, ListBackups(directory_));
  std::vector<BackupManifest> own;
  for (const ListedBackup& backup : listed) {
    const bool of_one = backup.manifest.ok() && !backup.manifest->part.has_value();
    if (of_one && backup.manifest->deployment == deployment) own.push_back(*backup.manifest);
  }
  if (own.size() <= keep) return 0;
  own.resize(own.size() - keep);
  RETURN_IF_ERROR(RemoveAll(own));
  return static_cast<uint32_t>(own.size());
}

absl::StatusOr<bool> BackupWriter::RemovePart(uint64_t number, uint64_t set) {
  const absl::StatusOr<BackupManifest> manifest = ReadManifest(directory_, number);
  if (absl::IsNotFound(manifest.status())) return false;
  RETURN_IF_ERROR(manifest.status());
  if (!manifest->part.has_value() || manifest->part->set != set) return false;
  RETURN_IF_ERROR(RemoveAll({*manifest}));
  return true;
}

absl::Status BackupWriter::RemoveAll(const std::vector<BackupManifest>& own) {
  for (const BackupManifest& manifest : own) {
    const std::string path = ManifestPath(directory_, manifest.number);
    if (::unlink(path.c_str()) != 0) return ErrnoStatus("remove", path);
  }
  RETURN_IF_ERROR(SyncDirectory(directory_));
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> left, ListBackups(directory_));
  for (size_t i = 0; i < own.front().stores.size(); ++i) {
    if (own.front().stores[i].id == 0) continue;  // of another shard than 0: no catalogue
    const std::string folder = StoreFolder(directory_, own.front().part, i);
    ASSIGN_OR_RETURN(const auto store, StoreBackups::Open(folder, file_system_));
    // RocksDB gives an id again whose list of files was lost.
    const std::set<uint32_t> named = IdsIn(folder, directory_, left);
    for (const BackupManifest& manifest : own) {
      if (i >= manifest.stores.size() || named.count(manifest.stores[i].id) != 0) continue;
      RETURN_IF_ERROR(store->Remove(manifest.stores[i].id));
    }
  }
  return absl::OkStatus();
}

}  // namespace mneme
