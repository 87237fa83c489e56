// RemoteShardPort: a shard of another process, which has a log of its own.
#ifndef MNEME_CLUSTER_REMOTE_SHARD_PORT_H_
#define MNEME_CLUSTER_REMOTE_SHARD_PORT_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "cluster/front_end_port.h"
#include "cluster/shard_channel.h"
#include "cluster/write_admission.h"
#include "common/limits.h"
#include "common/mutex.h"

namespace mneme {

class AppendCall;

// Thread-safe. Borrows the channel; ends after its writes. Writes reach the shard in the order in which they were
// submitted: each is sent once the one before it has its place in the shard's order, or was refused by the shard. When
// the shard is away, those that wait go as they may, so that they are told at once. A write that was handed over is
// told within kWriteSeconds what became of it: after an UNAVAILABLE or a DEADLINE_EXCEEDED it may have been applied,
// as its request id will tell who asks again.
// Writes that were not told yet hold at most `most_bytes`; one beyond them is RESOURCE_EXHAUSTED (QUEUE_FULL), so that
// a shard which is slow or away does not fill the ram of a front end.
class RemoteShardPort final : public FrontEndPort {
 public:
  explicit RemoteShardPort(const ShardChannel* channel, uint64_t most_bytes = limits::kMaxQueuedWriteBytes)
      : channel_(channel), admission_(most_bytes) {}

  uint32_t number() const override { return channel_->number(); }
  absl::Status Submit(WriteOperation operation) override;
  absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                         const std::string& after, size_t limit,
                                                         const CallLimits& limits) const override;
  uint64_t bytes() const override { return admission_.bytes(); }
  void GiveUp() override {}  // writes are calls

 private:
  friend class AppendCall;

  // Sends the next, now that one has its place or was refused one.
  void GoOn() ABSL_LOCKS_EXCLUDED(mutex_);
  // Sends all that wait, out of order: the shard is away.
  void GoAll() ABSL_LOCKS_EXCLUDED(mutex_);

  const ShardChannel* const channel_;
  WriteAdmission admission_;
  Mutex mutex_;
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;  // one is on its way that has no place yet, and is waited for
  std::deque<AppendCall*> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_SHARD_PORT_H_
