// Backups: those of a deployment whose shards are all in this process, in the directory that its operator gave.
#ifndef MNEME_ENGINE_BACKUPS_H_
#define MNEME_ENGINE_BACKUPS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/backup_outcome.h"
#include "engine/catalogue.h"
#include "engine/commands.h"
#include "engine/shard.h"
#include "storage/backup.h"
#include "storage/data_directory.h"

namespace mneme {

// Everything is borrowed.
struct BackupsOptions {
  std::string directory;  // empty: none was given
  const DataDirectory* data = nullptr;
  const Catalogue* catalogue = nullptr;
  std::vector<Shard*> shards;  // by number
  const Clock* clock = nullptr;
  EventSink events = {};  // may be empty
};

// Thread-safe.
class Backups {
 public:
  explicit Backups(BackupsOptions options);

  // Backs up all stores as of moments at which nothing changed the catalogue, so that every memory and alias of it has
  // the entries of that time; each shard is whole up to one sequence. Then removes the oldest until `keep` are left
  // (0: none). Blocks. FAILED_PRECONDITION without a directory, or while another backup is written; else as
  // BackupWriter. Errors are for clients and name no path; an event has the whole of it.
  absl::StatusOr<BackupOutcome> Create(uint32_t keep, const BackupProgressSink& progress) const;
  bool has_directory() const { return !options_.directory.empty(); }
  // The greatest number of a backup in the directory; 0: there is none. UNAVAILABLE while one is being made, or what it
  // was made of is left: what it has was there when its checkpoints were taken.
  absl::StatusOr<uint64_t> LastNumber() const ABSL_LOCKS_EXCLUDED(mutex_);
  // FAILED_PRECONDITION without a directory. Errors, and those of manifests, are as above.
  absl::StatusOr<std::vector<ListedBackup>> List() const;
  // The same by number, with those whose files this process is removing, or could not remove.
  absl::StatusOr<std::map<uint64_t, ListedBackup>> Left() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status CheckDirectory() const;
  absl::Status WithoutPaths(const absl::Status& status) const;
  // Moves logs to tables, so that the checkpoints copy little while the catalogue stands still.
  absl::Status Flush(const BackupProgressSink& progress) const;
  absl::StatusOr<BackupSource> TakeCheckpoints() const;
  absl::StatusOr<BackupOutcome> CreateIn(BackupWriter& writer, uint32_t keep, const BackupProgressSink& progress) const;

  BackupsOptions options_;  // constant after construction
  mutable Mutex mutex_;
  mutable uint64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable uint64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  // Their manifests go before their files.
  mutable std::map<uint64_t, ListedBackup> removed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_BACKUPS_H_
