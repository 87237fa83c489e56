// LogOutcomes: what became of the records of a log that a shard has applied, the latest of them, and who waits to be
// told.
#ifndef MNEME_ENGINE_LOG_OUTCOMES_H_
#define MNEME_ENGINE_LOG_OUTCOMES_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/shard_log.h"
#include "engine/write_operations.h"

namespace mneme {

// Outcomes come in the order of the log. Thread-safe. Callbacks are called with no lock held.
class LogOutcomes {
 public:
  using Told = std::function<void(absl::StatusOr<WriteResult>)>;
  // Reads an outcome that is not at hand.
  using Recall = std::function<absl::StatusOr<WriteResult>(LogOffset, const RequestIdentity&)>;

  // Of a shard that has applied `handled`.
  LogOutcomes(Sequence handled, Recall recall) : recall_(std::move(recall)), handled_(handled) {}

  // The sequence up to which every record has had its outcome.
  Sequence handled() const ABSL_LOCKS_EXCLUDED(mutex_);
  // OK, or why there are no more.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

  // `outcome` became of the record at `offset`, and every record before it has had its own. Does nothing when that was
  // known.
  void Handled(LogOffset offset, const absl::StatusOr<WriteResult>& outcome) ABSL_LOCKS_EXCLUDED(mutex_);
  // Up to `handled` there are no records but those that had their outcomes.
  void Skip(Sequence handled) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing becomes of the record at `offset`, nor of those after it: who waits for them is told `why`. The first
  // reason stays.
  void End(LogOffset offset, const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);

  // The record at `offset` waits, and those after it: who waits for them is told `why`.
  void PutOff(LogOffset offset, const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);

  // As LogApplier::AwaitOutcome(), an outcome that is not at hand by TellWaiters(); UNAVAILABLE, too, when too many
  // wait.
  void Await(LogOffset offset, const RequestIdentity& request, const CallLimits& call_limits, Told then)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until handled() is `sequence` at least.
  absl::Status AwaitHandled(Sequence sequence, const CallLimits& call_limits) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells who waits for an outcome that is not at hand, and gives up waiters whose time is over. Called now and then,
  // by threads that may wait for the store.
  void TellWaiters() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Kept {
    LogOffset offset = 0;
    absl::StatusOr<WriteResult> outcome;
    uint64_t bytes = 0;
  };
  struct Waiter {
    RequestIdentity request;
    CallLimits limits;
    Told then;
  };

  // nullopt when it is no longer at hand, or there was no record.
  std::optional<absl::StatusOr<WriteResult>> Find(LogOffset offset) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Recall recall_;
  mutable Mutex mutex_;
  mutable CondVar handled_more_;
  Sequence handled_ ABSL_GUARDED_BY(mutex_);
  // Nothing becomes of records from here on, and why.
  LogOffset end_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<LogOffset>::max();
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
  std::deque<Kept> kept_ ABSL_GUARDED_BY(mutex_);  // ascending by offset
  uint64_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::multimap<LogOffset, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LOG_OUTCOMES_H_
