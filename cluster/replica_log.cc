#include "cluster/replica_log.h"

namespace mneme {
namespace {

void TellFailed(const EventSink& events, const absl::Status& status) {
  if (events == nullptr || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) return;
  events("expiry_failed", status.ToString());
}

}  // namespace

void ReplicaLog::Append(std::string record, Appended appended) {
  const absl::Status clock = check_clock_ == nullptr ? absl::OkStatus() : check_clock_();
  if (!clock.ok()) {
    TellFailed(events_, clock);
    return appended(clock);
  }
  // A copy of the sink: the log may tell of a record when this has gone.
  log_->Append(std::move(record), [events = events_, appended = std::move(appended)](absl::StatusOr<LogOffset> offset) {
    if (!offset.ok()) TellFailed(events, offset.status());
    appended(std::move(offset));
  });
}

}  // namespace mneme
