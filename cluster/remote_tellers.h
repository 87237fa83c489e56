// RemoteTellers: the other replicas of shard 0, as one of them that tells names asks them (engine/catalogue_teller.h).
#ifndef MNEME_CLUSTER_REMOTE_TELLERS_H_
#define MNEME_CLUSTER_REMOTE_TELLERS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/catalogue.h"
#include "engine/catalogue_teller.h"
#include "engine/commands.h"
#include "engine/watcher_clocks.h"

namespace mneme {

class ChannelSecurity;

struct RemoteTellersOptions {
  std::string address = {};  // of this one, as the others reach it
  uint32_t shards = 0;
  uint64_t deployment = 0;
  std::chrono::milliseconds lease = kNamesLease;      // as CatalogueTellerOptions
  std::chrono::milliseconds promise = kNamesPromise;  // as CatalogueTellerOptions
  std::chrono::milliseconds poll{400};                // a promise is asked for so often
  std::shared_ptr<WatcherClocks> clocks = {};            // told what theirs say; may be null
  std::shared_ptr<const ChannelSecurity> security = {};  // of the connections to them; may be null
  // May be empty. "teller_lost" when one has not promised for a lease, so that each change waits as long at least;
  // "teller_found" when it does again.
  EventSink events = {};
};

// Asks each of them for its promise, time and again. Thread-safe.
class RemoteTellers final : public OtherTellers {
 public:
  explicit RemoteTellers(RemoteTellersOptions options) : options_(std::move(options)) {}
  // Calls that are under way are cancelled.
  ~RemoteTellers() override;

  void SetReplicas(const std::vector<std::string>& replicas) override ABSL_LOCKS_EXCLUDED(mutex_);
  Steady::time_point Confirm(LogOffset offset, const Until& until, const CallLimits& limits) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  void SetHandled(Sequence handled) override { handled_.store(handled, std::memory_order_release); }
  Steady::time_point PromisedAt(Sequence handled) const override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Other;
  using OtherHandle = std::shared_ptr<Other>;

  // One thread for each of them, for as long as it is one.
  void AskForPromises(Other& other) ABSL_LOCKS_EXCLUDED(mutex_);
  void AskForPromise(Other& other) ABSL_LOCKS_EXCLUDED(mutex_);

  const RemoteTellersOptions options_;
  std::atomic<Sequence> handled_{0};

  mutable Mutex mutex_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Those that there are, and that were until a while ago: what of them changes is guarded by mutex_, too.
  std::vector<OtherHandle> others_ ABSL_GUARDED_BY(mutex_);
};

// What another replica of shard 0 has of the catalogue, and of which deployment.
struct OfferedCatalogue {
  uint64_t deployment = 0;
  CatalogueSnapshot snapshot;
};

// Asks the replicas of shard 0 at `addresses` but the own one, one after the other; `options.deployment` may be 0: any.
// The one that has applied most of those that answer. UNAVAILABLE when none does.
absl::StatusOr<OfferedCatalogue> AskForCatalogue(const RemoteTellersOptions& options,
                                                 const std::vector<std::string>& addresses);

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_TELLERS_H_
