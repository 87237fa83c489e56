// StoreBackups: the backups of one database in a folder, as RocksDB's backup engine keeps them: tables that several of
// them have are stored once.
#ifndef MNEME_STORAGE_STORE_BACKUPS_H_
#define MNEME_STORAGE_STORE_BACKUPS_H_

#include <rocksdb/env.h>
#include <rocksdb/utilities/backup_engine.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types.h"
#include "storage/backup_manifest.h"
#include "storage/read_only_db.h"

namespace mneme {

// To write. Not thread-safe.
class StoreBackups {
 public:
  // Makes `path` when it is missing.
  static absl::StatusOr<std::unique_ptr<StoreBackups>> Open(const std::string& path,
                                                            std::shared_ptr<rocksdb::FileSystem> file_system);

  // Adds the database of a checkpoint, durably, and reads what is new of its tables once more: a block that was damaged
  // where it came from has the right checksum of a file. DATA_LOSS then, and when less than `applied` was applied to
  // it. After an error nothing of it stays.
  absl::StatusOr<BackedUpStore> Add(const std::string& checkpoint, Sequence applied);
  // Whether it is there or not.
  absl::Status Remove(uint32_t id);
  // Removes all others, and files that none has.
  absl::Status KeepOnly(const std::set<uint32_t>& ids);

 private:
  explicit StoreBackups(std::string path) : path_(std::move(path)) {}
  // Of all backups, by name.
  absl::StatusOr<std::set<std::string>> Tables() const;
  // Reads every block of those that are not `known`.
  absl::Status CheckTables(const std::set<std::string>& known) const;

  const std::string path_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::BackupEngine> engine_;
};

// To read. Not thread-safe.
class StoredBackup {
 public:
  // DATA_LOSS when the list of its files is damaged or gone.
  static absl::StatusOr<std::unique_ptr<StoredBackup>> Open(const std::string& path, const BackedUpStore& store,
                                                            std::shared_ptr<rocksdb::FileSystem> file_system);

  // Reads everything: every byte must be as it was written, and the database must open and have what was noted.
  absl::Status Verify() const;
  // Writes the files into the folder `target`, durably, checking them again.
  absl::Status Restore(const std::string& target) const;
  // The database, to be read where it lies; for as long as this lives.
  struct OpenedDb {
    std::shared_ptr<rocksdb::Env> env;
    std::unique_ptr<ReadOnlyDb> db;
  };
  absl::StatusOr<OpenedDb> OpenDb(std::shared_ptr<rocksdb::Cache> cache = nullptr) const;
  // DATA_LOSS when a database of it has not what was noted.
  absl::Status CheckContents(const ReadOnlyDb& db) const;

 private:
  explicit StoredBackup(const BackedUpStore& store) : store_(store) {}

  const BackedUpStore store_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::BackupEngineReadOnly> engine_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_STORE_BACKUPS_H_
