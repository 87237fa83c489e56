// LogReplay: brings the stores that a backup has to where their replicated logs say that they were, offline.
//
// A replica applies its log up to an offset, in a data directory that is there for as long: what comes of it is what
// any replica had at that offset. Memories that were made after the names of the backup are left out.
#ifndef MNEME_ENGINE_LOG_REPLAY_H_
#define MNEME_ENGINE_LOG_REPLAY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/shard_log.h"
#include "storage/backup.h"
#include "storage/data_directory.h"

namespace mneme {

// Where the logs are to be applied up to: everything that was stamped at a time or before it, or the offset of each
// shard's first record that is not to be.
struct ReplayPoint {
  int64_t until_ms = 0;
  std::vector<LogOffset> offsets = {};  // by shard; empty: `until_ms` counts
};

struct LogReplayOptions {
  ReplayPoint point;
  // That of a shard; called once for each.
  std::function<absl::StatusOr<std::shared_ptr<ShardLog>>(uint32_t shard)> open_log;
  uint64_t ram_limit_bytes = 0;  // as DeploymentOptions
  EventSink events = {};         // of the replicas; may be empty
  BackupProgressSink progress;
};

// What became of a shard.
struct ReplayedShard {
  LogOffset from = 0;  // where its backup stood
  LogOffset end = 0;   // where it stands
  uint64_t left_out = 0;  // records of memories that the backup's names do not know
};

// The backup to begin with: the newest of several processes with logs, or `number` if that is not 0, that is whole and
// was made at that time or before it, or stands at the offsets or before them. NOT_FOUND when there is none.
absl::StatusOr<uint64_t> FindReplayedBackup(const std::string& directory, uint64_t number, const ReplayPoint& point);

// One beyond the last record of a log, of those from `from` on, that was stamped at `until_ms` or before it; `from`
// when none was. Stamps are of several clocks: it reads on until none can follow. OUT_OF_RANGE when the log does not
// reach back to `from`; UNAVAILABLE and the like when it cannot be read for a while; CANCELLED.
absl::StatusOr<LogOffset> FindOffset(ShardLog& log, LogOffset from, int64_t until_ms,
                                     const BackupProgressSink& progress);

// Brings the stores of `made`, restored from `backup`, to that point; nobody else uses them. By shard. A shard that the
// backup has beyond it stays as it is. INVALID_ARGUMENT when the offsets are not of as many shards; else as
// FindOffset() and LogApplier::status().
absl::StatusOr<std::vector<ReplayedShard>> ReplayLogs(const DataDirectory& made, const BackupManifest& backup,
                                                      const LogReplayOptions& options);

}  // namespace mneme

#endif  // MNEME_ENGINE_LOG_REPLAY_H_
