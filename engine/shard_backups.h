// ShardBackups: what the process of one shard does for the backups of its deployment, as a front end says
// (cluster/remote_backups.cc): takes what it has, and writes it into the directory that its operator gave.
//
// What was taken is held by the number of who took it, one at a time: links to the store's files, and, where this
// process has the catalogue, as all of shard 0 have, to those of that. It goes once it was written, when it is let go
// of, or when nobody asks for it any more.
#ifndef MNEME_ENGINE_SHARD_BACKUPS_H_
#define MNEME_ENGINE_SHARD_BACKUPS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/backup_outcome.h"
#include "engine/catalogue.h"
#include "engine/commands.h"
#include "engine/shard.h"
#include "storage/backup.h"
#include "storage/data_directory.h"

namespace mneme {

// All but the directory is borrowed.
struct ShardBackupsOptions {
  std::string directory;  // empty: none was given
  const DataDirectory* data = nullptr;
  const Catalogue* catalogue = nullptr;  // null: other processes have it
  const Shard* shard = nullptr;
  // As LogApplier::AwaitHandled(); null where the shard has no replicated log.
  std::function<absl::Status(Sequence, const CallLimits&)> await_handled = {};
  // As CatalogueApplier::AwaitEnd(); null where the catalogue has no log.
  std::function<absl::Status(const CallLimits&)> await_names = {};
  // May be empty; "backup_written", "backup_failed", "backup_cancelled".
  EventSink events = {};
  std::chrono::milliseconds idle{limits::kBackupIdleMs};
};

// What the names of a process were at a moment: equal ones are the same names.
struct NamesMark {
  uint64_t process = 0;  // random
  uint64_t revision = 0;

  friend bool operator==(const NamesMark&, const NamesMark&) = default;
};

// What a process knows of backups.
struct ShardBackupState {
  bool has_directory = false;
  std::optional<NamesMark> names = {};  // where it has the catalogue
  uint64_t greatest = 0;  // number of a backup in its directory, whoever wrote it
  std::vector<BackupManifest> parts = {};  // of its shard, of this deployment and others
  std::vector<std::pair<uint64_t, std::string>> damaged = {};  // numbers of parts that cannot be read, and why
};

// What was taken is to be written as this.
struct BackupOrder {
  uint64_t id = 0;  // by which it was taken
  uint64_t number = 0;
  uint64_t set = 0;
  int64_t created_ms = 0;
};

// Thread-safe. Blocks. Errors are for clients and name no path; an event has the whole of it.
class ShardBackups {
 public:
  explicit ShardBackups(ShardBackupsOptions options);

  absl::StatusOr<ShardBackupState> Describe() const;
  // Takes the store, once everything up to `at_least` of its log was handled, in the place of what was taken by the
  // same `id`; returns its last sequence. FAILED_PRECONDITION without a directory, or while another backup is made.
  absl::StatusOr<Sequence> Take(uint64_t id, Sequence at_least, const CallLimits& limits,
                                const BackupProgressSink& progress) ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes the names as well, once everything that their log had is applied to them. NOT_FOUND when nothing is held by
  // `id`; FAILED_PRECONDITION where other processes have them.
  absl::StatusOr<NamesMark> TakeNames(uint64_t id, const CallLimits& limits) ABSL_LOCKS_EXCLUDED(mutex_);
  // Writes what was taken, which goes. NOT_FOUND when nothing is held by its id; errors of BackupWriter.
  absl::StatusOr<WrittenBackup> Write(const BackupOrder& order, const BackupProgressSink& progress)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets go of what is held by `id`; once it was written or taken, where that is under way.
  void LetGo(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets go of what nobody has asked for for long. Called now and then.
  void LetGoIdle() ABSL_LOCKS_EXCLUDED(mutex_);
  // Removes a part that was written; false when there is none. FAILED_PRECONDITION while another is written.
  absl::StatusOr<bool> Remove(uint64_t number, uint64_t set) const;

 private:
  using Steady = std::chrono::steady_clock;
  struct Held {
    uint64_t id = 0;
    std::string path;  // of the links
    Sequence applied = 0;
    bool has_names = false;
    bool taken = false;
    bool busy = false;    // somebody works on it
    bool useless = false;  // goes when he has ended
    Steady::time_point asked = {};
  };

  absl::Status CheckDirectory() const;
  absl::Status Told(const absl::Status& status) const;
  // What is held by `id`, which is worked on until End(); a new one when `fresh`.
  absl::StatusOr<Held> Begin(uint64_t id, bool fresh) ABSL_LOCKS_EXCLUDED(mutex_);
  // Puts it back; `goes`: removes it.
  void End(Held held, bool goes) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status TakeStore(Held& held, Sequence at_least, const CallLimits& limits, const BackupProgressSink& progress);
  BackupSource SourceOf(const Held& held, const BackupOrder& order) const;

  const ShardBackupsOptions options_;
  const uint64_t process_;  // of NamesMark
  Mutex mutex_;
  uint64_t made_ ABSL_GUARDED_BY(mutex_) = 0;  // folders
  std::optional<Held> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_BACKUPS_H_
