// RpcStatus: the one place where a client turns grpc::Status into absl::Status.
#ifndef MNEME_CLIENT_RPC_STATUS_H_
#define MNEME_CLIENT_RPC_STATUS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace grpc {
class Status;
}  // namespace grpc

namespace mneme {

// The same code and message. The first field violation (BadRequest), or else the reason (ErrorInfo), is added to the
// message where it says more; the reason is attached for ReasonOf (common/error_reason.h). The status is marked as
// having come from a call: see IsRpcError.
absl::Status ToAbslStatus(const grpc::Status& status);
// The same for an error that came inside an answer: a code of gRPC, not 0, and what it says.
absl::Status ToAbslStatus(int code, const std::string& message, const std::string& reason);

// True for a status that ToAbslStatus made: the server, or the way to it, refused; not this side's own checks.
bool IsRpcError(const absl::Status& status);

// When the server asks to be tried again (RetryInfo), if it says so.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

}  // namespace mneme

#endif  // MNEME_CLIENT_RPC_STATUS_H_
