// The readers' side of a shard: versions, and waiting for a sequence to become visible.
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/shard.h"

namespace mneme {
namespace {

// How long a blocking read waits for a version, whatever its deadline.
constexpr std::chrono::seconds kMaxBlockingWait(1);

absl::Status LaggingError(uint32_t shard, Sequence asked, Sequence visible) {
  return WithReason(absl::DeadlineExceededError(absl::StrCat("shard ", shard, " has applied ", visible,
                                                             " writes; at_least_version asks for ", asked)),
                    reason::kReplicaLagging);
}

}  // namespace

absl::StatusOr<Shard::Snapshot> Shard::TakeSnapshot(MemoryNumber memory, const PartitionSelection& selection,
                                                   const CallLimits& call_limits) {
  ReadPartitions read;
  while (true) {
    Snapshot snapshot;
    std::vector<SleepingPartition> asleep;
    {
      MutexLock lock(&versions_mutex_);
      snapshot.sequence = visible_;
      table_.Select(memory, selection, snapshot.versions, asleep);
      // What sleeps again with the rows that were read is as it was read.
      const size_t awake = snapshot.versions.size();
      std::erase_if(asleep, [&](const SleepingPartition& sleeping) {
        const auto known = read.find(sleeping.head.key.partition);
        if (known == read.end() || !known->second.asleep.HasRowsOf(sleeping)) return false;
        snapshot.versions.push_back(known->second.version);
        return true;
      });
      for (size_t i = awake; i < snapshot.versions.size(); ++i) {
        table_.NoteRead({memory, snapshot.versions[i]->partition}, snapshot.versions[i]);
      }
    }
    if (asleep.empty()) return snapshot;
    RETURN_IF_ERROR(Wake(std::move(asleep), call_limits, read));
  }
}

absl::StatusOr<std::shared_ptr<const PublishedPartition>> Shard::PublishedOf(const PartitionKey& key) {
  while (true) {
    std::vector<SleepingPartition> asleep;
    {
      MutexLock lock(&versions_mutex_);
      const SleepingPartition* sleeping = table_.FindAsleep(key);
      if (sleeping == nullptr) return table_.Find(key);
      asleep.push_back(*sleeping);
    }
    ReadPartitions read;
    RETURN_IF_ERROR(Wake(std::move(asleep), CallLimits(), read));
  }
}

std::shared_ptr<const PublishedPartition> Shard::AwakePartition(const PartitionKey& key) const {
  MutexLock lock(&versions_mutex_);
  return table_.Find(key);
}

std::vector<std::shared_ptr<const IndexVersion>> Shard::StillRead(const PartitionKey& key) const {
  MutexLock lock(&versions_mutex_);
  return table_.StillRead(key);
}

std::vector<PartitionKey> Shard::KeysStillReadOf(MemoryNumber memory) const {
  MutexLock lock(&versions_mutex_);
  return table_.KeysStillReadOf(memory);
}

std::vector<PartitionKey> Shard::KeysOf(MemoryNumber memory) const {
  MutexLock lock(&versions_mutex_);
  return table_.KeysOf(memory);
}

std::vector<PartitionKey> Shard::AwakeKeysOf(MemoryNumber memory) const {
  MutexLock lock(&versions_mutex_);
  return table_.AwakeKeysOf(memory);
}

std::vector<PartitionKey> Shard::AwakeKeys() const {
  MutexLock lock(&versions_mutex_);
  return table_.AwakeKeys();
}

std::vector<PartitionKey> Shard::KeysWithLongTails() const {
  MutexLock lock(&versions_mutex_);
  return table_.KeysWithLongTails();
}

uint64_t Shard::LiveRows(const PartitionKey& key) const {
  MutexLock lock(&versions_mutex_);
  return table_.LiveRows(key);
}

MemoryStatistics Shard::Statistics(MemoryNumber memory) const {
  MutexLock lock(&versions_mutex_);
  return table_.Statistics(memory);
}

MemoryStatistics Shard::Statistics() const {
  MutexLock lock(&versions_mutex_);
  return table_.Statistics();
}

Sequence Shard::visible() const {
  MutexLock lock(&versions_mutex_);
  return visible_;
}

void Shard::WhenVisible(Sequence sequence, const CallLimits& call_limits, std::function<void(absl::Status)> then) {
  absl::Status status;
  {
    MutexLock lock(&versions_mutex_);
    if (visible_ < sequence && waiters_.size() < limits::kMaxWaitingReads) {
      waiters_.emplace(sequence, Waiter{call_limits, std::move(then)});
      return;
    }
    if (visible_ < sequence) status = LaggingError(number_, sequence, visible_);
  }
  then(status);
}

absl::Status Shard::AwaitVisible(Sequence sequence, const CallLimits& limits) const {
  // The call holds a worker while it waits: not for long. A version that exists is visible within milliseconds.
  const CallLimits bounded = limits.Within(kMaxBlockingWait);
  // Asked again every few milliseconds, so that a cancelled call does not hold its thread.
  constexpr std::chrono::milliseconds kPoll(5);
  MutexLock lock(&versions_mutex_);
  while (visible_ < sequence) {
    if (absl::Status status = bounded.Check(); !status.ok()) {
      return absl::IsCancelled(status) ? status : LaggingError(number_, sequence, visible_);
    }
    const auto visible = [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(versions_mutex_) {
      return visible_ >= sequence;
    };
    published_more_.AwaitFor(&versions_mutex_, kPoll, visible);
  }
  return absl::OkStatus();
}

void Shard::ExpireWaiters() {
  std::vector<std::pair<std::function<void(absl::Status)>, absl::Status>> expired;
  {
    MutexLock lock(&versions_mutex_);
    table_.TidyRead(limits::kLooksForSleepers);
    for (auto at = waiters_.begin(); at != waiters_.end();) {
      const absl::Status status = at->second.limits.Check();
      if (status.ok()) {
        ++at;
        continue;
      }
      expired.emplace_back(std::move(at->second.then),
                           absl::IsCancelled(status) ? status : LaggingError(number_, at->first, visible_));
      at = waiters_.erase(at);
    }
  }
  for (auto& [then, status] : expired) then(status);
}

}  // namespace mneme
