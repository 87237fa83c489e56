#include "storage/backup.h"

#include <rocksdb/cache.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "storage/catalogue_store.h"
#include "storage/commit_watermark.h"
#include "storage/data_directory.h"
#include "storage/files.h"
#include "storage/format.h"
#include "storage/metered_file_system.h"
#include "storage/reshard.h"
#include "storage/rocksdb_entry_store.h"
#include "storage/store_backups.h"

namespace mneme {
namespace {

constexpr char kManifestPrefix[] = "BACKUP-";
// kMaxShards stores of a hundred bytes each.
constexpr size_t kMaxManifestBytes = 65'536;
// Of the stores that a restore onto another number of shards reads, and of those that it writes.
constexpr size_t kReshardCacheBytes = size_t{16} << 20;
constexpr size_t kReshardWriteBufferBytes = size_t{256} << 20;

std::string ManifestPath(const std::string& directory, uint64_t number) {
  return absl::StrFormat("%s/%s%06u", directory, kManifestPrefix, number);
}

// The folder of store `i` of a manifest.
std::string FolderOf(const std::string& directory, size_t i) {
  return i == 0 ? directory + "/catalogue" : absl::StrFormat("%s/shard-%03u", directory, i - 1);
}

absl::StatusOr<BackupManifest> ReadManifest(const std::string& directory, uint64_t number) {
  const std::string path = ManifestPath(directory, number);
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadSmallFile(path, kMaxManifestBytes));
  if (!text.has_value()) return absl::NotFoundError(absl::StrCat(directory, " has no backup ", number));
  absl::StatusOr<BackupManifest> manifest = format::DecodeBackupManifest(*text);
  if (!manifest.ok()) {
    return absl::Status(manifest.status().code(), absl::StrCat(path, ": ", manifest.status().message()));
  }
  if (manifest->number == number) return manifest;
  return absl::DataLossError(absl::StrCat(path, " is the manifest of backup ", manifest->number));
}

// By which RocksDB knows, in the folder of store `i`, what whole manifests name.
std::set<uint32_t> IdsOf(const std::vector<ListedBackup>& listed, size_t i) {
  std::set<uint32_t> ids;
  for (const ListedBackup& backup : listed) {
    if (backup.manifest.ok() && i < backup.manifest->stores.size()) ids.insert(backup.manifest->stores[i].id);
  }
  return ids;
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

// Tells how far the work on several stores is. Thread-safe: RocksDB copies on threads of its own.
class StoreProgress {
 public:
  StoreProgress(const char* stage, uint64_t total, const BackupProgressSink& sink)
      : stage_(stage), total_(total), sink_(sink) {}

  // Bytes of the store that is worked on were read or written: no more of them count than it has.
  bool Moved(uint64_t bytes) {
    MutexLock lock(&mu_);
    moved_ += bytes;
    moved_in_all_ += bytes;
    return Tell();
  }
  // The work on the next store, or on none.
  bool Begin(uint64_t store_bytes) {
    MutexLock lock(&mu_);
    done_ += store_bytes_;
    store_bytes_ = store_bytes;
    moved_ = 0;
    return Tell();
  }
  uint64_t moved_in_all() const {
    MutexLock lock(&mu_);
    return moved_in_all_;
  }

 private:
  bool Tell() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return sink_({stage_, std::min(total_, done_ + std::min(moved_, store_bytes_)), total_});
  }

  const char* const stage_;
  const uint64_t total_;
  const BackupProgressSink& sink_;
  mutable Mutex mu_;
  uint64_t done_ ABSL_GUARDED_BY(mu_) = 0;  // of the stores before
  uint64_t store_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t moved_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t moved_in_all_ ABSL_GUARDED_BY(mu_) = 0;
};

absl::Status GivenUp(const char* what) { return absl::CancelledError(absl::StrCat("the ", what, " was given up")); }

// What an operation came to, whose file system may have stopped it.
absl::Status StoppedOr(const MeteredFileSystem& meter, const char* what, absl::Status status) {
  return status.ok() || !meter.stopped() ? status : GivenUp(what);
}

// Calls `work` with each store of a backup, to be read.
absl::Status ForEachStore(const std::string& directory, const BackupManifest& manifest, const char* stage,
                          const char* what, const BackupProgressSink& sink,
                          const std::function<absl::Status(size_t, const StoredBackup&)>& work) {
  StoreProgress progress(stage, manifest.bytes(), sink);
  const auto meter = std::make_shared<MeteredFileSystem>(rocksdb::FileSystem::Default(),
                                                         MeteredFileSystem::Metered::kReads,
                                                         [&](uint64_t bytes) { return progress.Moved(bytes); });
  for (size_t i = 0; i < manifest.stores.size(); ++i) {
    if (!progress.Begin(manifest.stores[i].bytes)) return GivenUp(what);
    const auto stored = StoredBackup::Open(FolderOf(directory, i), manifest.stores[i], meter);
    absl::Status status = stored.status();
    if (status.ok()) status = work(i, **stored);
    RETURN_IF_ERROR(StoppedOr(*meter, what, std::move(status)));
  }
  return progress.Begin(0) ? absl::OkStatus() : GivenUp(what);
}

absl::Status Damaged(uint64_t number, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("backup ", number, " cannot be restored: ", status.message()));
}

// That of backup `number`; 0: of the newest.
absl::StatusOr<BackupManifest> FindManifest(const std::string& directory, uint64_t number) {
  if (number == 0) {
    ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, ListBackups(directory));
    if (listed.empty()) return absl::NotFoundError(absl::StrCat(directory, " has no backups"));
    number = listed.back().number;
  }
  absl::StatusOr<BackupManifest> manifest = ReadManifest(directory, number);
  if (manifest.ok() || absl::IsNotFound(manifest.status())) return manifest;
  return Damaged(number, manifest.status());
}

absl::Status VerifyStores(const std::string& directory, const BackupManifest& manifest,
                          const BackupProgressSink& progress) {
  const absl::Status verified = ForEachStore(directory, manifest, "verifying", "verification", progress,
                                             [](size_t, const StoredBackup& store) { return store.Verify(); });
  return verified.ok() || absl::IsCancelled(verified) ? verified : Damaged(manifest.number, verified);
}

// The path of store `i` of a manifest, in the directory that is made of it.
std::string PathOf(const DataDirectory& made, size_t i) {
  return i == 0 ? made.CataloguePath() : made.StorePath(static_cast<uint32_t>(i) - 1);
}

// Writes the files of store `i`, and what it must have: without that it is refused.
absl::Status RestoreStore(const DataDirectory& made, const BackupManifest& manifest, size_t i,
                          const StoredBackup& store) {
  RETURN_IF_ERROR(store.Restore(PathOf(made, i)));
  return CommitWatermark::Create(absl::StrCat(PathOf(made, i), "/", format::kWatermarkFile),
                                 manifest.stores[i].applied)
      .status();
}

// The shards of a backup, opened where they lie; each is closed before what it is read through.
class OpenedShards {
 public:
  absl::Status Open(const std::string& directory, const BackupManifest& manifest) {
    for (size_t i = 1; i < manifest.stores.size(); ++i) {
      ASSIGN_OR_RETURN(auto stored, StoredBackup::Open(FolderOf(directory, i), manifest.stores[i],
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
absl::Status RestoreOnto(const Placement& placement, const std::string& directory, const BackupManifest& manifest,
                         const DataDirectory& made, const BackupProgressSink& sink) {
  uint64_t bytes = 0;
  for (size_t i = 1; i < manifest.stores.size(); ++i) bytes += manifest.stores[i].bytes;
  StoreProgress progress("restoring", bytes, sink);
  if (!progress.Begin(bytes)) return GivenUp("restore");
  ASSIGN_OR_RETURN(const auto names, StoredBackup::Open(FolderOf(directory, 0), manifest.stores[0],
                                                        rocksdb::FileSystem::Default()));
  RETURN_IF_ERROR(RestoreStore(made, manifest, 0, *names));
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
  RETURN_IF_ERROR(shards.Open(directory, manifest));
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
  const bool all_whole =
      std::all_of(listed.begin(), listed.end(), [](const ListedBackup& backup) { return backup.manifest.ok(); });
  WrittenBackup made;
  BackupManifest& manifest = made.manifest;
  manifest.number = listed.empty() ? 1 : listed.back().number + 1;
  if (manifest.number == 0) return absl::FailedPreconditionError(absl::StrCat(directory_, " has the last number"));
  manifest.created_ms = source.now_ms;
  manifest.deployment = source.deployment;
  manifest.shards = static_cast<uint32_t>(source.checkpoints.size() - 1);

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
      ASSIGN_OR_RETURN(auto opened, StoreBackups::Open(FolderOf(directory_, i), meter));
      // What was cut before it had a manifest; while one cannot be read, what it names is not known.
      if (all_whole) RETURN_IF_ERROR(opened->KeepOnly(IdsOf(listed, i)));
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
  for (size_t i = 0; i < stores.size(); ++i) (void)stores[i]->Remove(manifest.stores[i].id);
  return StoppedOr(*meter, "backup", written);
}

absl::StatusOr<uint32_t> BackupWriter::RemoveOld(uint64_t deployment, uint32_t keep) {
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, ListBackups(directory_));
  std::vector<BackupManifest> own;
  for (const ListedBackup& backup : listed) {
    if (backup.manifest.ok() && backup.manifest->deployment == deployment) own.push_back(*backup.manifest);
  }
  if (own.size() <= keep) return 0;
  own.resize(own.size() - keep);
  for (const BackupManifest& manifest : own) {
    const std::string path = ManifestPath(directory_, manifest.number);
    if (::unlink(path.c_str()) != 0) return ErrnoStatus("remove", path);
  }
  RETURN_IF_ERROR(SyncDirectory(directory_));
  ASSIGN_OR_RETURN(const std::vector<ListedBackup> left, ListBackups(directory_));
  for (size_t i = 0; i < own.front().stores.size(); ++i) {
    ASSIGN_OR_RETURN(const auto store, StoreBackups::Open(FolderOf(directory_, i), file_system_));
    // RocksDB gives an id again whose list of files was lost.
    const std::set<uint32_t> named = IdsOf(left, i);
    for (const BackupManifest& manifest : own) {
      if (i >= manifest.stores.size() || named.count(manifest.stores[i].id) != 0) continue;
      RETURN_IF_ERROR(store->Remove(manifest.stores[i].id));
    }
  }
  return static_cast<uint32_t>(own.size());
}

absl::StatusOr<std::vector<ListedBackup>> ListBackups(const std::string& directory) {
  std::vector<ListedBackup> listed;
  std::error_code error;
  // That there are none must be known: the next backup removes what no manifest names.
  if (std::filesystem::status(directory, error).type() == std::filesystem::file_type::not_found) return listed;
  std::set<uint64_t> numbers;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    uint64_t number = 0;
    if (!absl::StartsWith(name, kManifestPrefix)) continue;
    if (!absl::SimpleAtoi(name.substr(sizeof(kManifestPrefix) - 1), &number)) continue;
    if (ManifestPath(directory, number) == absl::StrCat(directory, "/", name)) numbers.insert(number);
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", directory, ": ", error.message()));
  for (const uint64_t number : numbers) {
    absl::StatusOr<BackupManifest> manifest = ReadManifest(directory, number);
    if (absl::IsNotFound(manifest.status())) continue;  // removed meanwhile
    listed.push_back({number, std::move(manifest)});
  }
  return listed;
}

absl::StatusOr<BackupManifest> VerifyBackup(const std::string& directory, uint64_t number,
                                            const BackupProgressSink& progress) {
  ASSIGN_OR_RETURN(BackupManifest manifest, FindManifest(directory, number));
  RETURN_IF_ERROR(VerifyStores(directory, manifest, progress));
  return manifest;
}

absl::StatusOr<BackupManifest> RestoreBackup(const std::string& directory, uint64_t number,
                                             const RestoreTarget& target, const BackupProgressSink& progress) {
  RETURN_IF_ERROR(DataDirectory::CheckUnused(target.data_dir));
  ASSIGN_OR_RETURN(BackupManifest manifest, FindManifest(directory, number));
  const uint32_t shards = target.onto.has_value() ? target.onto->shards : manifest.shards;
  if (shards == 0 || shards > limits::kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat("shards is ", shards, "; must be in [1, ", limits::kMaxShards, "]"));
  }
  RETURN_IF_ERROR(VerifyStores(directory, manifest, progress));
  const auto fill = [&](const DataDirectory& made) -> absl::Status {
    if (shards != manifest.shards) return RestoreOnto(*target.onto, directory, manifest, made, progress);
    return ForEachStore(
        directory, manifest, "restoring", "restore", progress,
        [&](size_t i, const StoredBackup& store) { return RestoreStore(made, manifest, i, store); });
  };
  RETURN_IF_ERROR(DataDirectory::Make(target.data_dir, shards, fill));
  return manifest;
}

}  // namespace mneme
