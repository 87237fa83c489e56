// BenefitCounts: what the memories of a deployment were worth to those who asked this process and told it the targets.
#ifndef MNEME_ENGINE_BENEFIT_COUNTS_H_
#define MNEME_ENGINE_BENEFIT_COUNTS_H_

#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "engine/commands.h"

namespace mneme {

// Thread-safe.
class BenefitCounts {
 public:
  void Count(MemoryNumber memory, uint64_t tokens, double nats) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    Counts& counts = of_memory_[memory];
    counts.tokens += tokens;
    counts.nats += nats;
  }
  void Forget(MemoryNumber memory) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    of_memory_.erase(memory);
  }
  // Adds that of one memory.
  void AddTo(MemoryStatistics& sum, MemoryNumber memory) const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    const auto found = of_memory_.find(memory);
    if (found != of_memory_.end()) found->second.AddTo(sum);
  }
  // Adds that of all.
  void AddTo(MemoryStatistics& sum) const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    for (const auto& [memory, counts] : of_memory_) counts.AddTo(sum);
  }

 private:
  struct Counts {
    uint64_t tokens = 0;
    double nats = 0.0;

    void AddTo(MemoryStatistics& sum) const {
      sum.benefit_tokens += tokens;
      sum.benefit_nats += nats;
    }
  };

  mutable Mutex mutex_;
  std::map<MemoryNumber, Counts> of_memory_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_BENEFIT_COUNTS_H_
