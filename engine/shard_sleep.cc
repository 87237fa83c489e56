// How small partitions of a shard sleep and wake.
//
// 1. Asleep, only the head of a partition is in ram. Nothing is committed to it: the writer wakes what it is to change.
// 2. Whoever asks for it reads its rows from the store, with no lock held, and publishes them when it sleeps the same sleep
//    still. Of several who read at once the first wins; what the others read is thrown away.
// 3. What woke waits in `woken_` for the writer, whose own the index of a partition is.
// 4. While ram is short, maintenance looks at some partitions at a time, and the writer takes those out of ram that nobody
//    asked for since the last look; near the limit any, since writes would be refused beyond it. Readers keep the versions that they hold.
#include <utility>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/shard.h"
#include "engine/shard_loader.h"

namespace mneme {

absl::Status Shard::Wake(const PartitionKey& key) {
  SleepingPartition asleep;
  {
    MutexLock lock(&versions_mutex_);
    const SleepingPartition* found = table_.FindAsleep(key);
    if (found == nullptr) return absl::OkStatus();
    asleep = *found;
  }
  auto partition = std::make_unique<PartitionIndex>(asleep.spec, asleep.head, asleep.generation);
  RETURN_IF_ERROR(LoadRows(*store_, *partition));
  partition->CountRemoved(asleep.removed);
  auto published = MakePublished(*partition);
  MutexLock lock(&versions_mutex_);
  const SleepingPartition* still = table_.FindAsleep(key);
  if (still == nullptr || still->nap != asleep.nap) return absl::OkStatus();
  table_.Publish(key, std::move(published));
  tail_ram_bytes_ = table_.tail_ram_bytes();
  woken_.push_back(std::move(partition));
  return absl::OkStatus();
}

void Shard::AdoptWoken() {
  MutexLock lock(&versions_mutex_);
  for (auto& partition : woken_) {
    const PartitionKey key = partition->head().key;
    partitions_.try_emplace(key, std::move(partition));
  }
  woken_.clear();
}

absl::Status Shard::WakeForWrite(const PartitionKey& key) {
  if (partitions_.contains(key)) return absl::OkStatus();
  RETURN_IF_ERROR(Wake(key));
  AdoptWoken();
  return absl::OkStatus();
}

void Shard::WakeEmpty(const PartitionKey& key) {
  AdoptWoken();
  if (partitions_.contains(key)) return;
  MutexLock lock(&versions_mutex_);
  // It sleeps on for readers until it is published empty. Should one of them wake it before, that is not adopted any more.
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
      if (published == nullptr || !table_.IsSmall(*published)) continue;
      table_.LaySleeping({.head = partition.head(),
                          .spec = partition.spec(),
                          .generation = partition.generation(),
                          .removed = partition.removed(),
                          .nap = ++naps_});
      tail_ram_bytes_ = table_.tail_ram_bytes();
    }
    partitions_.erase(at);
  }
}

}  // namespace mneme
