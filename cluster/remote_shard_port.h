// RemoteShardPort: a shard of another process.
#ifndef MNEME_CLUSTER_REMOTE_SHARD_PORT_H_
#define MNEME_CLUSTER_REMOTE_SHARD_PORT_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "cluster/shard_channel.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/shard_port.h"

namespace mneme {

class AppendCall;

// Thread-safe. Borrows the channel; ends after its writes. Writes reach the shard in the order in which they were
// submitted: each is sent once the one before it has its place in the shard's order, or was refused by the shard. When
// the shard is away, those that wait go as they may, so that they are told at once. A write that was handed over is
// told within kWriteSeconds what became of it: after an UNAVAILABLE or a DEADLINE_EXCEEDED it may have been applied,
// as its request id will tell who asks again.
// Writes that were not told yet hold at most `most_bytes`; one beyond them is RESOURCE_EXHAUSTED (QUEUE_FULL), so that
// a shard which is slow or away does not fill the ram of a front end.
class RemoteShardPort final : public ShardPort {
 public:
  static constexpr int kWriteSeconds = 60;
  // What a write holds beside its record: its call, its context and what gRPC keeps of both.
  static constexpr uint64_t kCallBytes = 16 * 1024;

  explicit RemoteShardPort(const ShardChannel* channel, uint64_t most_bytes = limits::kMaxQueuedWriteBytes)
      : channel_(channel), most_bytes_(most_bytes) {}

  uint32_t number() const override { return channel_->number(); }
  absl::Status Submit(WriteOperation operation) override;
  absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session,
                                          int64_t stamp_ms) const override;
  absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                         const std::string& after, size_t limit) const override;

  // Of writes that were not told yet.
  uint64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class AppendCall;

  // Sends the next, now that one has its place or was refused one.
  void GoOn() ABSL_LOCKS_EXCLUDED(mutex_);
  // Sends all that wait, out of order: the shard is away.
  void GoAll() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Admit(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  const ShardChannel* const channel_;
  const uint64_t most_bytes_;
  mutable Mutex mutex_;
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;  // one is on its way that has no place yet, and is waited for
  std::deque<AppendCall*> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of writes that were not told yet
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_SHARD_PORT_H_
