// ReplicaLog: the log of a shard as one of its replicas has it. What a replica appends is what it finds to be past its
// expiry by its own clock, or which rows it chose to prune, and all replicas do as the record says: so nothing is
// appended by a clock that is wrong, and an append that fails is told, since of an expiry nobody else waits for it.
#ifndef MNEME_CLUSTER_REPLICA_LOG_H_
#define MNEME_CLUSTER_REPLICA_LOG_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "engine/shard_log.h"
#include "engine/stamp_check.h"

namespace mneme {

// Thread-safe.
class ReplicaLog final : public ShardLog {
 public:
  // `check_stamp` may be empty. Events: "expiry_failed" and "prune_failed", by what was to be appended, but not because
  // the log cannot be reached, which its reader tells.
  ReplicaLog(std::unique_ptr<ShardLog> log, StampCheck check_stamp, EventSink events)
      : log_(std::move(log)), check_stamp_(std::move(check_stamp)), events_(std::move(events)) {}

  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  // As of the log; and what `check_stamp` says of the record's, at once.
  void Append(std::string record, Appended appended) override;
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override { return log_->End(limits); }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override { return log_->Begin(limits); }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override { return log_->Read(from); }

 private:
  const std::unique_ptr<ShardLog> log_;
  const StampCheck check_stamp_;
  const EventSink events_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_REPLICA_LOG_H_
