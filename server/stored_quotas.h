// StoredQuotas: whether what somebody writes fits beside what is stored, where his line in the token file bounds it.
//
// The truth is what shards count themselves, which outlives restarts, deletions and front ends: nothing is kept here
// but the last count of each memory, or partition, and what was let in since. A write is let in by a count that is at
// most kStoredCountMs old, and refused only by one that was made for it, so that what was deleted makes room at once.
//
// So a bound may be passed, by what other front ends let in within that time, and by what was let in and is not applied
// yet when it is counted anew (kMaxQueuedWriteBytes at most). An entry that takes the place of another counts as one
// more until the next count.
#ifndef MNEME_SERVER_STORED_QUOTAS_H_
#define MNEME_SERVER_STORED_QUOTAS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
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
 public:
  using Time = std::chrono::steady_clock::time_point;
  // Counts a memory, or a partition of it; may block.
  using Counter = std::function<absl::StatusOr<StoredAmount>(std::optional<PartitionId> partition)>;

  // Lets `addition` to `memory` in, or RESOURCE_EXHAUSTED (STORED_QUOTA) with what is there. Errors of `count` where no
  // earlier count is known: with one, what was let in since goes on to be added to it. Not under a lock of a caller's.
  absl::Status Admit(const Principal& principal, const Addition& addition, const MemoryRecord& memory,
                     const Counter& count, Time now = std::chrono::steady_clock::now()) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Key = std::pair<MemoryNumber, std::optional<PartitionId>>;
  struct Counted {
    StoredAmount amount;  // and what was let in since
    std::optional<Time> at;
  };

  Mutex mutex_;
  absl::flat_hash_map<Key, Counted> counts_ ABSL_GUARDED_BY(mutex_);
};

// Whether what he writes is held against a bound: then it is admitted where it may block, since shards may be asked.
bool BoundsWrites(const Caller& caller);

// As Admit(). OK for what adds nothing, for who has no bound, and where the memory is not found, which who handles the
// write tells.
absl::Status AdmitAddition(StoredQuotas& quotas, const Caller& caller, const Deployment& deployment,
                           const std::optional<Addition>& addition, const CallLimits& limits);

// RESOURCE_EXHAUSTED (STORED_QUOTA) when as many memories have names that the caller may create as he may have.
absl::Status AdmitMemory(const Caller& caller, const Deployment& deployment, std::string_view name);

}  // namespace mneme

#endif  // MNEME_SERVER_STORED_QUOTAS_H_
