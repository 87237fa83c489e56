#include "cluster/wire_status.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace mneme {
namespace {

std::string Message(const grpc::Status& status, const std::string& who) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE: return absl::StrCat(who, " is not available: ", status.error_message());
    case grpc::StatusCode::DEADLINE_EXCEEDED: return absl::StrCat(who, " did not answer before the deadline");
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN: return absl::StrCat(who, ": ", status.error_message());
    default: return status.error_message();
  }
}

// What a process says of itself when it takes no calls (server/front_end.cc).
constexpr std::string_view kNotServing[] = {"STARTING", "DRAINING"};

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status, const std::string& who) {
  if (status.ok()) return absl::OkStatus();
  // Who asked is known here, and may do what it asks: it is this process that the other does not let in.
  if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
      status.error_code() == grpc::StatusCode::PERMISSION_DENIED) {
    return WithReason(absl::UnavailableError(absl::StrCat(who, " does not let this process in")),
                      reason::kShardUnavailable);
  }
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  std::string reason;
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) reason = info.reason();
  }
  // What it waits for it alone knows.
  const bool lags = reason == reason::kReplicaLagging || reason == reason::kStorageLow;
  // The two enumerations share their numbers by definition.
  absl::Status converted(static_cast<absl::StatusCode>(status.error_code()),
                         lags ? absl::StrCat(who, ": ", status.error_message()) : Message(status, who));
  for (const auto& detail : details.details()) {
    if (!detail.Is<google::rpc::ErrorInfo>()) converted.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  if (absl::IsUnavailable(converted)) reason = std::string(reason::kShardUnavailable);
  return reason.empty() ? converted : WithReason(std::move(converted), reason);
}

bool IsAway(const grpc::Status& status) {
  if (status.ok()) return false;
  // Errors of our own processes carry details; those that gRPC makes up here do not.
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) return true;
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (!detail.UnpackTo(&info)) continue;
    return std::find(std::begin(kNotServing), std::end(kNotServing), info.reason()) != std::end(kNotServing);
  }
  return false;
}

}  // namespace mneme
