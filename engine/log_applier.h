// LogApplier: makes a shard what its log says: takes the records from where the shard stands, one after the other, and
// hands them to the shard's writer. Every replica of a shard does the same with the same records, so that all of them
// hold the same; whatever depends on state is decided here, not where the record was made.
#ifndef MNEME_ENGINE_LOG_APPLIER_H_
#define MNEME_ENGINE_LOG_APPLIER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/disk_room.h"
#include "engine/log_halts.h"
#include "engine/log_outcomes.h"
#include "engine/log_record.h"
#include "engine/shard.h"
#include "engine/shard_log.h"
#include "engine/write_operations.h"

namespace mneme {

struct LogApplierOptions {
  Shard* shard = nullptr;  // borrowed; opened with ShardOptions::logged, and nobody else hands it writes
  ShardLog* log = nullptr; // borrowed
  uint64_t deployment = 0; // records of another are refused: the log is not this deployment's
  // The memory of a record: NOT_FOUND when it was dropped; UNAVAILABLE when this process has not been told of it yet,
  // which is asked again until it has.
  std::function<absl::StatusOr<MemoryHandle>(MemoryNumber)> find_memory;
  // Not OK while nothing that grows the shard is to be applied, for want of ram: asked again until it is. May be empty.
  std::function<absl::Status()> room = {};
  // Borrowed. Nor is anything that fills it while it has no room. Null: it always has.
  const DiskRoom* disk = nullptr;
  // May be empty. "log_lost" while the log cannot be reached, "log_refused" while it is reached and not there, or may
  // not be read, "log_found" after either; "log_waits" when a record has waited for ram, for the disk, or for its
  // memory, for ten seconds; "log_failed" when nothing more is applied.
  EventSink events = {};
};

// Thread-safe.
class LogApplier {
 public:
  // Begins at once.
  static std::unique_ptr<LogApplier> Start(LogApplierOptions options);
  // Stops after the record at hand; who waits is told UNAVAILABLE.
  ~LogApplier();

  // The sequence up to which every record has had its outcome, whether it was applied or refused.
  Sequence handled() const { return outcomes_->handled(); }
  // One beyond the last record that was seen in the log: what is missing of it is the backlog.
  LogOffset seen_end() const { return seen_end_.load(); }
  // OK, or why nothing more is applied: DATA_LOSS for a damaged record, OUT_OF_RANGE when the log does not reach to
  // where the shard stands, FAILED_PRECONDITION when it is another deployment's, or another than was applied,
  // UNIMPLEMENTED for a record that a newer program wrote; or what the shard's writer says.
  absl::Status status() const { return outcomes_->status(); }
  // Whether the log cannot be reached now: what is in it is not known here, nor how far behind this replica is.
  bool lost() const { return lost_; }
  // It is lost, and not by itself: it is not there, or may not be read. It goes on when that is mended.
  bool refused() const { return refused_; }

  // Tells what became of the record at `offset`, once it is applied: at once, or later on a thread of the shard's;
  // DEADLINE_EXCEEDED at the deadline of `limits`. `request` is that of the record: an outcome that is no longer at
  // hand is read from the requests that the shard remembers, and one that is not there either is UNAVAILABLE: the write
  // was refused, or is past its window; who asks again by the same request id is told. A record of merged rows has no
  // request, and its outcome is at hand or not known. The error of status() when the
  // applier has stopped short of it. DEADLINE_EXCEEDED (REPLICA_LAGGING), too, when the record has waited for ram, or
  // behind one that does, for half a second: another replica may have some. So (STORAGE_LOW) for the disk.
  void AwaitOutcome(LogOffset offset, const RequestIdentity& request, const CallLimits& limits,
                    std::function<void(absl::StatusOr<WriteResult>)> then);
  // Blocks until handled() is `sequence` at least.
  absl::Status AwaitHandled(Sequence sequence, const CallLimits& limits) const;
  // Calls `work` when every record before `offset` has had its outcome and none from there on was handed over, and
  // holds the log up meanwhile; blocks. Errors of `work` and of status(); OUT_OF_RANGE when the shard has gone beyond;
  // what `limits` say while it waits.
  absl::Status AtOffset(LogOffset offset, const CallLimits& limits, std::function<absl::Status()> work);
  // As LogOutcomes::TellWaiters(), also when nothing more is applied.
  void TellWaiters();

 private:
  explicit LogApplier(LogApplierOptions options);

  void Run();
  // Finds the last write that the shard remembers, of which the log may have the record still.
  absl::Status FindLast();
  // FAILED_PRECONDITION when `logged` stands where that write was and is not it.
  absl::Status Compare(const LoggedBytes& logged);
  // Whether the log was heard to end before the record of `request`.
  bool EndsBefore(const RememberedRequest& request) const;
  // Reads what is there and hands it over. Not OK: nothing more is applied.
  absl::Status Step();
  absl::Status Read(std::vector<LoggedBytes>& records);
  absl::Status HandOver(const LoggedBytes& logged);
  // The record, which must be of this deployment.
  absl::StatusOr<LogRecord> Decode(const LoggedBytes& logged) const;
  // The memory of a record, null when it needs none; waits until this process knows it. UNAVAILABLE when it stops.
  absl::StatusOr<MemoryHandle> AwaitMemory(const LogRecord& record);
  // Not OK while there is no room for the record, whose reason says of what.
  absl::Status CheckRoom(const LogRecord& record) const;
  // Waits until there is; returns at once when it stops.
  void AwaitRoom(const LogRecord& record);
  // Lets who waits for an offset up to `next`, that of the next record or of the end, do his work first.
  void HaltBefore(LogOffset next);
  // The end of the log, of which a reader takes the next records only.
  void LookAtEnd();
  // Offsets of no record that nothing follows yet count as handled once everything before them is: who waits for the
  // end of the log would wait for ever.
  void PassGap();
  void Saw(LogOffset end);
  void Tell(std::string_view event, std::string_view detail) const;
  // While a record cannot be handed over: who waits in vain is told, and how much waits in the log is looked at.
  void GoOnWaiting(std::chrono::milliseconds pause);
  // For `pause`, or until it stops.
  void Pause(std::chrono::milliseconds pause);
  bool Stopping() const;

  // Constant after construction.
  const LogApplierOptions options_;
  // What is under way in the shard when this ends is told to it alone.
  const std::shared_ptr<LogOutcomes> outcomes_;
  LogHalts halts_;
  std::atomic<LogOffset> seen_end_;
  std::atomic<bool> lost_{false};
  std::atomic<bool> refused_{false};

  // The thread's own.
  std::unique_ptr<LogReader> reader_;
  LogOffset next_;  // to be handed over
  std::optional<RememberedRequest> last_;  // until it was compared with the log

  mutable Mutex mutex_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LOG_APPLIER_H_
