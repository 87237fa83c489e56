#include "server/front_end.h"

#include <algorithm>
#include <utility>

#include "common/allocator.h"
#include "common/limits.h"
#include "engine/catalogue_teller.h"
#include "server/request_error.h"

namespace mneme {

FrontEnd::FrontEnd(Log* log, Metrics* metrics, const AccessControl* access, size_t call_workers,
                   size_t held_answer_bytes)
    : log_(log),
      metrics_(metrics),
      access_(access),
      held_answers_(held_answer_bytes,
                    [this](const std::string& holder, size_t bytes) { OnAnswerNotTaken(holder, bytes); },
                    [this] { (void)calls_.Submit(GiveBackFreedRam); }),
      calls_(call_workers, limits::kMaxQueuedCalls),
      long_calls_(limits::kLongCallWorkers, limits::kMaxQueuedLongCalls),
      bounded_writes_(call_workers, limits::kMaxQueuedCalls) {}

absl::Status DrainingError() {
  return WithRetry(WithReason(absl::UnavailableError("the server is stopping; go on at another"), reason::kDraining),
                   absl::Seconds(1));
}

void FrontEnd::Serve(CatalogueTeller* teller) {
  Serve(&teller->feed());
  teller_.store(teller, std::memory_order_release);
}

absl::StatusOr<Deployment*> FrontEnd::deployment() const {
  if (draining()) return DrainingError();
  Deployment* deployment = deployment_.load(std::memory_order_acquire);
  if (deployment != nullptr) return deployment;
  return WithRetry(WithReason(absl::UnavailableError("the server is opening its data; try again"), reason::kStarting),
                   absl::Seconds(1));
}

absl::Status FrontEnd::CheckReplayed() const {
  if (!replaying_.load(std::memory_order_acquire)) return absl::OkStatus();
  return WithRetry(
      WithReason(absl::UnavailableError("the replica is applying what its log has; try again"), reason::kStarting),
      absl::Seconds(1));
}

// A unary call was counted and logged when its answer was made; a stream ends as one that was cancelled.
void FrontEnd::OnAnswerNotTaken(const std::string& holder, size_t bytes) {
  metrics_->Rejected(std::string(reason::kAnswerNotTaken));
  uint64_t left_out = 0;
  if (!error_lines_.Take(&left_out)) return;
  std::vector<LogField> fields = {{"holder", holder}, {"bytes", static_cast<int64_t>(bytes)}};
  if (left_out != 0) fields.push_back({"left_out", static_cast<int64_t>(left_out)});
  log_->Write(LogLevel::kWarning, "server", "ended a call whose answer was not taken", std::move(fields));
}

void FrontEnd::StartDraining() {
  draining_.store(true, std::memory_order_release);
  std::vector<std::weak_ptr<DrainListener>> streams;
  {
    absl::MutexLock lock(&streams_mutex_);
    streams = streams_;
  }
  for (const auto& weak : streams) {
    if (const auto stream = weak.lock()) stream->OnDrain();
  }
}

size_t FrontEnd::queued_calls() const {
  size_t queued = 0;
  for (const CallPool* pool : counted_pools_) queued += pool->queued();
  return queued;
}

void FrontEnd::AddStream(std::weak_ptr<DrainListener> stream) {
  absl::MutexLock lock(&streams_mutex_);
  if (streams_.size() >= prune_at_) {
    std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
    prune_at_ = std::max<size_t>(64, 2 * streams_.size());
  }
  streams_.push_back(std::move(stream));
}

}  // namespace mneme
