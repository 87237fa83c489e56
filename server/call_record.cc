#include "server/call_record.h"

#include <grpc/support/time.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/absl_view.h"
#include "common/limits.h"
#include "common/status_macros.h"
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

// Every call that needs to administer, done or refused.
bool IsAudited(const RpcMethod& method) { return method.rule != nullptr && method.rule->need == Need::kAdmin; }

bool MayWrite(const RpcRule& rule, absl::Span<const AccessTarget> targets) {
  return rule.need == Need::kWrite || rule.need == Need::kAdmin ||
         std::any_of(targets.begin(), targets.end(),
                     [](const AccessTarget& target) { return target.right >= Right::kWrite; });
}

// Names what was asked, and tells nothing of what is there.
absl::Status Refusal(const RpcMethod& method, const Decision& decision, absl::Span<const AccessTarget> targets) {
  if (method.rule == nullptr || method.rule->need == Need::kPeer || targets.empty()) {
    return absl::PermissionDeniedError(
        absl::StrCat(method.service, "/", method.name, " is for processes of this deployment alone"));
  }
  const AccessTarget& target = targets[decision.target];
  std::string on = target.memory.empty() ? "all memories" : absl::StrCat("memory \"", ToAbsl(target.memory), "\"");
  if (target.scope == AccessTarget::Scope::kPartitions && target.partitions.size() == 1) {
    absl::StrAppend(&on, ", partition ", target.partitions.front());
  } else if (target.scope == AccessTarget::Scope::kPartitions) {
    absl::StrAppend(&on, ", each of ", target.partitions.size(), " partitions");
  }
  return absl::PermissionDeniedError(
      absl::StrCat(method.name, " needs the right \"", RightName(decision.right), "\" on ", on));
}

}  // namespace

RpcMethod MakeMethod(FrontEnd& front_end, const char* service, const char* name, const char* type) {
  return {service, name, front_end.metrics().AddMethod(service, name, type), FindRule(service, name)};
}

CallRecord::CallRecord(FrontEnd& front_end, const RpcMethod& method, const grpc::ServerContextBase& context)
    : front_end_(front_end), method_(method) {
  front_end_.metrics().Started(method_.metrics);
  absl::StatusOr<Caller> caller = front_end_.access().Identify(context);
  if (caller.ok()) {
    caller_ = *std::move(caller);
  } else {
    unknown_ = caller.status();
  }
  if (IsAudited(method) || !unknown_.ok()) peer_ = context.peer();
}

absl::Status CallRecord::Refresh() {
  if (unknown_.ok()) unknown_ = front_end_.access().Refresh(caller_);
  return unknown_;
}

absl::Status CallRecord::Receive(size_t bytes) {
  RETURN_IF_ERROR(Refresh());
  if (caller_.principal() == nullptr) return absl::OkStatus();
  return front_end_.quotas().Take(*caller_.principal(), {.bytes = bytes});
}

absl::Status CallRecord::AuthorizeTargets(absl::Span<const AccessTarget> targets) {
  if (!targets.empty() && IsAudited(method_)) {
    memory_ = std::string(targets.front().memory.substr(0, limits::kMaxMemoryNameBytes));
  }
  RETURN_IF_ERROR(Refresh());
  const Decision decision = caller_.Ask(method_.rule, targets);
  if (!decision.allowed) return Refusal(method_, decision, targets);
  let_in_ = true;
  may_have_written_ = may_have_written_ || MayWrite(*method_.rule, targets);
  return absl::OkStatus();
}

absl::Status CallRecord::TakeEntries(size_t entries) {
  if (caller_.principal() == nullptr || entries == 0) return absl::OkStatus();
  return front_end_.quotas().Take(*caller_.principal(), {.entries = entries, .requests = 0});
}

bool CallRecord::BoundsWrites() {
  (void)Refresh();  // the message's own gate tells what came of it
  return mneme::BoundsWrites(caller_);
}

void CallRecord::TakeAnswer(size_t bytes) {
  if (caller_.principal() != nullptr) front_end_.quotas().TakeAnswer(*caller_.principal(), bytes);
}

absl::Duration CallRecord::AnswerPause() const {
  return caller_.principal() == nullptr ? absl::ZeroDuration() : front_end_.quotas().AnswerPause(*caller_.principal());
}

std::string CallRecord::CallerName() const {
  return caller_.principal() == nullptr ? "" : caller_.principal()->name;
}

grpc::Status CallRecord::Finish(const absl::Status& status) {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const grpc::Status out = ToGrpcStatus(status);
  front_end_.metrics().Handled(method_.metrics, out.error_code(), elapsed.count());
  if (status.code() == absl::StatusCode::kResourceExhausted) front_end_.metrics().Rejected(ErrorReason(status));
  if (const std::string quota = QuotaOf(status); !quota.empty()) front_end_.metrics().QuotaRefused(quota);
  LogEnd(status, elapsed.count());
  if (IsAudited(method_)) Audit(status);
  return out;
}

void CallRecord::LogEnd(const absl::Status& status, double seconds) {
  const LogLevel level = LevelOf(status.code());
  if (!front_end_.log().Enabled(level)) return;
  uint64_t left_out = 0;
  if (status.ok() ? !front_end_.SampleAccess() : !front_end_.error_lines().Take(&left_out)) return;
  std::vector<LogField> fields = {{"method", method_.name},
                                  {"code", absl::StatusCodeToString(status.code())},
                                  {"dur_us", static_cast<int64_t>(seconds * 1e6)}};
  if (const std::string caller = CallerName(); !caller.empty()) fields.push_back({"caller", caller});
  if (!unknown_.ok()) fields.push_back({"peer", peer_});
  if (left_out != 0) fields.push_back({"left_out", static_cast<int64_t>(left_out)});
  if (!status.ok()) {
    fields.push_back({"reason", ErrorReason(status)});
    if (const std::string quota = QuotaOf(status); !quota.empty()) fields.push_back({"quota", quota});
    if (const std::string paths = FieldsOf(status); !paths.empty()) fields.push_back({"fields", paths});
    // What a client did wrong is told with its tokens and ids in it, which a log must not keep.
    if (level == LogLevel::kError) fields.push_back({"error", std::string(status.message())});
  }
  front_end_.log().Write(level, "access", "call", std::move(fields));
}

void CallRecord::Audit(const absl::Status& status) {
  // Who is not known, may not, or sends what is none, may ask very often. Strangers take no line of the others.
  uint64_t left_out = 0;
  LineBudget& budget = unknown_.ok() ? front_end_.refusal_lines() : front_end_.stranger_lines();
  if (!let_in_ && !budget.Take(&left_out)) return;
  std::vector<LogField> fields = {{"caller", CallerName()},
                                  {"peer", peer_},
                                  {"memory", memory_},
                                  {"code", absl::StatusCodeToString(status.code())}};
  if (left_out != 0) fields.push_back({"left_out", static_cast<int64_t>(left_out)});
  const bool refused = absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status);
  front_end_.log().Write(refused ? LogLevel::kWarning : LogLevel::kInfo, "audit", method_.name, std::move(fields));
}

CallLimits LimitsOf(const grpc::CallbackServerContext& context, std::shared_ptr<const std::atomic<bool>> cancelled) {
  CallLimits out;
  out.cancelled = std::move(cancelled);
  // As gRPC has it: by a steady clock, which nobody sets between two looks at it.
  const gpr_timespec deadline = context.raw_deadline();
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  // No deadline is the far end of the clock, which would overflow when moved to another clock.
  if (left.tv_sec < 365 * 24 * 3600) {
    out.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(left.tv_sec) +
                   std::chrono::nanoseconds(left.tv_nsec);
  }
  return out;
}

}  // namespace mneme
