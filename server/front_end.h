// FrontEnd: what every call of a server shares: the deployment once it is open, worker pools, metrics and the log.
#ifndef MNEME_SERVER_FRONT_END_H_
#define MNEME_SERVER_FRONT_END_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/limits.h"
#include "engine/deployment.h"
#include "engine/names_hold.h"
#include "server/access_control.h"
#include "server/call_pool.h"
#include "server/drain_listener.h"
#include "server/held_answers.h"
#include "server/lease_shares.h"
#include "server/line_budget.h"
#include "server/log.h"
#include "server/memory_quotas.h"
#include "server/metrics.h"
#include "server/quotas.h"
#include "server/stored_quotas.h"
#include "server/vocabulary_cache.h"

namespace mneme {

class CatalogueFeed;
class CatalogueTeller;

// UNAVAILABLE with the reason DRAINING: the same call may succeed at another server.
absl::Status DrainingError();

// Answers UNAVAILABLE (STARTING) until the deployment is there, so that a server can listen while it recovers.
// Outlived by the log and the metrics, outlives every call. Thread-safe.
class FrontEnd {
 public:
  // `call_workers`: threads for calls that block; `held_answer_bytes`: see HeldAnswers. `access` outlives every call.
  FrontEnd(Log* log, Metrics* metrics, const AccessControl* access, size_t call_workers,
           size_t held_answer_bytes = limits::kMaxHeldAnswerBytes);

  // For a call that begins: UNAVAILABLE (STARTING) before Serve(), UNAVAILABLE (DRAINING) after StartDraining().
  absl::StatusOr<Deployment*> deployment() const;
  // Calls go to `deployment` from now on; it must outlive them.
  void Serve(Deployment* deployment) { deployment_.store(deployment, std::memory_order_release); }
  // Where this process tells names; it must outlive the calls. Null otherwise.
  void Serve(CatalogueFeed* feed) { feed_.store(feed, std::memory_order_release); }
  CatalogueFeed* catalogue_feed() const { return feed_.load(std::memory_order_acquire); }
  // The same, where their changes come from a log.
  void Serve(CatalogueTeller* teller);
  CatalogueTeller* catalogue_teller() const { return teller_.load(std::memory_order_acquire); }
  // Of the changes of names that come to this process.
  NamesHold& names_hold() { return names_hold_; }
  // While a replica applies what its log has it tells names, if it is of shard 0, and nothing of its shard.
  void SetReplaying(bool replaying) { replaying_.store(replaying, std::memory_order_release); }
  // UNAVAILABLE (STARTING) while it does.
  absl::Status CheckReplayed() const;
  // New calls are refused; streams end with UNAVAILABLE (DRAINING) once what they accepted is done.
  void StartDraining();
  bool draining() const { return draining_.load(std::memory_order_acquire); }
  // Streams register when they begin; a stream that is gone is forgotten.
  void AddStream(std::weak_ptr<DrainListener> stream);

  size_t queued_calls() const;
  // What waits in a pool of a service's own is told with the rest. Before the deployment is served.
  void AlsoCount(const CallPool* pool) { counted_pools_.push_back(pool); }
  CallPool& calls() { return calls_; }
  CallPool& long_calls() { return long_calls_; }
  // For writes of who has a bound on what is stored: who of them waits for what is under way (stored_quotas.h) holds up
  // nobody else.
  CallPool& bounded_writes() { return bounded_writes_; }
  Metrics& metrics() { return *metrics_; }
  Log& log() { return *log_; }
  const AccessControl& access() const { return *access_; }
  Quotas& quotas() { return quotas_; }
  StoredQuotas& stored_quotas() { return stored_quotas_; }
  MemoryQuotas& memory_quotas() { return memory_quotas_; }
  LeaseShares& lease_shares() { return lease_shares_; }
  HeldAnswers& held_answers() { return held_answers_; }
  const HeldAnswers& held_answers() const { return held_answers_; }
  VocabularyCache& vocabularies() { return vocabularies_; }

  // True for one successful call in a thousand.
  bool SampleAccess() { return accesses_.fetch_add(1, std::memory_order_relaxed) % 1000 == 0; }
  // Of calls that failed; of those that would be audited but were not let in; and of the same by who is not known.
  LineBudget& error_lines() { return error_lines_; }
  LineBudget& refusal_lines() { return refusal_lines_; }
  LineBudget& stranger_lines() { return stranger_lines_; }

 private:
  void OnAnswerNotTaken(const std::string& holder, size_t bytes);

  Log* const log_;
  Metrics* const metrics_;
  const AccessControl* const access_;
  Quotas quotas_;
  StoredQuotas stored_quotas_;
  MemoryQuotas memory_quotas_;
  LeaseShares lease_shares_;
  HeldAnswers held_answers_;
  std::atomic<Deployment*> deployment_{nullptr};
  std::atomic<CatalogueFeed*> feed_{nullptr};
  std::atomic<CatalogueTeller*> teller_{nullptr};
  NamesHold names_hold_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> replaying_{false};
  std::atomic<uint64_t> accesses_{0};
  LineBudget error_lines_;
  LineBudget refusal_lines_;
  LineBudget stranger_lines_;
  absl::Mutex streams_mutex_;
  std::vector<std::weak_ptr<DrainListener>> streams_ ABSL_GUARDED_BY(streams_mutex_);
  size_t prune_at_ ABSL_GUARDED_BY(streams_mutex_) = 64;
  VocabularyCache vocabularies_;
  CallPool calls_;
  CallPool long_calls_;
  CallPool bounded_writes_;
  std::vector<const CallPool*> counted_pools_{&calls_, &long_calls_, &bounded_writes_};
};

}  // namespace mneme

#endif  // MNEME_SERVER_FRONT_END_H_
