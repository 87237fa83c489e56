#include "server/quotas.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "server/request_error.h"

namespace mneme {
namespace {

struct Kind {
  const char* word;  // of the token file
  const char* name;
  double Quota::*member;
  size_t Charge::*charge;
};
// The last is taken when answers go, and what asks for them waits until it is paid for.
constexpr Kind kKinds[] = {{"requests/s", "requests", &Quota::requests, &Charge::requests},
                           {"entries/s", "entries", &Quota::entries, &Charge::entries},
                           {"bytes/s", "bytes of requests", &Quota::bytes, &Charge::bytes},
                           {"answered-bytes/s", "bytes of answers", &Quota::answered, &Charge::requests}};

// Of a name that a token file no longer has, buckets stay: so many of them are looked for.
constexpr size_t kMaxNames = 2 * limits::kMaxPrincipals;

absl::Duration WaitFor(double level, double quota) {
  return std::clamp(absl::Seconds(-level / quota), absl::Milliseconds(1), absl::Seconds(60));
}

absl::Status Refusal(const Principal& principal, const Kind& kind, double quota, double level) {
  const auto bound = static_cast<uint64_t>(quota);
  const auto used = static_cast<uint64_t>(std::ceil(quota - level));
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("\"", principal.name, "\" has used up its quota of ", bound, " ", kind.name, " a second"));
  return WithRetry(WithQuota(status, reason::kRateLimit, {principal.name, kind.word, bound, used}),
                   WaitFor(level, quota));
}

}  // namespace

Quotas::Buckets& Quotas::BucketsOf(const Principal& principal, Time now) {
  const Quota& quota = principal.quota;
  if (buckets_.size() >= kMaxNames) buckets_.clear();
  Buckets& buckets = buckets_.try_emplace(principal.name, Buckets{quota, quota, now}).first->second;
  if (buckets.of != quota) buckets = {quota, quota, now};
  const double seconds = std::chrono::duration<double>(now - buckets.at).count();
  buckets.at = std::max(buckets.at, now);
  for (const Kind& kind : kKinds) {
    double& level = buckets.level.*kind.member;
    level = std::min(quota.*kind.member, level + std::max(0.0, seconds) * quota.*kind.member);
  }
  return buckets;
}

absl::Status Quotas::Take(const Principal& principal, const Charge& charge, Time now) {
  const Quota& quota = principal.quota;
  if (quota == Quota{}) return absl::OkStatus();
  MutexLock lock(&mutex_);
  Buckets& buckets = BucketsOf(principal, now);
  for (const Kind& kind : kKinds) {
    const double level = buckets.level.*kind.member;
    if (charge.*kind.charge != 0 && quota.*kind.member != 0 && level <= 0) {
      return Refusal(principal, kind, quota.*kind.member, level);
    }
  }
  for (const Kind& kind : kKinds) {
    if (quota.*kind.member == 0 || kind.member == &Quota::answered) continue;
    buckets.level.*kind.member -= static_cast<double>(charge.*kind.charge);
  }
  return absl::OkStatus();
}

void Quotas::TakeAnswer(const Principal& principal, size_t bytes, Time now) {
  if (principal.quota.answered == 0) return;
  MutexLock lock(&mutex_);
  BucketsOf(principal, now).level.answered -= static_cast<double>(bytes);
}

absl::Duration Quotas::AnswerPause(const Principal& principal, Time now) {
  const double quota = principal.quota.answered;
  if (quota == 0) return absl::ZeroDuration();
  MutexLock lock(&mutex_);
  const double level = BucketsOf(principal, now).level.answered;
  return level > 0 ? absl::ZeroDuration() : WaitFor(level, quota);
}

}  // namespace mneme
