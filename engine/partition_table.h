// PartitionTable: the partitions of a shard as readers see them: awake ones with their published version, and sleeping
// ones, of which only the head is in ram. What a partition costs that nobody asks for is a few words here.
#ifndef MNEME_ENGINE_PARTITION_TABLE_H_
#define MNEME_ENGINE_PARTITION_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "absl/types/span.h"
#include "engine/commands.h"
#include "engine/partition_index.h"
#include "index/search.h"
#include "storage/entry_store.h"

namespace mneme {

// A partition as readers see it.
struct PublishedPartition {
  std::shared_ptr<const IndexVersion> version;
  uint64_t live_rows = 0;
  uint64_t generation = 0;
  uint64_t tail_rows = 0;
  uint64_t tail_ram_bytes = 0;
  double drift = 0.0;
  RemovalCounts removed;
  std::vector<SegmentRecord> segments;
};

std::shared_ptr<const PublishedPartition> MakePublished(const PartitionIndex& partition);

// A partition whose rows are in the store only. Nothing is written to it before it is awake, so that its rows are those
// of its head for as long as it sleeps.
struct SleepingPartition {
  PartitionHead head;
  IndexSpec spec;
  uint64_t generation = 0;
  RemovalCounts removed;

  // True when `other`, the same partition at another time, has the same rows: an insert raises next_row, a death lowers
  // live_rows, and who empties a partition raises its generation.
  bool HasRowsOf(const SleepingPartition& other) const {
    return generation == other.generation && head.next_row == other.head.next_row &&
           head.live_rows == other.head.live_rows;
  }
};

// Which small partitions go to sleep while ram is short: those that were not used since the clock last passed them, or,
// when that is too few, any.
enum class SleepersAre { kUnused, kAny };

// What a partition counts, for statistics.
MemoryStatistics StatisticsOf(const PublishedPartition& partition);
MemoryStatistics StatisticsOf(const SleepingPartition& partition);

// Not thread-safe: the shard guards it.
class PartitionTable {
 public:
  // A partition without index files and with fewer than `small_rows` entries is small: it may sleep.
  explicit PartitionTable(uint64_t small_rows) : small_rows_(small_rows) {}

  // `key` is awake from now on, as `published` says.
  void Publish(const PartitionKey& key, std::shared_ptr<const PublishedPartition> published);
  // `partition` is asleep from now on, whether it was known or not.
  void LaySleeping(SleepingPartition partition);
  void DropMemory(MemoryNumber memory);

  // Somebody reads a version that is not published.
  void NoteRead(const PartitionKey& key, const std::shared_ptr<const IndexVersion>& version);
  // Versions that are not published, or not any more, and that somebody still reads; and of which partitions there may
  // be some.
  std::vector<std::shared_ptr<const IndexVersion>> StillRead(const PartitionKey& key) const;
  std::vector<PartitionKey> KeysStillReadOf(MemoryNumber memory) const;
  // Looks at so many that were noted, and forgets those that nobody reads any more.
  void TidyRead(size_t looks);

  // Null when `key` is asleep or unknown.
  std::shared_ptr<const PublishedPartition> Find(const PartitionKey& key) const;
  const SleepingPartition* FindAsleep(const PartitionKey& key) const;
  // The versions of the awake partitions that are selected, which count as used now, and the sleeping ones.
  void Select(MemoryNumber memory, const PartitionSelection& selection,
              std::vector<std::shared_ptr<const IndexVersion>>& versions, std::vector<SleepingPartition>& asleep);
  // Ascending; of sleeping partitions, too.
  std::vector<PartitionKey> KeysOf(MemoryNumber memory) const;
  std::vector<PartitionKey> AwakeKeys() const;
  std::vector<PartitionKey> AwakeKeysOf(MemoryNumber memory) const;

  // Awake partitions whose tail may hold enough living rows to be worth sealing.
  std::vector<PartitionKey> KeysWithLongTails() const { return {long_tails_.begin(), long_tails_.end()}; }
  bool IsSmall(const PublishedPartition& partition) const {
    return partition.segments.empty() && partition.live_rows < small_rows_;
  }
  // Small awake partitions that may go to sleep: a clock that goes on where it stopped and looks at `looks` partitions
  // at most.
  std::vector<PartitionKey> ChooseSleepers(SleepersAre sleepers, size_t looks);

  // Of one partition, awake or asleep; 0 where there is none.
  uint64_t LiveRows(const PartitionKey& key) const;
  MemoryStatistics Statistics(MemoryNumber memory) const;
  MemoryStatistics Statistics() const;
  uint64_t tail_ram_bytes() const { return total_.tail_ram_bytes; }

 private:
  struct Awake {
    std::shared_ptr<const PublishedPartition> published;
    bool used = true;
  };

  void Count(const PartitionKey& key, const MemoryStatistics& added);
  void Discount(const PartitionKey& key, const MemoryStatistics& gone);
  void Forget(const PartitionKey& key);
  // `published` goes from the table: it is noted when somebody has it, which is certain while the shard guards both.
  void Retire(const PartitionKey& key, const std::shared_ptr<const PublishedPartition>& published);
  double Drift(std::set<PartitionKey>::const_iterator from, std::set<PartitionKey>::const_iterator to) const;

  const uint64_t small_rows_;
  std::map<PartitionKey, Awake> awake_;
  std::map<PartitionKey, SleepingPartition> asleep_;
  // Awake partitions with at least as many living rows in their tail, and those with segments: few beside all.
  std::set<PartitionKey> long_tails_;
  std::set<PartitionKey> indexed_;
  // Sums over all partitions, without drift.
  std::map<MemoryNumber, MemoryStatistics> sums_;
  MemoryStatistics total_;
  PartitionKey hand_;  // of the clock
  // Some of them nobody reads any more; where TidyRead() goes on.
  std::multimap<PartitionKey, std::weak_ptr<const IndexVersion>> still_read_;
  std::multimap<PartitionKey, std::weak_ptr<const IndexVersion>>::iterator tidied_ = still_read_.end();
};

}  // namespace mneme

#endif  // MNEME_ENGINE_PARTITION_TABLE_H_
