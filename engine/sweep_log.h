// SweepLog: where the sweeps of a shard with a log put what they found to have expired, instead of asking its writer: a
// record of it goes into the log, so that it goes from every replica at the same place.
#ifndef MNEME_ENGINE_SWEEP_LOG_H_
#define MNEME_ENGINE_SWEEP_LOG_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/expiry_queue.h"
#include "engine/log_record.h"
#include "engine/shard_log.h"

namespace mneme {

struct SweepLogOptions {
  std::shared_ptr<ShardLog> log;
  uint64_t deployment = 0;
  std::function<Sequence()> handled;  // by this replica
  // How long what expired may wait. Replicas differ in it: one of them comes first, and the others find nothing.
  int64_t slack_ms = kExpirySlackMs;
};

// Thread-safe.
class SweepLog {
 public:
  explicit SweepLog(SweepLogOptions options);

  int64_t slack_ms() const { return options_.slack_ms; }
  // A record may be lost, which the log tells (cluster/replica_log.h): who sweeps looks again once it is settled.
  void Append(LogRecord record);
  // Whether this replica has applied all that was appended here. False, too, for a while after a record was lost.
  bool Settled() const;

 private:
  struct Appended;

  const SweepLogOptions options_;
  const std::shared_ptr<Appended> appended_;  // with what the log is yet to tell
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SWEEP_LOG_H_
