#include "cluster/replica_log.h"

#include <utility>

#include "engine/log_record.h"

namespace mneme {
namespace {

// What failed when `record` cannot be appended.
const char* FailureOf(const std::string& record) {
  const size_t merge = LoggedOperation(std::in_place_type<MergeRowsCommand>).index();
  const absl::StatusOr<LogRecordHead> head = DecodeLogRecordHead(record);
  return head.ok() && head->operation == merge ? "prune_failed" : "expiry_failed";
}

void TellFailed(const EventSink& events, const char* failure, const absl::Status& status) {
  if (events == nullptr || Unreached(status)) return;
  events(failure, status.ToString());
}

}  // namespace

void ReplicaLog::Append(std::string record, Appended appended) {
  const char* const failure = FailureOf(record);
  const absl::Status clock = check_clock_ == nullptr ? absl::OkStatus() : check_clock_();
  if (!clock.ok()) {
    TellFailed(events_, failure, clock);
    return appended(clock);
  }
  // A copy of the sink: the log may tell of a record when this has gone.
  log_->Append(std::move(record),
               [events = events_, failure, appended = std::move(appended)](absl::StatusOr<LogOffset> offset) {
                 if (!offset.ok()) TellFailed(events, failure, offset.status());
                 appended(std::move(offset));
               });
}

}  // namespace mneme
