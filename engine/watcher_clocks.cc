#include "engine/watcher_clocks.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {

void WatcherClocks::Note(const std::string& watcher, int64_t ahead_ms, Steady::time_point until) {
  const int64_t own_ms = own_.NowMs() - steady_.NowMs();
  MutexLock lock(&mutex_);
  std::erase_if(told_, [now = Steady::now()](const auto& each) { return each.second.until <= now; });
  told_[watcher] = {own_ms + ahead_ms, until};
}

absl::Status WatcherClocks::Check(int64_t stamp_ms) const {
  const auto now = Steady::now();
  const int64_t own_ms = stamp_ms - steady_.NowMs();
  size_t all = 0;
  size_t far = 0;
  int64_t ahead_ms = 0;
  MutexLock lock(&mutex_);
  for (const auto& [watcher, told] : told_) {
    if (told.until <= now) continue;
    ++all;
    const int64_t apart_ms = told.ahead_ms - own_ms;
    if (-limits::kMaxAheadMs <= apart_ms && apart_ms <= limits::kMaxAheadMs) continue;
    ++far;
    ahead_ms = apart_ms;
  }
  if (all == 0) return absl::UnavailableError("no other process has told yet what its clock says");
  if (2 * far <= all) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the clocks of ", far, " of ", all, " other processes are far from that of this one, the last ",
                   ahead_ms, " ms ahead of it; must be in [", -limits::kMaxAheadMs, ", ", limits::kMaxAheadMs,
                   "]: set the clocks of their machines"));
}

}  // namespace mneme
