// CatalogueApplier: makes a catalogue what its log says, record by record, and knows how much of what was ever
// acknowledged is in it (docs/architecture.md, "Names over replicas").
#ifndef MNEME_ENGINE_CATALOGUE_APPLIER_H_
#define MNEME_ENGINE_CATALOGUE_APPLIER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/catalogue.h"
#include "engine/commands.h"
#include "engine/shard_log.h"

namespace mneme {

struct CatalogueApplierOptions {
  Catalogue* catalogue = nullptr;  // borrowed; of OpenLogged(), and nobody else changes it
  ShardLog* log = nullptr;         // borrowed
  uint64_t deployment = 0;         // records of another are refused
  // Called with what a list of replicas is from a record on, before handled() says that it is applied. May be empty.
  std::function<void(uint32_t shard, const std::vector<std::string>& replicas)> replicas = {};
  // Called with what handled() has become, after that. May be empty.
  std::function<void(Sequence)> handled = {};
  // The log is asked for its end so often; well below the lease that is counted from that.
  std::chrono::milliseconds poll{400};
  // May be empty. "log_lost" while the log cannot be reached, "log_refused" while it is reached and not there, or may
  // not be read, "log_found" after either; "log_failed" when nothing more is applied.
  EventSink events = {};
};

// Thread-safe.
class CatalogueApplier {
 public:
  using Steady = std::chrono::steady_clock;
  using Take = std::function<absl::Status(const CatalogueChanges&)>;

  explicit CatalogueApplier(CatalogueApplierOptions options);
  // Stops after the record at hand; who waits is told UNAVAILABLE.
  ~CatalogueApplier();

  // The sequence up to which the log is applied.
  Sequence handled() const ABSL_LOCKS_EXCLUDED(mutex_);
  // OK, or why nothing more is applied: DATA_LOSS for a damaged record, OUT_OF_RANGE when the log does not reach to
  // where the catalogue stands, FAILED_PRECONDITION when it is another deployment's, UNIMPLEMENTED for a record that a
  // newer program wrote; or what the store says.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether the log cannot be reached now.
  bool lost() const { return lost_.load(std::memory_order_acquire); }
  // The catalogue has all that was appended before this moment: the log was asked for its end then, and all up to there
  // is applied. The least time while that was never so, or while something that it lacks was heard of.
  Steady::time_point known_at() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Somebody else has seen the log up to there: who lacks that does not know everything, whatever a broker says.
  void HeardOf(LogOffset end) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether something that was heard of is not applied yet.
  bool Lacks() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks until handled() is `sequence` at least. The error of status(), and UNAVAILABLE when it stops.
  absl::Status AwaitHandled(Sequence sequence, const CallLimits& limits) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until all is applied that was in the log when this was called, which must be reached for that: UNAVAILABLE
  // when it is not within the time.
  absl::Status AwaitEnd(const CallLimits& limits) const ABSL_LOCKS_EXCLUDED(mutex_);
  // From now on `take` is called with what changes, beginning with everything, before handled() says so. Its error ends
  // everything.
  void Forward(Take take) ABSL_LOCKS_EXCLUDED(forward_mutex_, mutex_);

 private:
  struct Asked {
    Steady::time_point at;
    LogOffset end = 0;
  };

  void Run();
  // Reads what is there and applies it. Not OK: nothing more is applied.
  absl::Status Step();
  absl::Status ApplyRecord(const LoggedBytes& logged) ABSL_LOCKS_EXCLUDED(forward_mutex_, mutex_);
  absl::Status TakeRead(const absl::Status& read);
  void AskForEnds();
  void Handled(Sequence sequence) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  // What was asked for and is applied by now.
  void Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell(std::string_view event, std::string_view detail) const {
    if (options_.events != nullptr) options_.events(event, detail);
  }
  void Pause(std::chrono::milliseconds pause) const ABSL_LOCKS_EXCLUDED(mutex_);
  bool Stopping() const ABSL_LOCKS_EXCLUDED(mutex_);

  const CatalogueApplierOptions options_;
  std::atomic<bool> lost_{false};

  // The reading thread's own.
  std::unique_ptr<LogReader> reader_;
  bool refused_ = false;

  Mutex forward_mutex_;  // held while changes are taken; before the other
  Take forward_ ABSL_GUARDED_BY(forward_mutex_);

  mutable Mutex mutex_;
  mutable CondVar changed_;
  Sequence handled_ ABSL_GUARDED_BY(mutex_);
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
  LogOffset heard_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Asked> asked_ ABSL_GUARDED_BY(mutex_);
  Steady::time_point known_at_ ABSL_GUARDED_BY(mutex_) = Steady::time_point::min();
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread applier_;
  std::thread asker_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_APPLIER_H_
