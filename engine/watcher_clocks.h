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
#include "common/mutex.h"

namespace mneme {

// Thread-safe.
class WatcherClocks {
 public:
  using Steady = std::chrono::steady_clock;

  // The clock of `watcher` is `ahead_ms` ahead of that of this process; it counts until `until`.
  void Note(const std::string& watcher, int64_t ahead_ms, Steady::time_point until) ABSL_LOCKS_EXCLUDED(mutex_);
  // FAILED_PRECONDITION when more than half of them are too far from the clock of this process, either way
  // (limits::kMaxAheadMs): by what it stamps things would go at the wrong time. UNAVAILABLE when there is none.
  absl::Status Check() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Clock {
    int64_t ahead_ms = 0;
    Steady::time_point until;
  };

  mutable Mutex mutex_;
  std::map<std::string, Clock> clocks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_WATCHER_CLOCKS_H_
