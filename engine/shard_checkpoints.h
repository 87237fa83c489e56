// ShardCheckpoints: the checkpoints of a hosted shard's store: one that other replicas copy, and short-lived ones that
// digests are made of.
#ifndef MNEME_ENGINE_SHARD_CHECKPOINTS_H_
#define MNEME_ENGINE_SHARD_CHECKPOINTS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/shard.h"
#include "engine/shard_log.h"
#include "storage/checkpoint_manifest.h"
#include "storage/checkpoint_source.h"
#include "storage/data_directory.h"
#include "storage/shard_digest.h"

namespace mneme {

struct ShardCheckpointsOptions {
  const DataDirectory* data = nullptr;  // borrowed, as is the shard
  Shard* shard = nullptr;
  // The memories that are there, of which a digest is made.
  std::function<std::vector<MemoryHandle>()> memories = {};
  // As LogApplier::AtOffset; null where the shard has no log.
  std::function<absl::Status(LogOffset, const CallLimits&, std::function<absl::Status()>)> at_offset = {};
  EventSink events = {};  // may be empty; "checkpoint_made", "checkpoint_removed"
  uint64_t bytes_per_second = limits::kCheckpointBytesPerSecond;
  std::chrono::milliseconds idle{limits::kCheckpointIdleMs};
};

// Thread-safe. Blocks.
class ShardCheckpoints {
 public:
  // Told how many bytes were read of how many (0: not known); false: give it up.
  using Progress = std::function<bool(uint64_t bytes, uint64_t of_bytes)>;

  explicit ShardCheckpoints(ShardCheckpointsOptions options);

  // Makes a checkpoint to be copied, or gives that which is there, whoever asked for it. To be closed as often as it
  // was given. UNAVAILABLE while another call makes one; CANCELLED when `progress` says so; errors of
  // EntryStore::Checkpoint and CheckpointSource::Open.
  absl::StatusOr<CheckpointManifest> Open(const CallLimits& limits, const Progress& progress)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits until it may read as much. NOT_FOUND when the checkpoint has gone; OUT_OF_RANGE as CheckpointSource::Read.
  absl::StatusOr<CheckpointChunk> Read(uint64_t id, uint64_t file, uint64_t offset, const CallLimits& limits)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Removes a checkpoint that was copied by all who were given it, and one that is `useless` at once: it stands too far
  // back for anybody. Nothing when it has gone.
  void Close(uint64_t id, bool useless) ABSL_LOCKS_EXCLUDED(mutex_);
  // Removes a checkpoint that nobody has read for long. Called now and then.
  void LetGo() ABSL_LOCKS_EXCLUDED(mutex_);

  // Of the shard as of offset `at` of its log, or of now. `waits` is called when it is ready for that offset, and holds
  // the log up there from the next moment on; `taken` when what is to be read no longer changes.
  // OUT_OF_RANGE when the shard has gone beyond `at`; FAILED_PRECONDITION when it has no log; errors of DigestStore.
  absl::StatusOr<ShardDigest> Digest(std::optional<LogOffset> at, const CallLimits& limits,
                                     const std::function<void()>& waits, const std::function<void()>& taken,
                                     const Progress& progress);

 private:
  // A folder of its own for the next checkpoint, which does not exist yet.
  absl::StatusOr<std::string> NewPath() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::shared_ptr<const CheckpointSource>> Make(const CallLimits& limits, const Progress& progress);
  // Waits until `bytes` more may be read.
  absl::Status Pace(uint64_t bytes, const CallLimits& limits) ABSL_LOCKS_EXCLUDED(mutex_);
  void Tell(std::string_view event, const std::string& detail) const;

  const ShardCheckpointsOptions options_;
  Mutex mutex_;
  uint64_t made_ ABSL_GUARDED_BY(mutex_) = 0;  // folders
  bool making_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const CheckpointSource> current_ ABSL_GUARDED_BY(mutex_);
  uint64_t holders_ ABSL_GUARDED_BY(mutex_) = 0;  // of current_: who was given it and has not closed it
  std::chrono::steady_clock::time_point read_ ABSL_GUARDED_BY(mutex_);  // of current_, last
  std::chrono::steady_clock::time_point free_ ABSL_GUARDED_BY(mutex_);  // from when on more may be read
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_CHECKPOINTS_H_
