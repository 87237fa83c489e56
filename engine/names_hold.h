// NamesHold: has changes of names that come to this process wait, for a while, so that a backup of several processes
// is taken between two of them (cluster/remote_backups.cc).
//
// It decides nothing: whether names changed meanwhile their marks say. A change waits for one hold at most: when that
// ends, all who waited for it are under way, and the next hold waits for them. So who holds again and again starves
// nobody.
#ifndef MNEME_ENGINE_NAMES_HOLD_H_
#define MNEME_ENGINE_NAMES_HOLD_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/commands.h"

namespace mneme {

// Thread-safe. Blocks.
class NamesHold {
 public:
  // `longest`: a hold ends by itself after it.
  explicit NamesHold(std::chrono::milliseconds longest = std::chrono::milliseconds(limits::kNamesHoldMs))
      : longest_(longest) {}

  // Returns once a change may be made, which is under way until End(). DEADLINE_EXCEEDED and CANCELLED, when its time
  // is over while names are held: it is not under way.
  absl::Status Begin(const CallLimits& limits) ABSL_LOCKS_EXCLUDED(mutex_);
  void End() ABSL_LOCKS_EXCLUDED(mutex_);

  // Holds names, until they are let go of by the same `id` or for `longest`, whichever is first, in the place of a hold
  // that there is. Returns once no change is under way; after a quarter of that time anyway, since one may wait for
  // another process.
  void Hold(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);
  void LetGo(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Steady = std::chrono::steady_clock;
  struct Held {
    uint64_t id = 0;
    Steady::time_point until = {};
  };

  // Ends the hold that there is; who waits for it is to be woken.
  void EndHeld() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same, if its time is over; who waits for it looks by himself.
  void EndIfOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::chrono::milliseconds longest_;
  Mutex mutex_;
  CondVar changed_;
  std::optional<Held> held_ ABSL_GUARDED_BY(mutex_);
  uint64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;  // holds
  size_t under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // for the hold that there is
};

}  // namespace mneme

#endif  // MNEME_ENGINE_NAMES_HOLD_H_
