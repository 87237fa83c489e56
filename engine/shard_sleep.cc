// How small partitions of a shard sleep and wake.
//
// 1. Asleep, only the head of a partition is in ram. Nothing is committed to it: the writer wakes what it is to change.
// 2. Whoever asks for some reads their rows from the store, with no lock held, and publishes those that sleep still,
//    with the rows that they had. Of several who read at once the first wins; what the others read is thrown away. Many
//    are read in batches, each in one pass over the store from the first to the last, by as many threads as the shard
//    may borrow for that.
// 3. What woke waits in `woken_` for the writer, whose own the index of a partition is.
// 4. While ram is short, maintenance looks at some partitions at a time, and the writer takes those out of ram that
//    nobody asked for since the last look; near the limit any, since writes would be refused beyond it. Readers keep
//    the versions that they hold: a query of more than there is room for needs no partition twice.
#include <algorithm>
#include <thread>
#include <utility>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/shard.h"
#include "engine/shard_loader.h"

namespace mneme {
namespace {

// Sleeping partitions that are read in one pass over the store and published at once: readers wait for the latter, less
// than a millisecond.
constexpr size_t kWakeBatch = 512;
// Sleeping partitions that are worth a thread more: tens of milliseconds.
constexpr size_t kWakePerThread = 4096;

}  // namespace

absl::Status Shard::Wake(std::vector<SleepingPartition> asleep, const CallLimits& call_limits, ReadPartitions& read) {
  const auto before = [](const SleepingPartition& a, const SleepingPartition& b) { return a.head.key < b.head.key; };
  const auto same = [](const SleepingPartition& a, const SleepingPartition& b) { return a.head.key == b.head.key; };
  std::sort(asleep.begin(), asleep.end(), before);
  asleep.erase(std::unique(asleep.begin(), asleep.end(), same), asleep.end());
  const size_t threads = std::clamp<size_t>(asleep.size() / kWakePerThread, 1, wake_threads_);
  std::vector<ReadPartitions> read_by(threads);
  std::vector<absl::Status> statuses(threads);
  const auto wake_share = [&](size_t share) {
    const size_t begin = asleep.size() * share / threads;
    const size_t end = asleep.size() * (share + 1) / threads;
    for (size_t at = begin; at < end && statuses[share].ok(); at += kWakeBatch) {
      statuses[share].Update(call_limits.Check());
      if (!statuses[share].ok()) return;
      const size_t count = std::min(kWakeBatch, end - at);
      statuses[share].Update(WakeBatch(absl::MakeConstSpan(asleep).subspan(at, count), read_by[share]));
    }
  };
  std::vector<std::thread> helpers;
  for (size_t share = 1; share < threads; ++share) helpers.emplace_back(wake_share, share);
  wake_share(0);
  for (std::thread& helper : helpers) helper.join();
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  for (ReadPartitions& part : read_by) {
    for (auto& [partition, one] : part) read.insert_or_assign(partition, std::move(one));
  }
  return absl::OkStatus();
}

absl::Status Shard::WakeBatch(absl::Span<const SleepingPartition> asleep, ReadPartitions& read) {
  std::vector<std::unique_ptr<PartitionIndex>> partitions;
  partitions.reserve(asleep.size());
  for (const SleepingPartition& sleeping : asleep) {
    partitions.push_back(std::make_unique<PartitionIndex>(sleeping.spec, sleeping.head, sleeping.generation));
    partitions.back()->CountRemoved(sleeping.removed);
  }
  RETURN_IF_ERROR(LoadUnsealed(*store_, partitions));
  std::vector<std::shared_ptr<const PublishedPartition>> published;
  published.reserve(asleep.size());
  for (size_t i = 0; i < asleep.size(); ++i) {
    published.push_back(MakePublished(*partitions[i]));
    read.insert_or_assign(asleep[i].head.key.partition, ReadPartition{asleep[i], published.back()->version});
  }
  MutexLock lock(&versions_mutex_);
  for (size_t i = 0; i < asleep.size(); ++i) {
    const PartitionKey& key = asleep[i].head.key;
    const SleepingPartition* still = table_.FindAsleep(key);
    if (still == nullptr || !still->HasRowsOf(asleep[i])) continue;
    table_.Publish(key, std::move(published[i]));
    woken_.push_back(std::move(partitions[i]));
  }
  tail_ram_bytes_ = table_.tail_ram_bytes();
  return absl::OkStatus();
}

void Shard::AdoptWoken() {
  std::vector<std::unique_ptr<PartitionIndex>> woken;
  {
    MutexLock lock(&versions_mutex_);
    woken.swap(woken_);
  }
  for (auto& partition : woken) {
    const PartitionKey key = partition->head().key;
    partitions_.try_emplace(key, std::move(partition));
  }
}

absl::Status Shard::WakeForWrite(MemoryNumber memory, absl::Span<const PartitionId> partitions) {
  std::vector<PartitionKey> missing;
  for (const PartitionId partition : partitions) {
    if (!partitions_.contains({memory, partition})) missing.push_back({memory, partition});
  }
  if (missing.empty()) return absl::OkStatus();
  std::vector<SleepingPartition> asleep;
  {
    MutexLock lock(&versions_mutex_);
    for (const PartitionKey& key : missing) {
      if (const SleepingPartition* sleeping = table_.FindAsleep(key)) asleep.push_back(*sleeping);
    }
  }
  ReadPartitions read;
  RETURN_IF_ERROR(Wake(std::move(asleep), CallLimits(), read));
  AdoptWoken();  // of others, too, who were first
  return absl::OkStatus();
}

void Shard::WakeEmpty(const PartitionKey& key) {
  AdoptWoken();
  if (partitions_.contains(key)) return;
  MutexLock lock(&versions_mutex_);
  // It sleeps on for readers until it is published empty. Should one of them wake it before, that is not adopted any
  // more.
  const SleepingPartition* asleep = table_.FindAsleep(key);
  if (asleep == nullptr) return;
  auto partition = std::make_unique<PartitionIndex>(asleep->spec, asleep->head, asleep->generation);
  partition->CountRemoved(asleep->removed);
  partitions_.emplace(key, std::move(partition));
}

void Shard::LaySomeToSleep(SleepersAre sleepers) {
  SleepOperation sleep;
  {
    MutexLock lock(&versions_mutex_);
    sleep.keys = table_.ChooseSleepers(sleepers, limits::kLooksForSleepers);
  }
  if (!sleep.keys.empty()) (void)Submit(std::move(sleep));  // a shard that takes no writes keeps what it has
}

void Shard::LayToSleep(const SleepOperation& operation) {
  AdoptWoken();
  for (const PartitionKey& key : operation.keys) {
    const auto at = partitions_.find(key);
    if (at == partitions_.end()) continue;
    const PartitionIndex& partition = *at->second;
    {
      MutexLock lock(&versions_mutex_);
      const auto published = table_.Find(key);
      if (published == nullptr) continue;
      const bool may = operation.whatever_size ? published->segments.empty() : table_.IsSmall(*published);
      if (!may) continue;
      table_.LaySleeping({.head = partition.head(),
                          .spec = partition.spec(),
                          .generation = partition.generation(),
                          .removed = partition.removed()});
      tail_ram_bytes_ = table_.tail_ram_bytes();
    }
    if (const auto codebook = partition.codebook()) {
      // One whose last segment went: nothing names it any more once that is durable.
      AfterSync([this, number = codebook->number()](const absl::Status& synced) {
        if (synced.ok()) files_->RemoveCodebook(number);
      });
    }
    partitions_.erase(at);
  }
}

}  // namespace mneme
