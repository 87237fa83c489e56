#include "engine/log_outcomes.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// What an outcome costs beside its columns.
constexpr uint64_t kOverheadBytes = 256;

template <typename T>
uint64_t ColumnBytes(const std::vector<T>& column) {
  return column.size() * sizeof(T);
}

uint64_t BytesOf(const absl::StatusOr<WriteResult>& outcome) {
  if (!outcome.ok()) return kOverheadBytes + outcome.status().message().size();
  uint64_t bytes = kOverheadBytes + ColumnBytes(outcome->given_ids);
  if (outcome->states != nullptr) {
    for (const StateAnswer& answer : outcome->states->answers) {
      bytes += kOverheadBytes + answer.PayloadBytes() + answer.status.message().size();
    }
  }
  if (const SlotAnswers* slots = outcome->slots.get()) {
    // Ten columns of eight bytes, three of one, and the mask.
    bytes += slots->found.size() * (10 * sizeof(uint64_t) + 3) + ColumnBytes(slots->mask_offsets) +
             ColumnBytes(slots->mask_slots) + ColumnBytes(slots->mask_weights);
  }
  return bytes;
}

}  // namespace

Sequence LogOutcomes::handled() const {
  MutexLock lock(&mutex_);
  return handled_;
}

absl::Status LogOutcomes::status() const {
  MutexLock lock(&mutex_);
  return why_;
}

void LogOutcomes::Handled(LogOffset offset, const absl::StatusOr<WriteResult>& outcome) {
  std::vector<Waiter> ready;
  {
    MutexLock lock(&mutex_);
    if (SequenceAt(offset) <= handled_) return;
    handled_ = SequenceAt(offset);
    kept_.push_back({offset, outcome, BytesOf(outcome)});
    kept_bytes_ += kept_.back().bytes;
    // The latest stays, however long it is.
    while (kept_.size() > limits::kMaxKeptOutcomes ||
           (kept_bytes_ > limits::kMaxKeptOutcomeBytes && kept_.size() > 1)) {
      kept_bytes_ -= kept_.front().bytes;
      kept_.pop_front();
    }
    const auto [begin, end] = waiters_.equal_range(offset);
    for (auto at = begin; at != end; ++at) ready.push_back(std::move(at->second));
    waiters_.erase(begin, end);
  }
  handled_more_.NotifyAll();
  for (Waiter& waiter : ready) waiter.then(outcome);
}

void LogOutcomes::Skip(Sequence handled) {
  {
    MutexLock lock(&mutex_);
    handled_ = std::max(handled_, handled);
  }
  handled_more_.NotifyAll();
}

void LogOutcomes::End(LogOffset offset, const absl::Status& why) {
  std::vector<Waiter> given_up;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (why_.ok()) why_ = why;
    status = why_;
    end_ = std::min(end_, offset);
    const auto begin = waiters_.lower_bound(end_);
    for (auto at = begin; at != waiters_.end(); ++at) given_up.push_back(std::move(at->second));
    waiters_.erase(begin, waiters_.end());
  }
  handled_more_.NotifyAll();
  for (Waiter& waiter : given_up) waiter.then(status);
}

void LogOutcomes::PutOff(LogOffset offset, const absl::Status& why) {
  std::vector<Waiter> put_off;
  {
    MutexLock lock(&mutex_);
    const auto begin = waiters_.lower_bound(offset);
    for (auto at = begin; at != waiters_.end(); ++at) put_off.push_back(std::move(at->second));
    waiters_.erase(begin, waiters_.end());
  }
  for (Waiter& waiter : put_off) waiter.then(why);
}

std::optional<absl::StatusOr<WriteResult>> LogOutcomes::Find(LogOffset offset) const {
  const auto at = std::lower_bound(kept_.begin(), kept_.end(), offset,
                                   [](const Kept& kept, LogOffset wanted) { return kept.offset < wanted; });
  if (at == kept_.end() || at->offset != offset) return std::nullopt;
  return std::make_optional(at->outcome);
}

void LogOutcomes::Await(LogOffset offset, const RequestIdentity& request, const CallLimits& call_limits, Told then) {
  std::optional<absl::StatusOr<WriteResult>> outcome;
  {
    MutexLock lock(&mutex_);
    if (SequenceAt(offset) <= handled_) outcome = Find(offset);
    if (outcome.has_value()) {
      // It is at hand.
    } else if (SequenceAt(offset) > handled_ && offset >= end_) {
      outcome.emplace(why_);
    } else if (waiters_.size() >= limits::kMaxWaitingOutcomes) {
      outcome.emplace(absl::UnavailableError(absl::StrCat(waiters_.size(), " calls wait for outcomes; the bound "
                                                          "is ", limits::kMaxWaitingOutcomes)));
    } else {
      waiters_.emplace(offset, Waiter{request, call_limits, std::move(then)});
      return;
    }
  }
  then(*std::move(outcome));
}

absl::Status LogOutcomes::AwaitHandled(Sequence sequence, const CallLimits& call_limits) const {
  // Asked again every few milliseconds, so that a cancelled call does not hold its thread.
  constexpr std::chrono::milliseconds kPoll(5);
  MutexLock lock(&mutex_);
  while (handled_ < sequence) {
    if (!why_.ok() && sequence > end_) return why_;
    RETURN_IF_ERROR(call_limits.Check());
    handled_more_.AwaitFor(&mutex_, kPoll, [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return handled_ >= sequence;
    });
  }
  return absl::OkStatus();
}

void LogOutcomes::TellWaiters() {
  std::vector<std::pair<Waiter, absl::Status>> expired;
  std::vector<std::pair<LogOffset, Waiter>> late;
  {
    MutexLock lock(&mutex_);
    const auto begin = waiters_.lower_bound(OffsetAfter(handled_));
    for (auto at = waiters_.begin(); at != begin; ++at) late.emplace_back(at->first, std::move(at->second));
    waiters_.erase(waiters_.begin(), begin);
    for (auto at = waiters_.begin(); at != waiters_.end();) {
      absl::Status status = at->second.limits.Check();
      if (status.ok()) {
        ++at;
        continue;
      }
      expired.emplace_back(std::move(at->second), std::move(status));
      at = waiters_.erase(at);
    }
  }
  for (auto& [waiter, status] : expired) waiter.then(status);
  for (auto& [at, waiter] : late) waiter.then(recall_(at, waiter.request));
}

}  // namespace mneme
