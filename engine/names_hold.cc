#include "engine/names_hold.h"

#include <algorithm>
#include <utility>

namespace mneme {
namespace {

// Who waits looks whether his own time is over so often.
constexpr std::chrono::milliseconds kLook{20};

}  // namespace

void NamesHold::EndHeld() {
  if (!held_.has_value()) return;
  held_.reset();
  ++ended_;
  under_way_ += std::exchange(waiting_, size_t{0});
}

void NamesHold::EndIfOver() {
  if (held_.has_value() && held_->until <= Steady::now()) EndHeld();
}

absl::Status NamesHold::Begin(const CallLimits& limits) {
  MutexLock lock(&mutex_);
  EndIfOver();
  if (!held_.has_value()) {
    ++under_way_;
    return absl::OkStatus();
  }
  ++waiting_;  // whoever ends this hold counts it as under way
  const uint64_t hold = ended_;
  const auto over = [this, hold]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_ != hold; };
  while (ended_ == hold) {
    const absl::Status wanted = limits.Check();
    if (!wanted.ok()) {
      --waiting_;
      return wanted;
    }
    const Steady::duration left = held_->until - Steady::now();
    (void)changed_.AwaitFor(&mutex_, std::min<Steady::duration>(left, kLook), over);
    if (ended_ == hold) EndIfOver();
  }
  return absl::OkStatus();
}

void NamesHold::End() {
  {
    MutexLock lock(&mutex_);
    --under_way_;
  }
  changed_.NotifyAll();
}

void NamesHold::Hold(uint64_t id) {
  {
    MutexLock lock(&mutex_);
    EndHeld();
    held_ = Held{id, Steady::now() + longest_};
  }
  changed_.NotifyAll();
  MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return under_way_ == 0; };
  (void)changed_.AwaitFor(&mutex_, longest_ / 4, none);
}

void NamesHold::LetGo(uint64_t id) {
  {
    MutexLock lock(&mutex_);
    if (!held_.has_value() || held_->id != id) return;
    EndHeld();
  }
  changed_.NotifyAll();
}

}  // namespace mneme
