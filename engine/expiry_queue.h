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
    NoteLocked(key, expiry_ms);
  }
  // To be looked at again at `until_ms`, which is of the clock and of no entry: or once that is set back.
  void PutOff(const PartitionKey& key, int64_t until_ms) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    NoteLocked(key, until_ms);
    put_off_.insert(key);
  }

  // Partitions of which an entry expires at or before `now_ms`, at most `limit`, longest overdue first. They are
  // forgotten: who takes one looks at all its entries, and notes the least expiry of those that stay.
  std::vector<PartitionKey> Take(int64_t now_ms, size_t limit) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<PartitionKey> taken;
    MutexLock lock(&mutex_);
    if (now_ms < last_ms_) {
      for (const PartitionKey& key : put_off_) NoteLocked(key, now_ms);
    }
    last_ms_ = now_ms;
    while (!due_.empty() && due_.begin()->first <= now_ms && taken.size() < limit) {
      taken.push_back(due_.begin()->second);
      least_.erase(taken.back());
      put_off_.erase(taken.back());
      due_.erase(due_.begin());
    }
    return taken;
  }

 private:
  void NoteLocked(const PartitionKey& key, int64_t at_ms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto [at, added] = least_.try_emplace(key, at_ms);
    if (!added && at->second <= at_ms) return;
    if (!added) due_.erase({at->second, key});
    at->second = at_ms;
    due_.emplace(at_ms, key);
  }

  Mutex mutex_;
  std::map<PartitionKey, int64_t> least_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<int64_t, PartitionKey>> due_ ABSL_GUARDED_BY(mutex_);
  std::set<PartitionKey> put_off_ ABSL_GUARDED_BY(mutex_);
  int64_t last_ms_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<int64_t>::min();  // of the last Take()
};

}  // namespace mneme

#endif  // MNEME_ENGINE_EXPIRY_QUEUE_H_
