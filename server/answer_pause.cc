#include "server/answer_pause.h"

#include <grpc/support/time.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "common/limits.h"

namespace mneme {

void AnswerPause::Then(const CallRecord& record, const CallLimits& limits, std::function<void()> go_on) {
  const absl::Duration left = record.AnswerPause();
  if (left <= absl::ZeroDuration() || !limits.Check().ok()) return go_on();
  const absl::Duration part = std::min(left, absl::Milliseconds(limits::kAnswerPauseMs));
  alarm_.emplace();
  const gpr_timespec span = gpr_time_from_nanos(absl::ToInt64Nanoseconds(part), GPR_TIMESPAN);
  alarm_->Set(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), span),
              [this, &record, &limits, go_on = std::move(go_on)](bool) mutable {
                Then(record, limits, std::move(go_on));
              });
}

}  // namespace mneme
