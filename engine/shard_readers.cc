// The readers' side of a shard: versions, and waiting for a sequence to become visible.
#include <algorithm>
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

MemoryStatistics StatisticsOf(const PublishedPartition& partition) {
  const IndexVersion& version = *partition.version;
  MemoryStatistics statistics;
  statistics.entries = partition.live_rows;
  statistics.partitions = 1;
  statistics.tail_rows = partition.tail_rows;
  statistics.segments = version.segments.size();
  statistics.codebooks = version.codebook != nullptr ? 1 : 0;
  for (const auto& segment : version.segments) statistics.index_bytes += segment->file_bytes();
  statistics.dead_rows = version.rows() - std::min(version.rows(), partition.live_rows);
  statistics.tail_ram_bytes = partition.tail_ram_bytes;
  statistics.drift = partition.drift;
  statistics.evicted = partition.removed.evicted;
  statistics.expired = partition.removed.expired;
  statistics.unsealed_partitions = partition.tail_rows >= limits::kSealRows ? 1 : 0;
  return statistics;
}

std::vector<std::shared_ptr<const IndexVersion>> Shard::Versions(MemoryNumber memory,
                                                                 const PartitionSelection& selection) const {
  return TakeSnapshot(memory, selection).versions;
}

Shard::Snapshot Shard::TakeSnapshot(MemoryNumber memory, const PartitionSelection& selection) const {
  Snapshot snapshot;
  MutexLock lock(&versions_mutex_);
  snapshot.sequence = visible_;
  if (selection.all) {
    for (auto at = published_.lower_bound({memory, 0}); at != published_.end() && at->first.memory == memory; ++at) {
      snapshot.versions.push_back(at->second->version);
    }
    return snapshot;
  }
  const std::vector<PartitionId> defaults = {0};
  for (const PartitionId partition : selection.partitions.empty() ? defaults : selection.partitions) {
    const auto at = published_.find({memory, partition});
    if (at != published_.end()) snapshot.versions.push_back(at->second->version);
  }
  return snapshot;
}

std::map<PartitionKey, std::shared_ptr<const PublishedPartition>> Shard::Published(MemoryNumber memory) const {
  MutexLock lock(&versions_mutex_);
  return {published_.lower_bound({memory, 0}), published_.lower_bound({memory + 1, 0})};
}

std::map<PartitionKey, std::shared_ptr<const PublishedPartition>> Shard::PublishedAll() const {
  MutexLock lock(&versions_mutex_);
  return published_;
}

std::shared_ptr<const PublishedPartition> Shard::PublishedOf(const PartitionKey& key) const {
  MutexLock lock(&versions_mutex_);
  const auto at = published_.find(key);
  return at == published_.end() ? nullptr : at->second;
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
  CallLimits bounded = limits;
  bounded.deadline = std::min(limits.deadline, std::chrono::steady_clock::now() + kMaxBlockingWait);
  // Asked again every few milliseconds, so that a cancelled call does not hold its thread.
  constexpr std::chrono::milliseconds kPoll(5);
  MutexLock lock(&versions_mutex_);
  while (visible_ < sequence) {
    if (absl::Status status = bounded.Check(); !status.ok()) {
      return absl::IsCancelled(status) ? status : LaggingError(number_, sequence, visible_);
    }
    published_more_.AwaitFor(
        &versions_mutex_, kPoll, [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(versions_mutex_) { return visible_ >= sequence; });
  }
  return absl::OkStatus();
}

void Shard::ExpireWaiters() {
  std::vector<std::pair<std::function<void(absl::Status)>, absl::Status>> expired;
  {
    MutexLock lock(&versions_mutex_);
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
