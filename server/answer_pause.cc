#include "server/answer_pause.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/time.h"
#include "common/limits.h"

namespace mneme {

void AnswerPause::Then(const CallRecord& record, const CallLimits& limits, std::function<void()> go_on) {
  const absl::Duration left = record.AnswerPause();
  if (left <= absl::ZeroDuration() || !limits.Check().ok()) return go_on();
  const absl::Duration part = std::min(left, absl::Milliseconds(limits::kAnswerPauseMs));
  alarm_.emplace();
  alarm_->Set(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(part),
              [this, &record, &limits, go_on = std::move(go_on)](bool) mutable {
                Then(record, limits, std::move(go_on));
              });
}

}  // namespace mneme
