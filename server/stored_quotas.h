// StoredQuotas: whether what somebody writes fits beside what is stored, where his line in the token file bounds it.
//
// The truth is what shards count themselves, which outlives restarts, deletions and front ends: nothing is kept here
// but the last count of each memory, or partition, what was let in since, and what of it is under way. A write is let
// in by a count that is at most kStoredCountMs old, and refused only by one that was made for it, so that what was
// deleted makes room at once. Where writes are under way that a count may have or not, who would not fit beside them
// waits, for kStoredWaitMs at most.
//
// So writes of one front end do not pass a bound; those that other front ends let in within that time may. An entry
// that takes the place of another counts as one more until the next count.
#ifndef MNEME_SERVER_STORED_QUOTAS_H_
#define MNEME_SERVER_STORED_QUOTAS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "security/grant.h"
#include "server/access_targets.h"

namespace mneme {

class Caller;
class Deployment;

// Thread-safe.
class StoredQuotas {
 private:
  using Key = std::pair<MemoryNumber, std::optional<PartitionId>>;

 public:
  using Time = std::chrono::steady_clock::time_point;
  // Counts a memory, or a partition of it; may block.
  using Counter = std::function<absl::StatusOr<StoredAmount>(std::optional<PartitionId> partition)>;

  // A write that was let in, until it has ended: the next count has it then. Outlived by the quotas.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(StoredQuotas* quotas, Key key, StoredAmount amount)
        : quotas_(quotas), key_(std::move(key)), amount_(amount) {}
    Ticket(Ticket&& other) noexcept { *this = std::move(other); }
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket() { Release(); }
    void Release();

   private:
    StoredQuotas* quotas_ = nullptr;
    Key key_;
    StoredAmount amount_;
  };

  // Lets `addition` to `memory` in, or RESOURCE_EXHAUSTED (STORED_QUOTA) with what is there. Blocks while it counts, or
  // waits for writes that are under way: errors of `limits`, and RESOURCE_EXHAUSTED (RATE_LIMIT) where they last.
  // Errors of `count` where no earlier count is known, or `addition` may not fit beside it: what fits beside the last
  // count, to which what was let in since is added, is let in though shards are away. Not under a lock of a caller's.
  absl::StatusOr<Ticket> Admit(const Principal& principal, const Addition& addition, const MemoryRecord& memory,
                               const CallLimits& limits, const Counter& count,
                               Time now = std::chrono::steady_clock::now()) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Counted {
    StoredAmount settled;    // as counted, and what ended since
    StoredAmount under_way;  // of tickets
    StoredAmount ended;      // of all that were given, ever
    std::optional<Time> at;  // of the count; nothing: there was none
    uint32_t counting = 0;   // counts that go on
  };

  Ticket Give(const Key& key, const StoredAmount& amount, Counted& counted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const Key& key, const StoredAmount& amount) ABSL_LOCKS_EXCLUDED(mutex_);
  // Forgets what nothing is under way of, and nobody counts, where there is too much.
  void Tidy() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  absl::flat_hash_map<Key, Counted> counts_ ABSL_GUARDED_BY(mutex_);
};

// Whether what he writes is held against a bound: then it is admitted where it may block, since shards may be asked.
bool BoundsWrites(const Caller& caller);

// As Admit(). An empty ticket for what adds nothing, for who has no bound, and where the memory is not found, which who
// handles the write tells.
absl::StatusOr<StoredQuotas::Ticket> AdmitAddition(StoredQuotas& quotas, const Caller& caller,
                                                   const Deployment& deployment,
                                                   const std::optional<Addition>& addition, const CallLimits& limits);

}  // namespace mneme

#endif  // MNEME_SERVER_STORED_QUOTAS_H_
