// LogReplica: one replica of a shard, from when its process starts until it ends or crashes: a shard over a journaled
// store, its staged log and its applier.
#ifndef MNEME_TESTS_ENGINE_LOG_REPLICA_H_
#define MNEME_TESTS_ENGINE_LOG_REPLICA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/log_applier.h"
#include "engine/shard.h"
#include "tests/engine/journaled_store.h"
#include "tests/engine/staged_log.h"

namespace mneme::testing {

struct LogReplicaOptions {
  uint32_t shard = 0;
  uint64_t deployment = 0;
  std::map<MemoryNumber, MemoryHandle> memories = {};  // all others were dropped
  Journal* journal = nullptr;  // borrowed, as is the log
  ShardLog* log = nullptr;
  std::string directory = {};  // for index files
  size_t delete_group_rows = 65'536;
  StoreFaults faults = {};
};

// Used by one thread.
class LogReplica {
 public:
  static absl::StatusOr<std::unique_ptr<LogReplica>> Open(LogReplicaOptions options);
  ~LogReplica();

  Shard& shard() { return *shard_; }
  LogApplier& applier() { return *applier_; }
  StagedLog& log() { return log_; }
  // Where it stood when it was opened: outcomes of records before it are not at hand.
  Sequence opened_at() const { return opened_at_; }
  Sequence handled() const { return applier_->handled(); }

  // Applies records that follow each other, of which the next is the first, in groups of those sizes; the first is a
  // group of its own. What is left is the last group.
  absl::Status Apply(const std::vector<LoggedBytes>& records, const std::vector<size_t>& sizes);
  // What became of a record that is handled.
  absl::StatusOr<WriteResult> OutcomeOf(LogOffset offset, const RequestIdentity& request);

 private:
  explicit LogReplica(ShardLog* log) : log_(log) {}

  StagedLog log_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<LogApplier> applier_;
  Sequence opened_at_ = 0;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_LOG_REPLICA_H_
