// LoggedShardPort: a shard whose writes go through its replicated log (engine/shard_log.h).
//
// A write is appended as a record, and a replica that has applied it is asked what became of it: whichever is there.
// Another may answer the next read, which waits for as much (ShardChannel::Saw). No replica need be there for the write
// to be kept. An insert that is longer than a record may be is cut by its entries into several, each of which is
// applied once: who asks again with the same request id completes what was cut off.
#ifndef MNEME_CLUSTER_LOGGED_SHARD_PORT_H_
#define MNEME_CLUSTER_LOGGED_SHARD_PORT_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "cluster/front_end_port.h"
#include "cluster/read_markers.h"
#include "cluster/shard_channel.h"
#include "cluster/write_admission.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/shard_log.h"
#include "engine/stamp_check.h"

namespace mneme {

struct LoggedShardPortOptions {
  // Borrowed.
  const ShardChannel* channel = nullptr;
  ShardLog* log = nullptr;
  const Clock* clock = nullptr;
  StampCheck check_stamp = {};  // of every record; may be empty
  uint64_t most_bytes = limits::kMaxQueuedWriteBytes;
};

// Thread-safe. Ends after its writes, before its log. Writes that one thread hands over keep their order, but for those
// that fail. What is durable is a matter of the log, whatever the ticket asks. A write is told within kWriteSeconds
// what became of it: after an UNAVAILABLE it may have been applied, or may be yet, as its request id will tell who asks
// again. Visible is what is acknowledged, not before it. The bound of what is held is that of RemoteShardPort.
//
// Reads of sessions are linearizable: a marker in the log goes before each (read_markers.h).
class LoggedShardPort final : public FrontEndPort {
 public:
  explicit LoggedShardPort(const LoggedShardPortOptions& options);
  ~LoggedShardPort() override;

  uint32_t number() const override { return channel_->number(); }
  // INVALID_ARGUMENT, too, for what is longer than a record and cannot be cut; what check_stamp says.
  // RESOURCE_EXHAUSTED (MEMORY_LIMIT) for what grows the shard, while a write of this front end waits in the log
  // because every replica that is there is short of ram: it would wait behind it, and hold up what does not grow. So
  // (STORAGE_LOW) for what fills disks, while it waits for those. When it throws bad_alloc the write is not told.
  absl::Status Submit(WriteOperation operation) override;
  absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                         const std::string& after, size_t limit,
                                                         const CallLimits& limits) const override;
  uint64_t bytes() const override { return admission_.bytes(); }
  void GiveUp() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Piece;
  struct Whole;
  struct Record;
  using RecordHandle = std::shared_ptr<Record>;

  // The records of a write.
  absl::StatusOr<std::vector<Piece>> Cut(const WriteOperation& operation, const RequestIdentity& request) const;
  absl::Status CutInsert(const InsertOperation& insert, size_t begin, size_t end, std::vector<Piece>& pieces) const;
  absl::StatusOr<std::string> Encode(const WriteOperation& operation) const;
  // False: it was not, since the front end is stopping. That, and what it throws, is for the caller to tell.
  bool Append(const RecordHandle& record, std::string bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void AskOutcome(RecordHandle record);
  bool GivenUp() const ABSL_LOCKS_EXCLUDED(mutex_);
  // What a replica told of a record; UNAVAILABLE when none knows it any more.
  absl::StatusOr<WriteResult> OutcomeOf(std::string_view answer) const;
  // UNAVAILABLE: the write is in the log.
  absl::Status NotTold(absl::string_view why) const;
  absl::Status CheckRoom(const WriteOperation& operation) const ABSL_LOCKS_EXCLUDED(mutex_);
  // A replica says that the record waits for room; until it is told.
  void HoldUp(Record& record, const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of one record; the last one tells the write.
  void Tell(const RecordHandle& record, absl::StatusOr<WriteResult> result) ABSL_LOCKS_EXCLUDED(mutex_);
  // As errors of the log reach a caller.
  absl::Status OfLog(const absl::Status& status) const;
  // What a linearizable read waits for.
  absl::StatusOr<Version> Marker(const MemoryRecord& memory, const CallLimits& limits) const;

  const ShardChannel* const channel_;
  ShardLog* const log_;
  const StampCheck check_stamp_;
  WriteAdmission admission_;
  ReadMarkers markers_;
  mutable Mutex mutex_;
  std::set<RecordHandle> appending_ ABSL_GUARDED_BY(mutex_);  // that the log has not told of
  bool given_up_ ABSL_GUARDED_BY(mutex_) = false;
  size_t handing_over_ ABSL_GUARDED_BY(mutex_) = 0;  // records that the log is being given
  CondVar handed_over_;
  size_t held_up_ ABSL_GUARDED_BY(mutex_) = 0;  // records that wait for room
  absl::Status why_ ABSL_GUARDED_BY(mutex_);    // as the last of them was told
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_LOGGED_SHARD_PORT_H_
