// What a replica does before it opens its store: where its log does not reach back to that, or it has none and much is
// in the log, it copies the store of another replica of its shard (docs/architecture.md, "A replica that is built from
// nothing").
#ifndef MNEME_CLUSTER_CHECKPOINT_COPY_H_
#define MNEME_CLUSTER_CHECKPOINT_COPY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/limits.h"
#include "engine/commands.h"
#include "engine/shard_log.h"

namespace mneme {

class ChannelSecurity;

struct CheckpointCopyOptions {
  uint64_t deployment = 0;
  uint32_t shard = 0;
  uint32_t shards = 0;
  std::vector<std::string> sources;  // addresses of the other replicas of the shard
  std::shared_ptr<const ChannelSecurity> security = {};  // of the connections to them; may be null
  const ShardLog* log = nullptr;  // borrowed
  // Until the log is reached, and there is a source where the log does not reach; else nothing is done without the one,
  // and the store stays as it is without the other: for who tells names, whom others wait for.
  bool waits = true;
  // May be empty. "checkpoint_copying", "checkpoint_copied"; "checkpoint_failed" when a source is left for the next,
  // "checkpoint_awaited" when all of them were.
  EventSink events = {};
  std::function<bool()> give_up = [] { return false; };
  uint64_t least_records = limits::kMinCopiedRecords;  // to apply, for a replica without a store
  std::chrono::milliseconds pause{1'000};  // after all sources were asked
};

// Puts a store in place from which the log can be applied; does nothing where the one that is there, or none, will do.
// Blocks for as long as the copy takes, and where there is no other way until a source is there. Goes on with what an
// earlier call left. Returns whether a store was copied. CANCELLED when `give_up` says so; RESOURCE_EXHAUSTED and other
// errors of this machine's files. Where there is no source to be asked, the store stays, and opening it says what it
// lacks.
absl::StatusOr<bool> PrepareStore(const CheckpointCopyOptions& options, const std::string& store_path,
                                  const std::string& index_path);

}  // namespace mneme

#endif  // MNEME_CLUSTER_CHECKPOINT_COPY_H_
