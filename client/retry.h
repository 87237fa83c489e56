// Retry: deadlines and repeated attempts of unary calls, in one place.
#ifndef MNEME_CLIENT_RETRY_H_
#define MNEME_CLIENT_RETRY_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/channel.h"

namespace grpc {
class ClientContext;
class Status;
}  // namespace grpc

namespace mneme {

// How long to wait before attempt `attempt` + 1 after `attempt` attempts (from 1) have ended with `status`; nothing
// when the call must not be repeated. `jitter` is in [0, 1).
std::optional<absl::Duration> NextDelay(const RetryPolicy& policy, const absl::Status& status, int attempt,
                                        double jitter);

// Makes one unary call: every attempt gets a fresh context with what is left of options.timeout. The request must be
// safe to repeat: a read, or a write with a request id. Returns the last attempt's status.
absl::Status CallWithRetry(const ClientOptions& options,
                           const std::function<grpc::Status(grpc::ClientContext& context)>& call);

// The context's deadline for a call or stream that starts now; none where options.timeout is not positive.
void SetDeadline(const ClientOptions& options, grpc::ClientContext& context);

// A new request id: 128 random bits as 32 hexadecimal digits.
std::string NewRequestId();

}  // namespace mneme

#endif  // MNEME_CLIENT_RETRY_H_
