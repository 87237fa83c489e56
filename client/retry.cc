#include "client/retry.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "client/rpc_status.h"

namespace mneme {
namespace {

double Jitter() {
  thread_local std::minstd_rand generator(std::random_device{}());
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

// By gRPC's steady clock, which nobody sets.
gpr_timespec In(absl::Duration time) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(absl::ToInt64Nanoseconds(time), GPR_TIMESPAN));
}

}  // namespace

std::optional<absl::Duration> NextDelay(const RetryPolicy& policy, const absl::Status& status, int attempt,
                                        double jitter) {
  if (attempt >= policy.attempts) return std::nullopt;
  const std::optional<absl::Duration> asked = RetryDelay(status);
  const bool repeatable = status.code() == absl::StatusCode::kUnavailable ||
                          (status.code() == absl::StatusCode::kResourceExhausted && asked.has_value());
  if (!repeatable) return std::nullopt;
  absl::Duration delay = policy.first_delay * std::ldexp(1.0, attempt - 1);
  delay = std::min(delay, policy.max_delay) * (0.5 + jitter);
  // Never before the server asked to be tried again.
  return asked.has_value() ? std::max(delay, *asked) : delay;
}

absl::Status CallWithRetry(const ClientOptions& options,
                           const std::function<grpc::Status(grpc::ClientContext& context)>& call) {
  const bool bounded = options.timeout > absl::ZeroDuration();
  const auto start = std::chrono::steady_clock::now();
  const auto left = [&] {
    if (!bounded) return absl::InfiniteDuration();
    return options.timeout - absl::FromChrono(std::chrono::steady_clock::now() - start);
  };
  for (int attempt = 1;; ++attempt) {
    grpc::ClientContext context;
    if (bounded) context.set_deadline(In(left()));
    const absl::Status status = ToAbslStatus(call(context));
    if (status.ok()) return status;
    const std::optional<absl::Duration> delay = NextDelay(options.retry, status, attempt, Jitter());
    // A wait that ends after the deadline would only hide the reason behind DEADLINE_EXCEEDED.
    if (!delay.has_value() || *delay >= left()) return status;
    absl::SleepFor(*delay);
  }
}

void SetDeadline(const ClientOptions& options, grpc::ClientContext& context) {
  if (options.timeout > absl::ZeroDuration()) context.set_deadline(In(options.timeout));
}

std::string NewRequestId() {
  std::random_device entropy;
  std::array<uint32_t, 4> words;
  for (uint32_t& word : words) word = entropy();
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(words.data()), sizeof(words)));
}

}  // namespace mneme
