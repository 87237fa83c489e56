#include "engine/merge_log.h"

#include <future>
#include <memory>
#include <utility>

#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/log_record.h"

namespace mneme {

RowMerges RowsOf(const MergeOperation& merges) {
  RowMerges rows;
  for (size_t i = 0; i < merges.rows.size(); ++i) {
    rows.survivors.push_back({merges.rows[i], merges.survivors.ids[i]});
    rows.taken.push_back(static_cast<uint32_t>(merges.offsets[i + 1] - merges.offsets[i]));
  }
  rows.merged = merges.merged;
  return rows;
}

absl::StatusOr<MergeResult> MergeLog::Write(const MergeOperation& merges, const CallLimits& limits) const {
  LogRecord record;
  record.memory = merges.key.memory;
  record.stamp_ms = clock->NowMs();
  record.operation = MergeRowsCommand{merges.key.partition, RowsOf(merges)};
  record.deployment = deployment;
  const auto appended = std::make_shared<std::promise<absl::StatusOr<LogOffset>>>();
  auto placed = appended->get_future();
  log->Append(EncodeLogRecord(record),
              [appended](absl::StatusOr<LogOffset> offset) { appended->set_value(std::move(offset)); });
  ASSIGN_OR_RETURN(const LogOffset offset, placed.get());
  while (true) {
    const auto told = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    auto outcome = told->get_future();
    applier->AwaitOutcome(offset, RequestIdentity(), limits,
                          [told](absl::StatusOr<WriteResult> result) { told->set_value(std::move(result)); });
    const absl::StatusOr<WriteResult> result = outcome.get();
    if (result.ok()) return MergeResult{result->count, result->other, result->sequence};
    // It waits for room here, or behind a record that does.
    if (!IsLagging(result.status())) return result.status();
    RETURN_IF_ERROR(limits.Check());
  }
}

}  // namespace mneme
