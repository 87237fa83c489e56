#include "server/grpc_status.h"

#include <grpcpp/support/error_details.h>

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "common/limits.h"
#include "common/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kDetailPrefix[] = "type.googleapis.com/google.rpc.";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

grpc::StatusCode CodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk: return grpc::StatusCode::OK;
    case absl::StatusCode::kCancelled: return grpc::StatusCode::CANCELLED;
    case absl::StatusCode::kInvalidArgument: return grpc::StatusCode::INVALID_ARGUMENT;
    case absl::StatusCode::kDeadlineExceeded: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case absl::StatusCode::kNotFound: return grpc::StatusCode::NOT_FOUND;
    case absl::StatusCode::kAlreadyExists: return grpc::StatusCode::ALREADY_EXISTS;
    case absl::StatusCode::kPermissionDenied: return grpc::StatusCode::PERMISSION_DENIED;
    case absl::StatusCode::kResourceExhausted: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case absl::StatusCode::kFailedPrecondition: return grpc::StatusCode::FAILED_PRECONDITION;
    case absl::StatusCode::kAborted: return grpc::StatusCode::ABORTED;
    case absl::StatusCode::kOutOfRange: return grpc::StatusCode::OUT_OF_RANGE;
    case absl::StatusCode::kUnimplemented: return grpc::StatusCode::UNIMPLEMENTED;
    case absl::StatusCode::kUnavailable: return grpc::StatusCode::UNAVAILABLE;
    case absl::StatusCode::kDataLoss: return grpc::StatusCode::DATA_LOSS;
    case absl::StatusCode::kUnauthenticated: return grpc::StatusCode::UNAUTHENTICATED;
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal: return grpc::StatusCode::INTERNAL;
    default: return grpc::StatusCode::INTERNAL;
  }
}

// Not where somebody has to delete something, or to give the server a larger disk and start it again.
bool WaitingHelps(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return reason != reason::kStorageFull && reason != reason::kStoredQuota;
}

// When to come back: to a disk after somebody may have freed some of it.
absl::Duration DelayOf(const absl::Status& status) {
  return ErrorReason(status) == reason::kStorageLow ? absl::Seconds(1) : absl::Milliseconds(100);
}

// Adds what every error has to carry and this one does not yet.
absl::Status Complete(absl::Status status) {
  if (!status.GetPayload(kErrorInfoUrl).has_value()) status = WithErrorInfo(status, ErrorReason(status), {});
  const bool retry = (status.code() == absl::StatusCode::kResourceExhausted && WaitingHelps(status)) ||
                     status.code() == absl::StatusCode::kUnavailable;
  if (retry && !status.GetPayload(kRetryInfoUrl).has_value()) status = WithRetry(status, DelayOf(status));
  return status;
}

// ErrorInfo first, so that it survives the cap.
void AddDetails(const absl::Status& status, google::rpc::Status& out) {
  const auto add = [&out](const std::string& url, const absl::Cord& value) {
    if (out.ByteSizeLong() + url.size() + value.size() + 16 > limits::kMaxErrorDetailBytes) return;
    auto* detail = out.add_details();
    detail->set_type_url(url);
    detail->set_value(std::string(value));
  };
  if (const auto info = status.GetPayload(kErrorInfoUrl); info.has_value()) add(kErrorInfoUrl, *info);
  status.ForEachPayload([&add](auto url, const absl::Cord& value) {
    // Payloads of other kinds are between the rooms of this program.
    const std::string name(url);
    if (name != kErrorInfoUrl && absl::StartsWith(name, kDetailPrefix)) add(name, value);
  });
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const grpc::StatusCode code = CodeOf(status.code());
  const absl::Status told = code == grpc::StatusCode::INTERNAL
                                ? absl::InternalError("internal error; the server's log says more")
                                : status;
  google::rpc::Status details;
  details.set_code(code);
  const absl::string_view text = told.message();
  details.set_message(std::string(Utf8Prefix({text.data(), text.size()}, limits::kMaxErrorTextBytes)));
  AddDetails(Complete(told), details);
  grpc::Status out;
  grpc::SetErrorDetails(details, &out);
  return out;
}

}  // namespace mneme
