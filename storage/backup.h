// Backups of a deployment's databases in a directory: made while the deployment serves, whole or not there.
//
//   LOCK            held by who writes
//   catalogue/      RocksDB's backups of the catalogue (store_backups.h)
//   shard-000/      the same of shard 0
//   BACKUP-000001   what belongs to backup 1 (BackupManifest): written last, removed first
//   part-000/       the same of what the process of shard 0 wrote, where each shard has one (backup_sets.h)
//
// Index files are not in it (I2).
#ifndef MNEME_STORAGE_BACKUP_H_
#define MNEME_STORAGE_BACKUP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/backup_manifest.h"
#include "storage/placement.h"

namespace rocksdb {
class FileSystem;
}

namespace mneme {

class DataDirectory;

struct BackupProgress {
  const char* stage = "";
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  bool of_records = false;  // what is counted are records of a log
};
// False: give it up. Called on other threads, too, but one call at a time.
using BackupProgressSink = std::function<bool(const BackupProgress&)>;

struct BackupCheckpoint {
  std::string path;      // nothing changes what is there
  Sequence applied = 0;  // that its store had before the checkpoint was made
};
struct BackupSource {
  uint64_t deployment = 0;
  std::vector<BackupCheckpoint> checkpoints;  // the catalogue's, then that of every shard
  int64_t now_ms = 0;
  // Of one shard of several processes: `checkpoints` are the catalogue's, whose path is empty where it has none, and
  // its own. It gets the number that its deployment gave.
  std::optional<BackupPart> part = {};
  uint32_t shards = 0;  // of that deployment
  uint64_t number = 0;
};

struct WrittenBackup {
  BackupManifest manifest;
  uint64_t new_bytes = 0;  // that were written; the rest older backups had
};

// Writes into one directory, and keeps others from it. Not thread-safe.
class BackupWriter {
 public:
  // Makes `directory` (mode 0700) when it is missing. FAILED_PRECONDITION while another writes a backup into it.
  // `file_system` null: the machine's.
  static absl::StatusOr<std::unique_ptr<BackupWriter>> Open(std::string directory,
                                                            std::shared_ptr<rocksdb::FileSystem> file_system = nullptr);
  ~BackupWriter();

  // Durable when it returns. After an error (RESOURCE_EXHAUSTED: the disk is full; CANCELLED: `progress` said so;
  // DATA_LOSS: a checkpoint is damaged, or has less than its store had) nothing of it counts, and what could not be
  // removed of it is when the next one is written. Of a part that is there already, nothing is written;
  // FAILED_PRECONDITION when its number is another backup's.
  absl::StatusOr<WrittenBackup> Write(const BackupSource& source, const BackupProgressSink& progress);
  // Removes the oldest backups of this deployment until `keep` of them are left; returns how many went.
  absl::StatusOr<uint32_t> RemoveOld(uint64_t deployment, uint32_t keep);
  // Removes the part of a backup; false when it is not there.
  absl::StatusOr<bool> RemovePart(uint64_t number, uint64_t set);

 private:
  BackupWriter(std::string directory, std::shared_ptr<rocksdb::FileSystem> file_system, int lock_fd);
  absl::Status RemoveAll(const std::vector<BackupManifest>& own);

  const std::string directory_;
  const std::shared_ptr<rocksdb::FileSystem> file_system_;
  const int lock_fd_;
};

// What a directory says it has.
struct ListedBackup {
  uint64_t number = 0;
  absl::StatusOr<BackupManifest> manifest;  // its error: why it cannot be restored
};
// By number. None in a directory that does not exist. Not of what lies below it.
absl::StatusOr<std::vector<ListedBackup>> ListBackups(const std::string& directory);

// Reads every byte of backup `number` (0: the newest that is whole), of `shard` alone if that is given, and opens every
// store of it. DATA_LOSS when any of it is damaged or gone; NOT_FOUND when there is no such backup; FAILED_PRECONDITION
// when parts of it are missing.
absl::StatusOr<BackupManifest> VerifyBackup(const std::string& directory, uint64_t number,
                                            const BackupProgressSink& progress,
                                            std::optional<uint32_t> shard = std::nullopt);
struct RestoreTarget {
  std::string data_dir;  // absent or empty
  // How many shards it gets, and what lies where on them; nullopt: as it was backed up.
  std::optional<Placement> onto = {};
  // Of a backup of several processes, one shard alone: what its process is started on.
  std::optional<uint32_t> shard = {};
  // Of that shard: the number of its deployment. That of the backup: the shard goes on where it was; another: as all
  // shards of that one; 0, of shard 0 alone: a new one's.
  uint64_t deployment = 0;
  // Of a backup of several processes, all shards: `data_dir` gets a directory of each, shard-000 and so on, of one new
  // deployment, instead of being one that has all of them.
  bool apart = false;
  // Called when the stores are there, before they are a data directory; may go on with them. May be empty.
  std::function<absl::Status(const DataDirectory& made, const BackupManifest& backup)> finish = {};
};
// Verifies it, then makes it the data directory of a deployment, which gets a number of its own where all shards come
// back: its files where the shards are as many, else what they hold (reshard.h). The newest for a shard of another
// deployment than that of the backup is the newest that is whole. FAILED_PRECONDITION, before anything is read or
// touched, when the target is not what it must be; INVALID_ARGUMENT when it asks for what cannot be. After an error
// there is nothing of it.
absl::StatusOr<BackupManifest> RestoreBackup(const std::string& directory, uint64_t number,
                                             const RestoreTarget& target, const BackupProgressSink& progress);

}  // namespace mneme

#endif  // MNEME_STORAGE_BACKUP_H_
