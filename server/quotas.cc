#include "server/quotas.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "server/request_error.h"

namespace mneme {
namespace {

struct Kind {
  const char* name;
  double Quota::*member;
  size_t Charge::*charge;
};
constexpr Kind kKinds[] = {{"requests", &Quota::requests, &Charge::requests},
                           {"entries", &Quota::entries, &Charge::entries},
                           {"bytes", &Quota::bytes, &Charge::bytes}};

// Of a name that a token file no longer has, buckets stay: so many of them are looked for.
constexpr size_t kMaxNames = 2 * limits::kMaxPrincipals;

absl::Status Refusal(const Kind& kind, double quota, double level) {
  const absl::Duration wait = std::max(absl::Milliseconds(1), absl::Seconds(-level / quota));
  return WithRetry(WithReason(absl::ResourceExhaustedError(absl::StrCat("the quota of ", quota, " ", kind.name,
                                                                        " a second is used up")),
                              reason::kRateLimit),
                   std::min(wait, absl::Seconds(60)));
}

}  // namespace

absl::Status Quotas::Take(const Principal& principal, const Charge& charge, Time now) {
  const Quota& quota = principal.quota;
  if (quota == Quota{}) return absl::OkStatus();
  MutexLock lock(&mutex_);
  if (buckets_.size() >= kMaxNames) buckets_.clear();
  Buckets& buckets = buckets_.try_emplace(principal.name, Buckets{quota, quota, now}).first->second;
  if (buckets.of != quota) buckets = {quota, quota, now};
  const double seconds = std::chrono::duration<double>(now - buckets.at).count();
  buckets.at = std::max(buckets.at, now);
  for (const Kind& kind : kKinds) {
    double& level = buckets.level.*kind.member;
    level = std::min(quota.*kind.member, level + std::max(0.0, seconds) * quota.*kind.member);
  }
  for (const Kind& kind : kKinds) {
    const double level = buckets.level.*kind.member;
    if (charge.*kind.charge != 0 && quota.*kind.member != 0 && level <= 0) {
      return Refusal(kind, quota.*kind.member, level);
    }
  }
  for (const Kind& kind : kKinds) {
    if (quota.*kind.member != 0) buckets.level.*kind.member -= static_cast<double>(charge.*kind.charge);
  }
  return absl::OkStatus();
}

}  // namespace mneme
