#include "cluster/replica_log.h"

#include <utility>

#include "engine/log_record.h"

namespace mneme {
namespace {

// What failed when a record of this cannot be appended.
const char* FailureOf(const LogRecordHead& record) {
  const size_t merge = LoggedOperation(std::in_place_type<MergeRowsCommand>).index();
  return record.operation == merge ? "prune_failed" : "expiry_failed";
}

void TellFailed(const EventSink& events, const char* failure, const absl::Status& status) {
  if (events == nullptr || Unreached(status)) return;
  events(failure, status.ToString());
}

}  // namespace

void ReplicaLog::Append(std::string record, Appended appended) {
  const absl::StatusOr<LogRecordHead> head = DecodeLogRecordHead(record);
  if (!head.ok()) return appended(head.status());
  const char* const failure = FailureOf(*head);
  const absl::Status stamp = check_stamp_ == nullptr ? absl::OkStatus() : check_stamp_(head->stamp_ms);
  if (!stamp.ok()) {
    TellFailed(events_, failure, stamp);
    return appended(stamp);
  }
  // A copy of the sink: the log may tell of a record when this has gone.
  log_->Append(std::move(record),
               [events = events_, failure, appended = std::move(appended)](absl::StatusOr<LogOffset> offset) {
                 if (!offset.ok()) TellFailed(events, failure, offset.status());
                 appended(std::move(offset));
               });
}

}  // namespace mneme
