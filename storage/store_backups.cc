#include "storage/store_backups.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/files.h"
#include "storage/format.h"
#include "storage/read_only_db.h"
#include "storage/rocksdb_status.h"
#include "storage/table_file.h"

namespace mneme {
namespace {

rocksdb::BackupEngineOptions EngineOptions(const std::string& path, rocksdb::Env* env) {
  rocksdb::BackupEngineOptions options(path, env);
  options.share_table_files = true;
  options.share_files_with_checksum = true;  // by session of RocksDB, number and size: of restored databases, too
  return options;
}

absl::StatusOr<uint64_t> MetaChecksum(const std::string& path, uint32_t id) {
  const std::string meta = absl::StrCat(path, "/meta/", id);
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, ReadSmallFile(meta, limits::kMaxBackupListBytes));
  if (!bytes.has_value()) return absl::DataLossError(absl::StrCat(meta, " is missing"));
  return format::BackupMetaChecksum(*bytes);
}

// What is not there is lost.
absl::Status Lost(absl::Status status) {
  return absl::IsNotFound(status) || absl::IsInternal(status) ? absl::DataLossError(status.message()) : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreBackups>> StoreBackups::Open(const std::string& path,
                                                                 std::shared_ptr<rocksdb::FileSystem> file_system) {
  RETURN_IF_ERROR(MakeDirectory(path));
  std::unique_ptr<StoreBackups> opened(new StoreBackups(path));
  opened->env_ = rocksdb::NewCompositeEnv(std::move(file_system));
  rocksdb::BackupEngine* engine = nullptr;
  const rocksdb::IOStatus status =
      rocksdb::BackupEngine::Open(EngineOptions(path, opened->env_.get()), rocksdb::Env::Default(), &engine);
  opened->engine_.reset(engine);
  RETURN_IF_ERROR(FromRocksDb(status, "open its backups"));
  return opened;
}

absl::StatusOr<std::set<std::string>> StoreBackups::Tables() const {
  std::set<std::string> tables;
  const std::string folder = path_ + "/shared_checksum";
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  if (error == std::errc::no_such_file_or_directory) return tables;
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".sst") tables.insert(entry->path().string());
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", folder, ": ", error.message()));
  return tables;
}

absl::StatusOr<BackedUpStore> StoreBackups::Add(const std::string& checkpoint, Sequence applied) {
  ASSIGN_OR_RETURN(const auto source, ReadOnlyDb::Open(checkpoint, rocksdb::Env::Default()));
  ASSIGN_OR_RETURN(const StoreContents contents, source->ReadContents());
  BackedUpStore made;
  made.applied = contents.applied;
  made.entries = contents.entries;
  if (made.applied < applied) {
    return absl::DataLossError(absl::StrCat("a copy of a store ends at sequence ", made.applied, "; it had ", applied));
  }
  ASSIGN_OR_RETURN(const std::set<std::string> known, Tables());
  const rocksdb::IOStatus created =
      engine_->CreateNewBackup(rocksdb::CreateBackupOptions(), &source->db(), &made.id);
  if (!created.ok()) {
    (void)engine_->GarbageCollect();
    return FromRocksDb(created, "back up");
  }
  rocksdb::BackupInfo info;
  absl::Status status = FromRocksDb(engine_->GetBackupInfo(made.id, &info), "find its backup");
  made.bytes = info.size;
  if (status.ok()) {
    absl::StatusOr<uint64_t> checksum = MetaChecksum(path_, made.id);
    status = checksum.status();
    made.meta_checksum = checksum.value_or(0);
  }
  if (status.ok()) status = CheckTables(known);
  if (!status.ok()) {
    (void)Remove(made.id);
    return status;
  }
  return made;
}

absl::Status StoreBackups::CheckTables(const std::set<std::string>& known) const {
  ASSIGN_OR_RETURN(const std::set<std::string> tables, Tables());
  for (const std::string& table : tables) {
    if (known.count(table) == 0) RETURN_IF_ERROR(VerifyTable(table));
  }
  return absl::OkStatus();
}

absl::Status StoreBackups::Remove(uint32_t id) {
  const absl::Status removed = FromRocksDb(engine_->DeleteBackup(id), "remove a backup");
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

absl::Status StoreBackups::KeepOnly(const std::set<uint32_t>& ids) {
  std::vector<rocksdb::BackupInfo> backups;
  engine_->GetBackupInfo(&backups);
  for (const rocksdb::BackupInfo& backup : backups) {
    if (ids.count(backup.backup_id) == 0) RETURN_IF_ERROR(Remove(backup.backup_id));
  }
  return FromRocksDb(engine_->GarbageCollect(), "remove files");
}

absl::StatusOr<std::unique_ptr<StoredBackup>> StoredBackup::Open(const std::string& path, const BackedUpStore& store,
                                                                 std::shared_ptr<rocksdb::FileSystem> file_system) {
  ASSIGN_OR_RETURN(const uint64_t checksum, MetaChecksum(path, store.id));
  if (checksum != store.meta_checksum) {
    return absl::DataLossError(absl::StrCat(path, "/meta/", store.id, " is damaged: its checksum does not match"));
  }
  std::unique_ptr<StoredBackup> opened(new StoredBackup(store));
  opened->env_ = rocksdb::NewCompositeEnv(std::move(file_system));
  rocksdb::BackupEngineReadOnly* engine = nullptr;
  const rocksdb::IOStatus status =
      rocksdb::BackupEngineReadOnly::Open(EngineOptions(path, opened->env_.get()), rocksdb::Env::Default(), &engine);
  opened->engine_.reset(engine);
  RETURN_IF_ERROR(Lost(FromRocksDb(status, "open its backups")));
  return opened;
}

absl::Status StoredBackup::Verify() const {
  constexpr bool kEveryByte = true;
  RETURN_IF_ERROR(Lost(FromRocksDb(engine_->VerifyBackup(store_.id, kEveryByte), "verify a backup")));
  ASSIGN_OR_RETURN(const OpenedDb opened, OpenDb());
  return CheckContents(*opened.db);
}

absl::Status StoredBackup::CheckContents(const ReadOnlyDb& db) const {
  ASSIGN_OR_RETURN(const StoreContents contents, db.ReadContents());
  if (contents.applied == store_.applied && contents.entries == store_.entries) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("a store ends at sequence ", contents.applied, " with ", contents.entries,
                                          " entries; its backup was made at ", store_.applied, " with ",
                                          store_.entries));
}

absl::StatusOr<StoredBackup::OpenedDb> StoredBackup::OpenDb(std::shared_ptr<rocksdb::Cache> cache) const {
  constexpr bool kToOpen = true;
  rocksdb::BackupInfo info;
  RETURN_IF_ERROR(Lost(FromRocksDb(engine_->GetBackupInfo(store_.id, &info, kToOpen), "find a backup")));
  OpenedDb opened;
  opened.env = info.env_for_open;
  ASSIGN_OR_RETURN(opened.db, ReadOnlyDb::Open(info.name_for_open, opened.env.get(), std::move(cache)));
  return opened;
}

absl::Status StoredBackup::Restore(const std::string& target) const {
  RETURN_IF_ERROR(MakeDirectory(target));
  RETURN_IF_ERROR(Lost(FromRocksDb(
      engine_->RestoreDBFromBackup(rocksdb::RestoreOptions(), store_.id, target, target), "restore a backup")));
  return SyncDirectory(target);
}

}  // namespace mneme
