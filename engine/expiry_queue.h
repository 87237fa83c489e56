// ExpiryQueue: which partitions of a shard hold entries that expire, by the time at which to look.
#ifndef MNEME_ENGINE_EXPIRY_QUEUE_H_
#define MNEME_ENGINE_EXPIRY_QUEUE_H_

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "storage/entry_store.h"

namespace mneme {

// "No entry expires."
inline constexpr int64_t kNeverExpires = std::numeric_limits<int64_t>::max();

// How long what expired may wait to be removed, so that a steady stream of expiries costs one look in that time and not
// one each.
inline constexpr int64_t kExpirySlackMs = 10'000;

// A partition without expiries costs nothing here, one with them a few words, however many entries it has. Thread-safe.
class ExpiryQueue {
 public:
  // An entry of `key` expires at `expiry_ms`; the least that was noted stays. Called after that entry is visible.
  void Note(const PartitionKey& key, int64_t expiry_ms) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (expiry_ms == kNeverExpires) return;
    MutexLock lock(&mutex_);
    const auto [at, added] = least_.try_emplace(key, expiry_ms);
    if (!added && at->second <= expiry_ms) return;
    if (!added) due_.erase({at->second, key});
    at->second = expiry_ms;
    due_.emplace(expiry_ms, key);
  }

  // Partitions of which an entry expires at or before `now_ms`, at most `limit`, longest overdue first. They are
  // forgotten: who takes one looks at all its entries, and notes the least expiry of those that stay.
  std::vector<PartitionKey> Take(int64_t now_ms, size_t limit) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<PartitionKey> taken;
    MutexLock lock(&mutex_);
    while (!due_.empty() && due_.begin()->first <= now_ms && taken.size() < limit) {
      taken.push_back(due_.begin()->second);
      least_.erase(taken.back());
      due_.erase(due_.begin());
    }
    return taken;
  }

 private:
  Mutex mutex_;
  std::map<PartitionKey, int64_t> least_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<int64_t, PartitionKey>> due_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_EXPIRY_QUEUE_H_
