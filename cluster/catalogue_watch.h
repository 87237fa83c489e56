// CatalogueWatch: what a process that does not have the catalogue knows of it, and until when it may answer from that
// (engine/catalogue_feed.h). Where several tell names it watches one of them, and goes to the next when that does not
// answer, or is cut off itself, well before its lease is over.
#ifndef MNEME_CLUSTER_CATALOGUE_WATCH_H_
#define MNEME_CLUSTER_CATALOGUE_WATCH_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/catalogue_names.h"
#include "engine/commands.h"
#include "engine/stamp_check.h"

namespace mneme {

class ChannelSecurity;

namespace internal::v1 {
class WatchAnswer;
}  // namespace internal::v1

struct CatalogueWatchOptions {
  // Of the replicas of shard 0, at least one: each tells names. Those whom an operator has set take their place, and
  // while none of those answers these are asked as well.
  std::vector<std::string> addresses;
  uint32_t shards = 0;
  // May be empty. "catalogue_awaited" until one of them answers first; "catalogue_lost" when none does any more,
  // "names_lost" when what is known may not be told any more; "catalogue_found" after either. "clock_wrong" when
  // CheckClock() begins to fail, "clock_right" when it does no more.
  EventSink events;
  std::shared_ptr<const ChannelSecurity> security = {};  // of the connection; may be null
};

// Thread-safe.
class CatalogueWatch {
 public:
  // Waits until one of them has answered, however long that takes: CANCELLED when `give_up` says so;
  // FAILED_PRECONDITION when one speaks another protocol or counts other shards.
  static absl::StatusOr<std::unique_ptr<CatalogueWatch>> Start(CatalogueWatchOptions options,
                                                               const std::function<bool()>& give_up);
  ~CatalogueWatch();

  // Of the deployment.
  uint64_t identity() const { return identity_; }
  const CatalogueNames& names() const { return names_; }
  // Whether names() has all that anybody could have been told of at `time`: they are all there were later than that.
  bool KnowsAllOf(std::chrono::steady_clock::time_point time) const {
    return asked_.load(std::memory_order_acquire) > time.time_since_epoch().count();
  }
  // OK while what is known is what may be told; UNAVAILABLE (SHARD_UNAVAILABLE), with what was last asked in vain for,
  // when nobody has answered for so long that it may have changed.
  absl::Status Check() const ABSL_LOCKS_EXCLUDED(failure_mutex_);
  // By the clock of who is watched, as it was in the last answer and has gone since. May be called when the watch has
  // gone.
  StampCheck stamp_check() const;
  // What that says of the clock of this process.
  absl::Status CheckClock() const { return stamp_check()(SystemClock().NowMs()); }
  // How far the clock of this process is ahead of that one's, in ms.
  int64_t clock_ahead_ms() const;
  // From now on `take` is called with what changes, beginning with everything; before it is acknowledged.
  void Forward(std::function<absl::Status(const CatalogueChanges&)> take) ABSL_LOCKS_EXCLUDED(forward_mutex_);

 private:
  using Steady = std::chrono::steady_clock;
  struct Wire;
  struct OwnerClock;

  explicit CatalogueWatch(CatalogueWatchOptions options);
  // Has all who may wait for this process wait no more; where one is not there, the lease ends by itself.
  void Leave();
  // Asks once, and when that fails has the next asked the next time. Errors of the call; DATA_LOSS when the answer is
  // damaged; UNAVAILABLE when who answers stands before what is known.
  absl::Status Ask();
  absl::Status AskAt(size_t at);
  absl::Status Take(const internal::v1::WatchAnswer& answer, Steady::time_point asked, const std::string& address)
      ABSL_LOCKS_EXCLUDED(forward_mutex_);
  // From now on these are asked.
  void TakeTellers(const std::vector<std::string>& addresses) ABSL_LOCKS_EXCLUDED(failure_mutex_);
  // Nobody of a list answers: those of options may name who tells names by now.
  void TakeOptionsToo() ABSL_LOCKS_EXCLUDED(failure_mutex_);
  // The one at `address` answers again: where it is of the list, that is gone by.
  void TakeListed(const std::string& address) ABSL_LOCKS_EXCLUDED(failure_mutex_);
  // How long one is waited for: with others to ask they must be asked within what is left of a lease.
  std::chrono::milliseconds AnswerWithin() const;
  void Run();
  void Tell(std::string_view event, std::string_view detail) const {
    if (options_.events != nullptr) options_.events(event, detail);
  }
  // Says when the clock of this process begins to be wrong, or is no more so.
  void LookAtClock();
  void Note(const absl::Status& asked) ABSL_LOCKS_EXCLUDED(failure_mutex_);

  const CatalogueWatchOptions options_;
  const std::string watcher_;  // random
  const std::unique_ptr<Wire> wire_;
  CatalogueNames names_;
  uint64_t identity_ = 0;  // constant once started
  // The asking thread's own.
  uint64_t epoch_ = 0;
  uint64_t revision_ = 0;
  bool clock_wrong_ = false;
  size_t at_;             // who is watched
  bool at_once_ = false;  // it was not before
  bool cut_off_ = false;  // as it said

  std::atomic<Steady::rep> asked_{0};  // as of when what is known is all there is
  std::atomic<Steady::rep> fresh_until_{0};
  const std::shared_ptr<OwnerClock> owner_;  // outlives this with stamp_check()
  std::atomic<bool> stopping_{false};

  mutable Mutex failure_mutex_;
  std::string failure_ ABSL_GUARDED_BY(failure_mutex_);  // what was last asked in vain for; empty: it was answered
  std::string watched_ ABSL_GUARDED_BY(failure_mutex_);  // the addresses of who may be asked

  Mutex forward_mutex_;  // held while changes are taken
  std::function<absl::Status(const CatalogueChanges&)> forward_ ABSL_GUARDED_BY(forward_mutex_);

  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_CATALOGUE_WATCH_H_
