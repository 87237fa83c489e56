#include "server/request_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "google/rpc/error_details.pb.h"

namespace mneme {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";
constexpr char kDomain[] = "mneme.v1";

template <typename Detail>
std::string UrlOf() {
  return absl::StrCat(kTypePrefix, Detail::descriptor()->full_name());
}

template <typename Detail>
absl::Status With(absl::Status status, const Detail& detail) {
  status.SetPayload(UrlOf<Detail>(), absl::Cord(detail.SerializeAsString()));
  return status;
}

std::string_view ImpliedReason(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: return reason::kInvalidField;
    case absl::StatusCode::kNotFound: return "NOT_FOUND";
    case absl::StatusCode::kAlreadyExists: return "ALREADY_EXISTS";
    case absl::StatusCode::kFailedPrecondition: return "FAILED_PRECONDITION";
    case absl::StatusCode::kResourceExhausted: return "RESOURCE_EXHAUSTED";
    case absl::StatusCode::kUnavailable: return "UNAVAILABLE";
    case absl::StatusCode::kDeadlineExceeded: return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kCancelled: return "CANCELLED";
    case absl::StatusCode::kDataLoss: return reason::kChecksumMismatch;
    case absl::StatusCode::kAborted: return "ABORTED";
    case absl::StatusCode::kOutOfRange: return "OUT_OF_RANGE";
    case absl::StatusCode::kUnimplemented: return "UNIMPLEMENTED";
    case absl::StatusCode::kPermissionDenied: return "PERMISSION_DENIED";
    case absl::StatusCode::kUnauthenticated: return "UNAUTHENTICATED";
    case absl::StatusCode::kOk:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal: break;
    default: break;
  }
  return "INTERNAL";
}

}  // namespace

void FieldErrors::Add(const std::string& field, const std::string& what) {
  if (full()) return;
  violations_.emplace_back(field, absl::StrCat(field, " ", what));
}

bool FieldErrors::full() const { return violations_.size() >= limits::kMaxViolations; }

absl::Status FieldErrors::ToStatus() const {
  if (empty()) return absl::OkStatus();
  google::rpc::BadRequest details;
  for (const auto& [field, sentence] : violations_) {
    auto* violation = details.add_field_violations();
    violation->set_field(field);
    violation->set_description(sentence);
  }
  std::string message = violations_.front().second;
  if (violations_.size() > 1) absl::StrAppend(&message, " (and ", violations_.size() - 1, " more)");
  return With(WithReason(absl::InvalidArgumentError(message), reason::kInvalidField), details);
}

absl::Status FieldError(const std::string& field, const std::string& what) {
  FieldErrors errors;
  errors.Add(field, what);
  return errors.ToStatus();
}

absl::Status WithErrorInfo(absl::Status status, std::string_view reason,
                           const std::map<std::string, std::string>& metadata) {
  if (status.ok()) return status;
  status = WithReason(std::move(status), reason);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(kDomain);
  info.mutable_metadata()->insert(metadata.begin(), metadata.end());
  return With(std::move(status), info);
}

absl::Status WithRetry(absl::Status status, absl::Duration delay) {
  if (status.ok()) return status;
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  const absl::Duration rest = delay - absl::Seconds(absl::ToInt64Seconds(delay));
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return With(std::move(status), retry);
}

absl::Status WithResource(absl::Status status, const std::string& type, const std::string& name) {
  if (status.ok()) return status;
  google::rpc::ResourceInfo resource;
  resource.set_resource_type(type);
  resource.set_resource_name(name);
  return With(std::move(status), resource);
}

absl::Status WithPrecondition(absl::Status status, std::string_view type, const std::string& subject) {
  if (status.ok()) return status;
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type(std::string(type));
  violation->set_subject(subject);
  violation->set_description(std::string(status.message()));
  return With(std::move(status), failure);
}

absl::Status WithQuota(absl::Status status, std::string_view reason, const UsedQuota& quota) {
  if (status.ok()) return status;
  google::rpc::QuotaFailure failure;
  auto* violation = failure.add_violations();
  violation->set_subject(quota.caller);
  violation->set_description(std::string(status.message()));
  violation->set_quota_metric(quota.word);
  violation->set_quota_value(static_cast<int64_t>(quota.bound));
  return With(WithErrorInfo(std::move(status), reason,
                            {{"caller", quota.caller},
                             {"quota", quota.word},
                             {"bound", absl::StrCat(quota.bound)},
                             {"used", absl::StrCat(quota.used)}}),
              failure);
}

std::string QuotaOf(const absl::Status& status) {
  google::rpc::QuotaFailure failure;
  const auto payload = status.GetPayload(UrlOf<google::rpc::QuotaFailure>());
  if (!payload.has_value() || !failure.ParseFromString(std::string(*payload))) return "";
  return failure.violations_size() == 0 ? "" : failure.violations(0).quota_metric();
}

std::string ErrorReason(const absl::Status& status) {
  const std::string given = ReasonOf(status);
  return given.empty() ? std::string(ImpliedReason(status)) : given;
}

}  // namespace mneme
