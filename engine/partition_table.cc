#include "engine/partition_table.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/index_thresholds.h"

namespace mneme {

std::shared_ptr<const PublishedPartition> MakePublished(const PartitionIndex& partition) {
  auto published = std::make_shared<PublishedPartition>();
  published->version = partition.MakeVersion();
  published->live_rows = partition.head().live_rows;
  published->generation = partition.generation();
  published->tail_rows = partition.tail_rows();
  published->tail_ram_bytes = partition.tail_ram_bytes();
  published->drift = partition.drift();
  published->removed = partition.removed();
  for (const InstalledSegment& installed : partition.segments()) published->segments.push_back(installed.record);
  return published;
}

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
  statistics.unsealed_partitions = partition.tail_rows >= IndexThresholds().SealRows(version) ? 1 : 0;
  return statistics;
}

MemoryStatistics StatisticsOf(const SleepingPartition& partition) {
  MemoryStatistics statistics;
  statistics.entries = partition.head.live_rows;
  statistics.partitions = 1;
  statistics.tail_rows = partition.head.live_rows;
  statistics.evicted = partition.removed.evicted;
  statistics.expired = partition.removed.expired;
  return statistics;
}

void PartitionTable::Count(const PartitionKey& key, const MemoryStatistics& added) {
  sums_[key.memory].Add(added);
  total_.Add(added);
}

void PartitionTable::Discount(const PartitionKey& key, const MemoryStatistics& gone) {
  sums_[key.memory].Subtract(gone);
  total_.Subtract(gone);
}

void PartitionTable::Forget(const PartitionKey& key) {
  if (const auto at = awake_.find(key); at != awake_.end()) {
    Discount(key, StatisticsOf(*at->second.published));
    Retire(key, at->second.published);
    long_tails_.erase(key);
    indexed_.erase(key);
    awake_.erase(at);
  } else if (const auto sleeping = asleep_.find(key); sleeping != asleep_.end()) {
    Discount(key, StatisticsOf(sleeping->second));
    asleep_.erase(sleeping);
  }
}

void PartitionTable::Retire(const PartitionKey& key, const std::shared_ptr<const PublishedPartition>& published) {
  if (published.use_count() > 1 || published->version.use_count() > 1) NoteRead(key, published->version);
}

void PartitionTable::NoteRead(const PartitionKey& key, const std::shared_ptr<const IndexVersion>& version) {
  still_read_.emplace(key, version);
}

void PartitionTable::TidyRead(size_t looks) {
  for (looks = std::min(looks, still_read_.size()); looks > 0; --looks) {
    if (tidied_ == still_read_.end()) tidied_ = still_read_.begin();
    tidied_ = tidied_->second.expired() ? still_read_.erase(tidied_) : std::next(tidied_);
  }
}

std::vector<std::shared_ptr<const IndexVersion>> PartitionTable::StillRead(const PartitionKey& key) const {
  std::vector<std::shared_ptr<const IndexVersion>> versions;
  const auto [first, end] = still_read_.equal_range(key);
  for (auto at = first; at != end; ++at) {
    if (auto version = at->second.lock()) versions.push_back(std::move(version));
  }
  return versions;
}

std::vector<PartitionKey> PartitionTable::KeysStillReadOf(MemoryNumber memory) const {
  std::vector<PartitionKey> keys;
  for (auto at = still_read_.lower_bound({memory, 0}); at != still_read_.end() && at->first.memory == memory; ++at) {
    if (keys.empty() || keys.back() != at->first) keys.push_back(at->first);
  }
  return keys;
}

void PartitionTable::Publish(const PartitionKey& key, std::shared_ptr<const PublishedPartition> published) {
  Awake& slot = awake_[key];
  if (slot.published != nullptr) {
    Discount(key, StatisticsOf(*slot.published));
    Retire(key, slot.published);
  } else if (const auto sleeping = asleep_.find(key); sleeping != asleep_.end()) {
    Discount(key, StatisticsOf(sleeping->second));
    asleep_.erase(sleeping);
  }
  Count(key, StatisticsOf(*published));
  const bool long_tail = std::min(published->live_rows, published->tail_rows) >= small_rows_;
  long_tail ? (void)long_tails_.insert(key) : (void)long_tails_.erase(key);
  published->segments.empty() ? (void)indexed_.erase(key) : (void)indexed_.insert(key);
  slot.published = std::move(published);
  slot.used = true;
}

void PartitionTable::LaySleeping(SleepingPartition partition) {
  const PartitionKey key = partition.head.key;
  Forget(key);
  Count(key, StatisticsOf(partition));
  asleep_.emplace(key, std::move(partition));
}

void PartitionTable::DropMemory(MemoryNumber memory) {
  for (const PartitionKey& key : KeysOf(memory)) Forget(key);
  sums_.erase(memory);
}

std::shared_ptr<const PublishedPartition> PartitionTable::Find(const PartitionKey& key) const {
  const auto at = awake_.find(key);
  return at == awake_.end() ? nullptr : at->second.published;
}

const SleepingPartition* PartitionTable::FindAsleep(const PartitionKey& key) const {
  const auto at = asleep_.find(key);
  return at == asleep_.end() ? nullptr : &at->second;
}

void PartitionTable::Select(MemoryNumber memory, const PartitionSelection& selection,
                            std::vector<std::shared_ptr<const IndexVersion>>& versions,
                            std::vector<SleepingPartition>& asleep) {
  const auto take = [&](Awake& awake) {
    awake.used = true;
    versions.push_back(awake.published->version);
  };
  if (selection.all) {
    for (auto at = awake_.lower_bound({memory, 0}); at != awake_.end() && at->first.memory == memory; ++at) {
      take(at->second);
    }
    for (auto at = asleep_.lower_bound({memory, 0}); at != asleep_.end() && at->first.memory == memory; ++at) {
      asleep.push_back(at->second);
    }
    return;
  }
  static constexpr PartitionId kDefault[] = {0};
  const absl::Span<const PartitionId> named = selection.partitions;
  for (const PartitionId partition : named.empty() ? absl::MakeConstSpan(kDefault) : named) {
    const PartitionKey key{memory, partition};
    if (const auto at = awake_.find(key); at != awake_.end()) {
      take(at->second);
    } else if (const SleepingPartition* sleeping = FindAsleep(key)) {
      asleep.push_back(*sleeping);
    }
  }
}

std::vector<PartitionKey> PartitionTable::KeysOf(MemoryNumber memory) const {
  std::vector<PartitionKey> keys = AwakeKeysOf(memory);
  const auto awake = static_cast<ptrdiff_t>(keys.size());
  for (auto at = asleep_.lower_bound({memory, 0}); at != asleep_.end() && at->first.memory == memory; ++at) {
    keys.push_back(at->first);
  }
  std::inplace_merge(keys.begin(), keys.begin() + awake, keys.end());
  return keys;
}

std::vector<PartitionKey> PartitionTable::AwakeKeys() const {
  std::vector<PartitionKey> keys;
  keys.reserve(awake_.size());
  for (const auto& [key, awake] : awake_) keys.push_back(key);
  return keys;
}

std::vector<PartitionKey> PartitionTable::AwakeKeysOf(MemoryNumber memory) const {
  std::vector<PartitionKey> keys;
  for (auto at = awake_.lower_bound({memory, 0}); at != awake_.end() && at->first.memory == memory; ++at) {
    keys.push_back(at->first);
  }
  return keys;
}

std::vector<PartitionKey> PartitionTable::ChooseSleepers(SleepersAre sleepers, size_t looks) {
  std::vector<PartitionKey> keys;
  for (looks = std::min(looks, awake_.size()); looks > 0; --looks) {
    auto at = awake_.upper_bound(hand_);
    if (at == awake_.end()) at = awake_.begin();
    hand_ = at->first;
    const bool may_sleep = sleepers == SleepersAre::kAny || !at->second.used;
    if (may_sleep && IsSmall(*at->second.published)) keys.push_back(at->first);
    at->second.used = false;
  }
  return keys;
}

double PartitionTable::Drift(std::set<PartitionKey>::const_iterator from,
                             std::set<PartitionKey>::const_iterator to) const {
  double drift = 0.0;
  for (; from != to; ++from) drift = std::max(drift, awake_.at(*from).published->drift);
  return drift;
}

uint64_t PartitionTable::LiveRows(const PartitionKey& key) const {
  if (const auto awake = Find(key); awake != nullptr) return awake->live_rows;
  const SleepingPartition* const asleep = FindAsleep(key);
  return asleep == nullptr ? 0 : asleep->head.live_rows;
}

MemoryStatistics PartitionTable::Statistics(MemoryNumber memory) const {
  const auto sum = sums_.find(memory);
  MemoryStatistics statistics = sum == sums_.end() ? MemoryStatistics() : sum->second;
  statistics.drift = Drift(indexed_.lower_bound({memory, 0}), indexed_.lower_bound({memory + 1, 0}));
  return statistics;
}

MemoryStatistics PartitionTable::Statistics() const {
  MemoryStatistics statistics = total_;
  statistics.drift = Drift(indexed_.begin(), indexed_.end());
  return statistics;
}

}  // namespace mneme
