// LabelSumCache: the sums of keys by label of the partitions that were asked for them, so that the next read-out of
// centroids reads only what was written since. What is never asked for costs nothing, a write least of all.
#ifndef MNEME_ENGINE_LABEL_SUM_CACHE_H_
#define MNEME_ENGINE_LABEL_SUM_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <tuple>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/label_sums.h"
#include "engine/version_sums.h"
#include "storage/entry_store.h"

namespace mneme {

// Thread-safe. The lock is held to look up alone: what reads at the same time may make the same sums twice.
class LabelSumCache {
 public:
  // Keeps the sums used last within `budget_bytes`.
  explicit LabelSumCache(uint64_t budget_bytes = limits::kMaxLabelSumBytes) : budget_bytes_(budget_bytes) {}

  // What a shard holds of a partition.
  struct Place {
    uint32_t shard = 0;
    PartitionKey partition;
    friend auto operator<=>(const Place&, const Place&) = default;
  };

  // Adds the sums of the entries of `version` that are alive to `sums`. What the limits say; OUT_OF_RANGE as LabelSums
  // says.
  absl::Status AddSums(const Place& place, const IndexVersion& version, const SumRequest& request, LabelSums& sums);
  // Drops what is known of a memory.
  void Forget(MemoryNumber memory);
  uint64_t ram_bytes() const;

 private:
  // Of one place. Without sums: those of this history took more than there is room for.
  struct Known {
    Place place;
    std::shared_ptr<const RowHistory> history;
    VersionSums::Ptr sums;
    uint64_t bytes = 0;
  };

  // The sums to add, and how many keys were read for them: known, brought up to date or made. Null: read the entries
  // instead.
  absl::StatusOr<VersionSums::Ptr> Find(const Place& place, const IndexVersion& version, const SumRequest& request,
                                        uint64_t& rows_read);
  // A copy of what is known of `place`, used now; empty when nothing is.
  Known Look(const Place& place);
  void Keep(Known known);
  void Drop(std::list<Known>::iterator known) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint64_t budget_bytes_;
  mutable Mutex mutex_;
  std::list<Known> known_ ABSL_GUARDED_BY(mutex_);  // the most recently used first
  std::map<Place, std::list<Known>::iterator> by_place_ ABSL_GUARDED_BY(mutex_);
  uint64_t ram_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LABEL_SUM_CACHE_H_
