#include "server/lease_shares.h"

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "server/request_error.h"

namespace mneme {

absl::Status LeaseShares::Take(const Principal* principal, const std::string& lease, int64_t lease_ms, Time now) {
  if (principal == nullptr) return absl::OkStatus();
  MutexLock lock(&mutex_);
  Ends& held = held_[principal->name];
  absl::erase_if(held, [now](const auto& each) { return each.second <= now; });
  if (held.size() >= limits::kMaxLeasesOfOne && !held.contains(lease)) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat("\"", principal->name, "\" holds ", held.size(),
                                                                " leases; the bound is ", limits::kMaxLeasesOfOne,
                                                                ": release one")),
                      reason::kMemoryLimit);
  }
  held[lease] = now + std::chrono::milliseconds(lease_ms);
  return absl::OkStatus();
}

void LeaseShares::GiveBack(const Principal* principal, const std::string& lease) {
  if (principal == nullptr) return;
  MutexLock lock(&mutex_);
  const auto held = held_.find(principal->name);
  if (held == held_.end()) return;
  held->second.erase(lease);
  if (held->second.empty()) held_.erase(held);
}

}  // namespace mneme
