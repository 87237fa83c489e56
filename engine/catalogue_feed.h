// CatalogueFeed: tells the other processes of a deployment what changed in the catalogue, and when all of them know.
//
// Each watcher asks again and again; what it says it knows it has taken. An answer is a lease: for `lease` from the
// moment at which it asked, a watcher may answer from what it knows, so a change is acknowledged to its caller only
// when every watcher has taken it, or the lease is over that it had when the change was made: a later one comes with
// the change. So names are as they are in one process: from the acknowledgement of a drop or of a swing on, nobody
// anywhere is told the old, and no watcher, whatever it does, has a change wait for longer than a lease.
// The owner of the feed does not know the leases that an owner before it gave: after a start it acknowledges nothing
// for as long as the longest may last.
//
// Where several processes tell the same names (engine/catalogue_teller.h), each has a feed. A lease ends when the names
// are not known to be all there are any more, if that is before it would end by itself.
#ifndef MNEME_ENGINE_CATALOGUE_FEED_H_
#define MNEME_ENGINE_CATALOGUE_FEED_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "engine/catalogue_names.h"
#include "engine/watcher_clocks.h"

namespace mneme {

// How long a watcher may go by what it was told: so long a change waits for one that died.
inline constexpr std::chrono::milliseconds kNamesLease{2'000};

// How much the names that are told are known to be all there are.
struct NamesKnown {
  std::chrono::steady_clock::time_point at;     // they had everything that was ever acknowledged then
  std::chrono::steady_clock::time_point until;  // nothing that they lack is acknowledged before
};

struct CatalogueFeedOptions {
  std::chrono::milliseconds lease = kNamesLease;
  std::chrono::milliseconds poll{400};  // an answer comes at the latest after it; well below the lease
  // Nobody can hold a lease of an owner before this one: the catalogue is new.
  bool fresh = false;
  std::shared_ptr<WatcherClocks> clocks = {};  // told what watchers say of theirs; may be null
  // Of several that tell: the epoch of all of them, in which revisions mean the same. 0: one of this feed alone.
  uint64_t epoch = 0;
  // Called with no lock held. Empty: the names are always all there are.
  std::function<NamesKnown()> known = {};
};

// Thread-safe. Borrows the names.
class CatalogueFeed {
 public:
  using Steady = std::chrono::steady_clock;

  // What a watcher knows: revision `revision` of the owner that gave `epoch`.
  struct Known {
    uint64_t epoch = 0;
    uint64_t revision = 0;
    bool at_once = false;  // the lease that it has from elsewhere is about to end
  };
  struct Answer {
    uint64_t epoch = 0;
    CatalogueChanges changes;  // with the revision that is known then; nothing where the lease is none
    std::chrono::milliseconds lease{0};   // from when it was asked for
    std::chrono::milliseconds behind{0};  // so long before that the names were known to be all there are
    bool cut_off = false;                 // that is more than half of a lease before
  };

  CatalogueFeed(const CatalogueNames* names, CatalogueFeedOptions options);
  // Answers whoever waits.
  ~CatalogueFeed();

  std::chrono::milliseconds lease() const { return options_.lease; }

  // `done` is called once: at once when there is more than `known`, else at the next change or after `poll`. A watcher
  // that asks again before it was answered is answered twice.
  void Watch(const std::string& watcher, const Known& known, std::function<void(Answer)> done)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The clock of a watcher that asks is so far ahead of that of this process.
  void NoteClock(const std::string& watcher, int64_t ahead_ms) const;
  // The watcher answers nothing from what it knows any more.
  void Leave(const std::string& watcher) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells everybody what the names are now, and returns when they know. DEADLINE_EXCEEDED and CANCELLED, when a change
  // stands though some may not know of it.
  absl::Status Publish(const CallLimits& limits) ABSL_LOCKS_EXCLUDED(mutex_);
  // The same of what is of `revision`, which the names have had since `since` at least: what changed after it is
  // others' to wait for.
  absl::Status Publish(uint64_t revision, Steady::time_point since, const CallLimits& limits)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Watchers whose lease has not run out.
  size_t watchers() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Watcher {
    uint64_t taken = 0;
    Steady::time_point until;
  };
  struct Waiting {
    std::string watcher;
    Known known;
    Steady::time_point asked;
    Steady::time_point due;
    std::function<void(Answer)> done;
  };

  void Run();
  // Answers those of `asked`, whose leases begin anew; with no lock held.
  void Tell(std::vector<Waiting> asked) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether there is more to tell than is known; of one that knows more than this process does there is nothing yet.
  bool HasMore(const Known& known) const;
  // When the last of those who have not taken `revision` must have; before now: all have.
  Steady::time_point AllKnow(uint64_t revision) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CatalogueNames* const names_;
  const CatalogueFeedOptions options_;
  const uint64_t epoch_;
  const Steady::time_point quiet_until_;  // leases of an owner before may last until then

  mutable Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Watcher> watchers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_FEED_H_
