// Maintenance: seals, merges and retrains in the background, one partition at a time.
//
// - Seal: the tail becomes a segment of the partition's codebook. Older segments that are at most twice as long as what
//   is written with them are merged in, so that lengths stay geometric and their number logarithmic.
// - Retrain: when a partition has grown so that it wants twice the lists (twice the rows while they are few, four times
//   beyond: ListsFor), a new codebook is trained and all rows go into one segment. So, too, when new rows lie far from
//   its centroids (engine/drift.h).
// - Compact: a segment of which more than a quarter of the rows died is written anew without them, or given up when all
//   did.
// - Sort: the newest rows beside an index go into lists (engine/tail_sorter.h), in a thread of their own.
// - Expire: rows, and sessions and states, past their expiry are removed (engine/expiry_sweep.h, engine/state_sweep.h).
// Crash-safe at every step: files are referenced only by the InstallOperation that the shard's writer commits.
#ifndef MNEME_ENGINE_MAINTENANCE_H_
#define MNEME_ENGINE_MAINTENANCE_H_

#include <atomic>
#include <chrono>
#include <map>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/disk_room.h"
#include "engine/expiry_sweep.h"
#include "engine/index_builder.h"
#include "engine/index_thresholds.h"
#include "engine/shard.h"
#include "engine/state_sweep.h"
#include "engine/sweep_log.h"
#include "engine/tail_sorter.h"

namespace mneme {

// Thread-safe.
class Maintenance {
 public:
  // `shards` are borrowed and must live until Stop(). `find_memory` returns nullptr for a dropped memory. When tails
  // hold more than `tail_ram_bytes`, the largest is sealed before its time, and small partitions that are not in use go
  // to sleep. `disk`, borrowed as well, has the index files. `tidy` is called now and then. `log`: of the one shard,
  // when it has one; what expired goes through that.
  Maintenance(std::vector<Shard*> shards, std::function<MemoryHandle(MemoryNumber)> find_memory,
              const Clock* clock, uint64_t tail_ram_bytes, const IndexThresholds& thresholds, const DiskRoom* disk,
              EventSink events, std::function<void()> tidy,
              const std::optional<SweepLogOptions>& log = std::nullopt);
  ~Maintenance();
  // Cancels what is being built and ends the thread; Wake() has no effect any more.
  void Stop();

  // Looks at a partition soon, or when it was not called for it for a few seconds.
  void Wake(uint32_t shard, const PartitionKey& key, Urgency urgency);
  bool busy() const { return busy_.load(); }

  // Brings one partition up to date in the caller's thread: its tail is sealed whatever its length, unless it is empty
  // or too short to be worth an index, and segments with many dead rows are compacted. CANCELLED when `progress`
  // returns false; ABORTED when it was emptied meanwhile; RESOURCE_EXHAUSTED (STORAGE_LOW) when a segment for the tail
  // would leave less than the reserve of the disk.
  absl::Status Build(Shard& shard, const PartitionKey& key, bool retrain,
                     const std::function<bool(const BuildProgress&)>& progress) ABSL_LOCKS_EXCLUDED(build_mutex_);
  // Waits for the build that is under way, if there is one: what died before is in no later one. Returns the paths of
  // index files that no partition has then: they are being removed, or could not be.
  std::vector<std::string> AwaitBuild(const Shard& shard) ABSL_LOCKS_EXCLUDED(build_mutex_);
  // Takes what died out of the index of one partition: segments that hold some of it are written anew, all of them on a
  // new codebook if it `retrains`; a tail that does is sealed, or without an index given up, to be read from the store
  // again. The last is not done yet when this returns. ABORTED as above.
  absl::Status Erase(Shard& shard, const PartitionKey& key, bool retrains,
                     const std::function<bool(const BuildProgress&)>& progress) ABSL_LOCKS_EXCLUDED(build_mutex_);
  // Builds all of one partition anew on what is given, centroids among it. False when it is too short for an index.
  // Errors as of Build().
  absl::StatusOr<bool> BuildOn(Shard& shard, const PartitionKey& key, const GivenParts& given,
                               const std::function<bool(const BuildProgress&)>& progress)
      ABSL_LOCKS_EXCLUDED(build_mutex_);

 private:
  using Progress = std::function<bool(const BuildProgress&)>;

  void Run();
  // What a codebook is trained for, and on: `given` as in BuildRequest.
  struct Training {
    bool anew = false;
    GivenParts given = {};
    bool erases = false;  // however few rows are alive
  };
  // Which segments are written anew: with many dead rows, or with any.
  enum class Rewritten { kWithMany, kWithAny };
  // False when there was nothing to seal or too little.
  absl::StatusOr<bool> Seal(Shard& shard, const PartitionKey& key, const Training& training, const Progress& progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(build_mutex_);
  absl::Status Compact(Shard& shard, const PartitionKey& key, const Progress& progress,
                       Rewritten rewritten = Rewritten::kWithMany) ABSL_EXCLUSIVE_LOCKS_REQUIRED(build_mutex_);
  absl::Status CompactSegment(Shard& shard, const PublishedPartition& partition, size_t segment, uint64_t dead,
                              const Progress& progress) ABSL_EXCLUSIVE_LOCKS_REQUIRED(build_mutex_);
  absl::Status InstallAndWait(Shard& shard, BuiltSegment built, uint64_t generation, std::vector<Row> marks,
                              bool trained);
  void WorkIfDue(Shard& shard, const PartitionKey& key);
  // Runs `work` on a partition unless it failed a moment ago.
  void InBackground(Shard& shard, const PartitionKey& key, const std::function<absl::Status(const Progress&)>& work);
  void Sweep();
  void RelievePressure();
  void ExpireWaiters() const;

  const std::vector<Shard*> shards_;
  const std::function<MemoryHandle(MemoryNumber)> find_memory_;
  const Clock* const clock_;
  const uint64_t tail_ram_bytes_;
  const IndexThresholds thresholds_;
  const DiskRoom* const disk_;
  const EventSink events_;
  const std::function<void()> tidy_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> cancelled_{false};

  Mutex build_mutex_;  // one build at a time; held during I/O, never by a query or a write

  Mutex mutex_;
  CondVar woken_;
  std::set<std::pair<uint32_t, PartitionKey>> due_ ABSL_GUARDED_BY(mutex_);
  // Partitions that are being loaded, and when a pause makes them due.
  std::map<std::pair<uint32_t, PartitionKey>, std::chrono::steady_clock::time_point> loading_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // The background thread's own: partitions whose maintenance failed, and when it may be tried again; the sweep.
  std::map<std::pair<uint32_t, PartitionKey>, std::chrono::steady_clock::time_point> failed_;
  // One log for each, which does not wait for what the other appended.
  const std::unique_ptr<SweepLog> row_log_;
  const std::unique_ptr<SweepLog> state_log_;
  ExpirySweep sweep_;
  StateSweep state_sweep_;
  TailSorter sorter_;
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_MAINTENANCE_H_
