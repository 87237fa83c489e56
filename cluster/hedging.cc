#include "cluster/hedging.h"

#include <algorithm>
#include <cstddef>

namespace mneme {
namespace {

constexpr std::chrono::milliseconds kSoonest{limits::kMinHedgeMs};
constexpr std::chrono::milliseconds kLatest{limits::kMaxHedgeMs};

}  // namespace

Hedging::Duration Hedging::Begin(HedgedRead read) {
  MutexLock lock(&mutex_);
  saved_ = std::min(saved_ + 1, limits::kReadsPerHedge * limits::kMostHedgesAtOnce);
  return times_[static_cast<size_t>(read)].late;
}

bool Hedging::Take(std::chrono::steady_clock::time_point now) {
  MutexLock lock(&mutex_);
  if (saved_ >= limits::kReadsPerHedge) {
    saved_ -= limits::kReadsPerHedge;
  } else if (now >= next_free_) {
    next_free_ = now + kLatest;
  } else {
    return false;
  }
  ++hedged_;
  return true;
}

void Hedging::Answered(HedgedRead read, Duration time, bool hedge_won) {
  MutexLock lock(&mutex_);
  if (hedge_won) ++won_;
  Times& times = times_[static_cast<size_t>(read)];
  times.last[times.answers++ % kKept] = time;
  if (times.answers < kFewest || times.answers % kStep != 0) return;
  std::array<Duration, kKept> sorted = times.last;
  const size_t count = std::min<uint64_t>(times.answers, kKept);
  const auto p95 = sorted.begin() + static_cast<std::ptrdiff_t>(count * 95 / 100);
  std::nth_element(sorted.begin(), p95, sorted.begin() + static_cast<std::ptrdiff_t>(count));
  times.late = std::clamp<Duration>(*p95, kSoonest, kLatest);
}

uint64_t Hedging::hedged() const {
  MutexLock lock(&mutex_);
  return hedged_;
}

uint64_t Hedging::won() const {
  MutexLock lock(&mutex_);
  return won_;
}

}  // namespace mneme
