// CatalogueTeller: a replica of shard 0 as one of those that tell names: its catalogue, what applies the log to that,
// and what it tells watchers (docs/architecture.md, "Names over replicas").
//
// Any of them takes changes. One is acknowledged once nobody anywhere may be told the old any more.
#ifndef MNEME_ENGINE_CATALOGUE_TELLER_H_
#define MNEME_ENGINE_CATALOGUE_TELLER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/catalogue.h"
#include "engine/catalogue_applier.h"
#include "engine/catalogue_feed.h"
#include "engine/commands.h"
#include "engine/log_record.h"
#include "engine/shard_log.h"
#include "engine/watcher_clocks.h"

namespace mneme {

// The other tellers, as one of them asks them. Thread-safe. Implementations: RemoteTellers (cluster/, the product), and
// those of tests.
class OtherTellers {
 public:
  using Steady = std::chrono::steady_clock;
  // Of the one at an address; asked once for each.
  using Until = std::function<Steady::time_point(const std::string& address)>;

  virtual ~OtherTellers() = default;
  // Who they are from now on: the addresses of all, by number, this one among them. One that is not there any more may
  // not know it: it is asked to confirm for as long as a promise lasts yet, but promises nothing.
  virtual void SetReplicas(const std::vector<std::string>& replicas) = 0;
  // Asks all of them at once for CatalogueTeller::Confirm(). Blocks until each has said whether it does, or its `until`
  // has come, or what `limits` say. The latest `until` of those that have not confirmed, which is not waited for: what
  // they lent may last until then; the least time when all have.
  virtual Steady::time_point Confirm(LogOffset offset, const Until& until, const CallLimits& limits) = 0;
  // What is applied here: who asks for a promise says so.
  virtual void SetHandled(Sequence handled) = 0;
  // The earliest of the moments at which each was last asked for a promise that it gave (CatalogueTeller::Promise()).
  // The least time while one of them did not, or stands beyond `handled`; now where there are none.
  virtual Steady::time_point PromisedAt(Sequence handled) const = 0;
};

// How long a promise between two tellers lasts: so long the one may tell names by it without the log and without the
// other, which is longer than brokers take to agree on another leader where their sessions are short
// (docs/operations.md, "Replicas"); and so long after one of them died a change may have to wait for what it was
// promised, and after one was started for what the one before it promised.
inline constexpr std::chrono::milliseconds kNamesPromise{8'000};

struct CatalogueTellerOptions {
  std::unique_ptr<Catalogue> catalogue = {};    // of OpenLogged()
  std::shared_ptr<ShardLog> log = {};           // of the catalogue
  std::unique_ptr<OtherTellers> others = {};
  uint64_t deployment = 0;
  std::string address = {};                     // where the others reach it
  std::chrono::milliseconds lease = kNamesLease;      // the same for all
  std::chrono::milliseconds promise = kNamesPromise;  // the same for all; a lease at least
  std::chrono::milliseconds poll{400};          // as CatalogueFeedOptions, and as CatalogueApplierOptions
  const Clock* clock = nullptr;                 // borrowed; null: the machine's
  std::shared_ptr<WatcherClocks> clocks = {};   // as CatalogueFeedOptions
  // As CatalogueApplierOptions; "replica_not_listed" and "replica_listed" where a record of the log makes it so.
  EventSink events = {};
};

// Thread-safe.
class CatalogueTeller {
 public:
  using Steady = std::chrono::steady_clock;

  // Begins to apply the log at once.
  explicit CatalogueTeller(CatalogueTellerOptions options);
  // Answers whoever waits.
  ~CatalogueTeller();

  uint64_t deployment() const { return options_.deployment; }
  const Catalogue& catalogue() const { return *options_.catalogue; }
  const CatalogueNames& names() const { return options_.catalogue->names(); }
  CatalogueApplier& applier() { return applier_; }
  const CatalogueApplier& applier() const { return applier_; }
  CatalogueFeed& feed() { return feed_; }

  // Has the log say that these are the replicas of shard 0, unless it does, or an operator has said who they are. One
  // that is none of them, as far as is applied here, lends nothing and acknowledges nothing.
  absl::Status Enlist(const std::vector<std::string>& replicas, const CallLimits& limits);
  // Whether this is one of them, as far as is applied here.
  bool listed() const { return listed_.load(std::memory_order_acquire); }

  // Appends a change and waits until it is applied here, and until nobody is told what was before it. Its outcome: the
  // memory that was made, or that an alias pointed to before, or null; refusals as those of Catalogue. UNAVAILABLE and
  // DEADLINE_EXCEEDED: it may have been made, or may be yet; the same record may be handed to any teller, and is done
  // once. INVALID_ARGUMENT for a record that is no change.
  absl::StatusOr<MemoryHandle> Change(LogRecord record, const CallLimits& limits);

  // --- For another teller ---
  // Returns once the record at `offset` is applied here, and everybody who was told names here knows.
  absl::Status Confirm(LogOffset offset, const CallLimits& limits);
  // The sequence up to which the catalogue is applied here: who has applied less lacks what was acknowledged here. And
  // a promise to the teller at `address`, which has applied its own up to `handled`: for kNamesPromise from now on
  // nothing is acknowledged here that is beyond it and that the other, if it is listed, has not confirmed. UNAVAILABLE,
  // and no promise, when the other lacks something that is applied here: it could not tell names by it, and a change
  // would wait for it all the same. And while a list of replicas of shard 0 was handed to the log here, and is not
  // known to be in it or not: who is listed by it acknowledges changes without asking whom the list before it names.
  absl::StatusOr<Sequence> Promise(const std::string& address, Sequence handled)
      ABSL_LOCKS_EXCLUDED(lists_mutex_, promised_mutex_);
  CatalogueSnapshot Snapshot() const { return options_.catalogue->Snapshot(); }

  // As of when the names here have everything that was ever acknowledged, and until when they may be told: by the log
  // or by promises; by the log alone while Promise() gives none for a list that was handed to it.
  NamesKnown known() const ABSL_LOCKS_EXCLUDED(lists_mutex_);

 private:
  struct HandedList;

  CatalogueFeedOptions FeedOptions();
  CatalogueApplierOptions ApplierOptions();
  // Who they are from now on; whether this is one of them.
  void SetReplicas(const std::vector<std::string>& replicas) ABSL_LOCKS_EXCLUDED(promised_mutex_);
  // Of what only one that is listed does.
  absl::Status NotListed() const;
  // Where it was appended. UNAVAILABLE for a list of replicas of shard 0 while the log cannot be reached.
  absl::StatusOr<LogOffset> Append(LogRecord record, const CallLimits& limits) ABSL_LOCKS_EXCLUDED(lists_mutex_);
  // Until when one that has not confirmed a change, which is applied here since `applied`, may tell what was before it.
  Steady::time_point MayTellUntil(const std::string& address, Steady::time_point applied) const
      ABSL_LOCKS_EXCLUDED(promised_mutex_);
  // Whether a list of replicas of shard 0 that was handed to the log here may be in it and not applied here.
  bool AwaitsList() const ABSL_LOCKS_EXCLUDED(lists_mutex_);

  SystemClock system_clock_;
  const CatalogueTellerOptions options_;
  const Steady::time_point started_ = Steady::now();
  // Nothing is acknowledged before: the process before this one may have made promises to tellers that are listed no
  // more. With an empty catalogue the log lists those anew, and Confirm() asks them.
  const Steady::time_point quiet_until_;
  // Whether this is one of those that tell names, as far as is applied here. Not before the others are known.
  std::atomic<bool> listed_{false};
  mutable Mutex promised_mutex_;
  // The latest promise to each, if it may last.
  std::map<std::string, Steady::time_point> promised_ ABSL_GUARDED_BY(promised_mutex_);
  // Before it others may tell names by promises that they had from tellers alone which were listed then: none of this.
  Steady::time_point listed_since_ ABSL_GUARDED_BY(promised_mutex_) = started_;
  mutable Mutex lists_mutex_;  // before those of the applier
  // Those of which it was not seen yet what became of them.
  mutable std::vector<std::shared_ptr<HandedList>> handed_lists_ ABSL_GUARDED_BY(lists_mutex_);
  CatalogueApplier applier_;
  CatalogueFeed feed_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_TELLER_H_
