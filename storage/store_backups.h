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
#include "storage/backup_manifest.h"

namespace mneme {

// To write. Not thread-safe.
class StoreBackups {
 public:
  // Makes `path` when it is missing.
  static absl::StatusOr<std::unique_ptr<StoreBackups>> Open(const std::string& path,
                                                            std::shared_ptr<rocksdb::FileSystem> file_system);

  // Adds the database of a checkpoint, durably. After an error nothing of it stays.
  absl::StatusOr<BackedUpStore> Add(const std::string& checkpoint);
  // Whether it is there or not.
  absl::Status Remove(uint32_t id);
  // Removes all others, and files that none has.
  absl::Status KeepOnly(const std::set<uint32_t>& ids);

 private:
  explicit StoreBackups(std::string path) : path_(std::move(path)) {}

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

 private:
  explicit StoredBackup(const BackedUpStore& store) : store_(store) {}

  const BackedUpStore store_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::BackupEngineReadOnly> engine_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_STORE_BACKUPS_H_
