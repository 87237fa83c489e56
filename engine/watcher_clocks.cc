#include "engine/watcher_clocks.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {

void WatcherClocks::Note(const std::string& watcher, int64_t ahead_ms, Steady::time_point until) {
  MutexLock lock(&mutex_);
  std::erase_if(clocks_, [now = Steady::now()](const auto& each) { return each.second.until <= now; });
  clocks_[watcher] = {ahead_ms, until};
}

absl::Status WatcherClocks::Check() const {
  const auto now = Steady::now();
  size_t all = 0;
  size_t far = 0;
  int64_t ahead_ms = 0;
  MutexLock lock(&mutex_);
  for (const auto& [watcher, clock] : clocks_) {
    if (clock.until <= now) continue;
    ++all;
    if (-limits::kMaxAheadMs <= clock.ahead_ms && clock.ahead_ms <= limits::kMaxAheadMs) continue;
    ++far;
    ahead_ms = clock.ahead_ms;
  }
  if (all == 0) return absl::UnavailableError("no other process has told yet what its clock says");
  if (2 * far <= all) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the clocks of ", far, " of ", all, " other processes are far from that of this one, the last ",
                   ahead_ms, " ms ahead of it; must be in [", -limits::kMaxAheadMs, ", ", limits::kMaxAheadMs,
                   "]: set the clocks of their machines"));
}

}  // namespace mneme
