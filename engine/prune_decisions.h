// PruneDecisions: where the prune of one part of a partition waits for who reckons the guard over all parts.
#ifndef MNEME_ENGINE_PRUNE_DECISIONS_H_
#define MNEME_ENGINE_PRUNE_DECISIONS_H_

#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "engine/commands.h"

namespace mneme {

// Thread-safe.
class PruneDecisions {
 public:
  // One prune, by the number that who asked for it gave it; known while this lives.
  class Wait {
   public:
    Wait(PruneDecisions& decisions, uint64_t number) : decisions_(decisions), number_(number) {
      decisions_.Begin(number_);
    }
    ~Wait() { decisions_.End(number_); }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

    // Blocks until it was said that what was chosen may be written. What `limits` say meanwhile.
    absl::Status Await(const CallLimits& limits) { return decisions_.Await(number_, limits); }

   private:
    PruneDecisions& decisions_;
    const uint64_t number_;
  };

  // That prune may write. NOT_FOUND when there is none: it has ended.
  absl::Status GoOn(uint64_t number) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Begin(uint64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(uint64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Await(uint64_t number, const CallLimits& limits) ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;
  CondVar said_;
  std::map<uint64_t, bool> may_write_ ABSL_GUARDED_BY(mutex_);  // by number
};

}  // namespace mneme

#endif  // MNEME_ENGINE_PRUNE_DECISIONS_H_
