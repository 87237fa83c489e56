#include "client/cli/exit_code.h"

#include <algorithm>
#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/rpc_status.h"
#include "common/error_reason.h"

namespace mneme::cli {
namespace {

constexpr char kUsage[] = "mneme.cli/usage";

}  // namespace

absl::Status UsageError(const std::string& message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsage, absl::Cord("1"));
  return status;
}

int ExitCode(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  if (status.GetPayload(kUsage).has_value()) return kExitUsage;
  return IsRpcError(status) ? kExitRpc + static_cast<int>(status.code()) : kExitFailed;
}

std::string ErrorLine(const absl::Status& status, const std::string& server) {
  std::string message(status.message().data(), status.message().size());
  std::replace(message.begin(), message.end(), '\n', ' ');
  if (!IsRpcError(status)) return "error: " + message;
  const std::string code = absl::StatusCodeToString(status.code());
  if (status.code() == absl::StatusCode::kUnavailable) {
    return absl::StrCat("error: ", server, ": ", message, " (", code, "; is mneme-server running there? see --server)");
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return absl::StrCat("error: ", server, ": ", message, " (", code, "; a longer --timeout may help)");
  }
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    const std::string reason = ReasonOf(status);
    const std::optional<absl::Duration> delay = RetryDelay(status);
    return absl::StrCat("error: ", message, " (", code, reason.empty() ? "" : ", ", reason,
                        delay.has_value() ? "; again in " : "",
                        delay.has_value() ? absl::FormatDuration(*delay) : "", ")");
  }
  return absl::StrCat("error: ", message, " (", code, ")");
}

}  // namespace mneme::cli
