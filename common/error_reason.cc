#include "common/error_reason.h"

#include "absl/strings/cord.h"

namespace mneme {
namespace {

constexpr char kPayload[] = "mneme/reason";

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason) {
  if (!status.ok()) status.SetPayload(kPayload, absl::Cord(std::string(reason)));
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

bool IsLagging(const absl::Status& status) {
  const std::string why = ReasonOf(status);
  return why == reason::kReplicaLagging || (why == reason::kStorageLow && absl::IsDeadlineExceeded(status));
}

}  // namespace mneme
