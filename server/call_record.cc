#include "server/call_record.h"

#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "server/grpc_status.h"
#include "server/request_error.h"

namespace mneme {
namespace {

// Errors that the operator should see, rather than the caller alone.
LogLevel LevelOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk: return LogLevel::kInfo;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDataLoss: return LogLevel::kError;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable: return LogLevel::kWarning;
    default: return LogLevel::kInfo;
  }
}

// The paths of the fields that a request was refused for, without what is wrong with them.
std::string FieldsOf(const absl::Status& status) {
  google::rpc::BadRequest bad;
  const auto payload = status.GetPayload(absl::StrCat("type.googleapis.com/", bad.GetDescriptor()->full_name()));
  if (!payload.has_value() || !bad.ParseFromString(std::string(*payload))) return "";
  std::string out;
  for (const auto& violation : bad.field_violations()) {
    absl::StrAppend(&out, out.empty() ? "" : " ", violation.field());
  }
  return out;
}

}  // namespace

CallRecord::CallRecord(FrontEnd& front_end, const RpcMethod& method) : front_end_(front_end), method_(method) {
  front_end_.metrics().Started(method_.metrics);
}

grpc::Status CallRecord::Finish(const absl::Status& status) {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const grpc::Status out = ToGrpcStatus(status);
  front_end_.metrics().Handled(method_.metrics, out.error_code(), elapsed.count());
  if (status.code() == absl::StatusCode::kResourceExhausted) front_end_.metrics().Rejected(ErrorReason(status));
  LogEnd(status, elapsed.count());
  return out;
}

void CallRecord::LogEnd(const absl::Status& status, double seconds) {
  const LogLevel level = LevelOf(status.code());
  if (!front_end_.log().Enabled(level)) return;
  if (status.ok() ? !front_end_.SampleAccess() : !front_end_.TakeErrorLine()) return;
  std::vector<LogField> fields = {{"method", method_.name},
                                  {"code", absl::StatusCodeToString(status.code())},
                                  {"dur_us", static_cast<int64_t>(seconds * 1e6)}};
  if (!status.ok()) {
    fields.push_back({"reason", ErrorReason(status)});
    if (const std::string paths = FieldsOf(status); !paths.empty()) fields.push_back({"fields", paths});
    // What a client did wrong is told with its tokens and ids in it, which a log must not keep.
    if (level == LogLevel::kError) fields.push_back({"error", std::string(status.message())});
  }
  front_end_.log().Write(level, "access", "call", std::move(fields));
}

CallLimits LimitsOf(const grpc::CallbackServerContext& context, std::shared_ptr<const std::atomic<bool>> cancelled) {
  CallLimits out;
  out.cancelled = std::move(cancelled);
  const auto deadline = context.deadline();
  const auto now = std::chrono::system_clock::now();
  // No deadline is the far end of the clock, which would overflow when moved to another clock.
  if (deadline < now + std::chrono::hours(24 * 365)) {
    out.deadline = std::chrono::steady_clock::now() +
                   std::chrono::duration_cast<std::chrono::steady_clock::duration>(deadline - now);
  }
  return out;
}

}  // namespace mneme
