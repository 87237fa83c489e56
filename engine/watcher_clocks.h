// WatcherClocks: what the clocks of the other processes of a deployment say of that of one which tells names, with
// which those that watch it compare theirs. Nobody else would notice that it is wrong.
#ifndef MNEME_ENGINE_WATCHER_CLOCKS_H_
#define MNEME_ENGINE_WATCHER_CLOCKS_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe.
class WatcherClocks {
 public:
  using Steady = std::chrono::steady_clock;

  // `own`: the clock of this process; borrowed; null: the machine's.
  explicit WatcherClocks(const Clock* own = nullptr) : own_(own != nullptr ? *own : system_clock_) {}

  // The clock of `watcher` is `ahead_ms` ahead of that of this process, as it goes now; it counts until `until`. When
  // that is set meanwhile, this is known at once.
  void Note(const std::string& watcher, int64_t ahead_ms, Steady::time_point until) ABSL_LOCKS_EXCLUDED(mutex_);
  // As StampCheck (stamp_check.h), of a stamp of just now: when more than half of them are too far from it, either way.
  // UNAVAILABLE when there is none.
  absl::Status Check(int64_t stamp_ms) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Told {
    int64_t ahead_ms = 0;  // of a steady clock
    Steady::time_point until;
  };
  SystemClock system_clock_;
  SteadyClock steady_;
  const Clock& own_;
  mutable Mutex mutex_;
  std::map<std::string, Told> told_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_WATCHER_CLOCKS_H_
