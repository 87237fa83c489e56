#include "client/rpc_status.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace mneme {
namespace {

constexpr char kFromCall[] = "mneme.client/from_call";
constexpr char kRetryDelayNs[] = "mneme.client/retry_delay_ns";

// What the details add to a status.
struct Details {
  std::string violation;  // "field: description" of the first
  std::string description;
  std::string reason;
  std::optional<absl::Duration> retry_delay;
};

Details ReadDetails(const std::string& packed) {
  Details details;
  google::rpc::Status status;
  if (packed.empty() || !status.ParseFromString(packed)) return details;
  for (const auto& any : status.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::ErrorInfo error_info;
    google::rpc::RetryInfo retry_info;
    if (any.UnpackTo(&bad_request) && bad_request.field_violations_size() > 0 && details.violation.empty()) {
      const auto& first = bad_request.field_violations(0);
      details.description = first.description();
      details.violation = first.field().empty() ? first.description() : first.field() + ": " + first.description();
    } else if (any.UnpackTo(&error_info)) {
      details.reason = error_info.reason();
    } else if (any.UnpackTo(&retry_info)) {
      details.retry_delay =
          absl::Seconds(retry_info.retry_delay().seconds()) + absl::Nanoseconds(retry_info.retry_delay().nanos());
    }
  }
  return details;
}

std::string Message(const std::string& message, const Details& details) {
  if (message.empty()) return !details.violation.empty() ? details.violation : details.reason;
  if (!details.description.empty() && message.find(details.description) == std::string::npos) {
    return absl::StrCat(message, " (", details.violation, ")");
  }
  return message;
}

}  // namespace

absl::Status ToAbslStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const Details details = ReadDetails(status.error_details());
  absl::Status converted = ToAbslStatus(static_cast<int>(status.error_code()),
                                        Message(status.error_message(), details), details.reason);
  if (details.retry_delay.has_value()) {
    converted.SetPayload(kRetryDelayNs, absl::Cord(absl::StrCat(absl::ToInt64Nanoseconds(*details.retry_delay))));
  }
  return converted;
}

absl::Status ToAbslStatus(int code, const std::string& message, const std::string& reason) {
  // The two enumerations share their numbers by definition.
  absl::Status converted(static_cast<absl::StatusCode>(code), message);
  converted.SetPayload(kFromCall, absl::Cord("1"));
  return reason.empty() ? converted : WithReason(std::move(converted), reason);
}

bool IsRpcError(const absl::Status& status) { return status.GetPayload(kFromCall).has_value(); }

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto delay = status.GetPayload(kRetryDelayNs);
  if (!delay.has_value()) return std::nullopt;
  return absl::Nanoseconds(std::stoll(std::string(*delay)));
}

}  // namespace mneme
