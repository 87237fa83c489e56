#include "cluster/read_markers.h"

#include <chrono>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {
namespace {

// Asked again so often whether the caller still waits.
constexpr std::chrono::milliseconds kPoll{5};

}  // namespace

struct ReadMarkers::State {
  // One marker, and those who wait for it.
  struct Round {
    std::optional<absl::StatusOr<Sequence>> told;  // under the mutex
  };

  ShardLog* log = nullptr;
  Make make;
  Mutex mutex;
  CondVar told;
  std::shared_ptr<Round> waiting ABSL_GUARDED_BY(mutex);  // whose marker is not sent yet; null: nobody waits
  bool sending ABSL_GUARDED_BY(mutex) = false;            // one is on its way
  bool given_up ABSL_GUARDED_BY(mutex) = false;
  size_t handing_over ABSL_GUARDED_BY(mutex) = 0;         // threads that give the log one
};

ReadMarkers::ReadMarkers(ShardLog* log, Make make) : state_(std::make_shared<State>()) {
  state_->log = log;
  state_->make = std::move(make);
}

// The log may end after this.
ReadMarkers::~ReadMarkers() {
  GiveUp();
  MutexLock lock(&state_->mutex);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) { return state_->handing_over == 0; };
  state_->told.Await(&state_->mutex, idle);
}

// Sends the marker of those who wait, if anybody does.
void ReadMarkers::Send(const std::shared_ptr<State>& state) {
  std::shared_ptr<State::Round> round;
  {
    MutexLock lock(&state->mutex);
    if (!state->given_up) round = std::exchange(state->waiting, nullptr);
    state->sending = round != nullptr;
    if (state->sending) ++state->handing_over;
  }
  if (round == nullptr) return;
  const auto tell = [state, round](absl::StatusOr<LogOffset> offset) {
    {
      MutexLock lock(&state->mutex);
      round->told = offset.ok() ? absl::StatusOr<Sequence>(SequenceAt(*offset)) : offset.status();
    }
    state->told.NotifyAll();
    Send(state);
  };
  absl::StatusOr<std::string> marker = state->make();
  if (marker.ok()) {
    state->log->Append(*std::move(marker), tell);
  } else {
    tell(marker.status());
  }
  {
    MutexLock lock(&state->mutex);
    --state->handing_over;
  }
  state->told.NotifyAll();
}

absl::StatusOr<Sequence> ReadMarkers::Next(const CallLimits& limits) const {
  State& state = *state_;
  std::shared_ptr<State::Round> mine;
  bool first = false;
  {
    MutexLock lock(&state.mutex);
    if (state.waiting == nullptr) state.waiting = std::make_shared<State::Round>();
    mine = state.waiting;
    first = !std::exchange(state.sending, true);
  }
  if (first) Send(state_);
  MutexLock lock(&state.mutex);
  const auto ended = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mutex) {
    return mine->told.has_value() || state.given_up;
  };
  while (!ended()) {
    if (absl::Status status = limits.Check(); !status.ok()) return status;
    state.told.AwaitFor(&state.mutex, kPoll, ended);
  }
  if (mine->told.has_value()) return *mine->told;
  return absl::CancelledError("the front end is stopping");
}

void ReadMarkers::GiveUp() {
  {
    MutexLock lock(&state_->mutex);
    state_->given_up = true;
  }
  state_->told.NotifyAll();
}

}  // namespace mneme
