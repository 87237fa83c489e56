#include "engine/prune_decisions.h"

#include <chrono>

#include "common/status_macros.h"

namespace mneme {
namespace {

// Asked again every few milliseconds, so that a prune that is cancelled does not hold its thread.
constexpr std::chrono::milliseconds kPoll(5);

}  // namespace

void PruneDecisions::Begin(uint64_t number) {
  MutexLock lock(&mutex_);
  may_write_[number] = false;
}

void PruneDecisions::End(uint64_t number) {
  MutexLock lock(&mutex_);
  may_write_.erase(number);
}

absl::Status PruneDecisions::Await(uint64_t number, const CallLimits& limits) {
  MutexLock lock(&mutex_);
  while (!may_write_[number]) {
    RETURN_IF_ERROR(limits.Check());
    said_.AwaitFor(&mutex_, kPoll, [this, number]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return may_write_[number];
    });
  }
  return absl::OkStatus();
}

absl::Status PruneDecisions::GoOn(uint64_t number) {
  {
    MutexLock lock(&mutex_);
    const auto waiting = may_write_.find(number);
    if (waiting == may_write_.end()) return absl::NotFoundError("the prune that is to go on has ended");
    waiting->second = true;
  }
  said_.NotifyAll();
  return absl::OkStatus();
}

}  // namespace mneme
