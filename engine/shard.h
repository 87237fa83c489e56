// Shard: keeps the store and the index of its entries consistent. One writer applies a log of operations in order; any
// number of readers see immutable versions.
//
// - Writer thread: takes everything that waits, plans it as one group, commits it to the store, publishes new versions.
// - A small partition sleeps until it is first asked for: whoever asks reads its rows from the store and publishes
//   them; the writer adopts it before it applies anything to it.
// - Syncer thread: one sync covers everyone who waits for Durability::kSync, while the writer goes on.
// After a failed commit or sync nothing more is acknowledged: every later write gets that error (I1).
#ifndef MNEME_ENGINE_SHARD_H_
#define MNEME_ENGINE_SHARD_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/mutex.h"
#include "common/clock.h"
#include "engine/index_files.h"
#include "engine/index_thresholds.h"
#include "engine/partition_index.h"
#include "engine/partition_table.h"
#include "engine/state_expiries.h"
#include "engine/write_group.h"
#include "engine/write_operations.h"
#include "index/search.h"
#include "storage/entry_store.h"

namespace mneme {

// When a partition wants maintenance: soon, or once nothing more is loaded into it, so that a load is indexed once.
// kUnsorted: only its tail is to be sorted into lists.
enum class Urgency { kSoon, kAfterLoad, kUnsorted };

struct ShardOptions {
  uint32_t number = 0;
  std::unique_ptr<EntryStore> store;
  std::unique_ptr<IndexFiles> files;
  // Called by the writer when a partition wants maintenance: its tail is long enough to be sealed, or many rows died.
  std::function<void(uint32_t shard, const PartitionKey& key, Urgency urgency)> due;
  IndexThresholds thresholds;  // how long a tail is due
  uint32_t wake_threads = 1;   // that read sleeping partitions at once, when somebody asks for thousands
  EventSink events;            // may be empty
  // It applies the records of a log (engine/shard_log.h), in its order: every write has a position, and none comes from
  // elsewhere. What it stores is then the same as that of any other shard that applied as many.
  bool logged = false;
  size_t delete_group_rows = 65'536;  // that a delete by filter removes in one atomic batch
};

// Thread-safe.
class Shard {
 public:
  // Loads the partitions of `memories`; partitions of other memories below `next_number` were dropped and are removed.
  // Index files that are missing or damaged are rebuilt from the store before it returns (I2).
  static absl::StatusOr<std::unique_ptr<Shard>> Open(ShardOptions options, const std::vector<MemoryHandle>& memories,
                                                     MemoryNumber next_number);
  // Applies what was accepted, then stops.
  ~Shard();

  uint32_t number() const { return number_; }
  const EntryStore& store() const { return *store_; }
  IndexFiles& files() const { return *files_; }

  // Queues an operation; its callbacks are called on the shard's threads. RESOURCE_EXHAUSTED (and no callback) when too
  // many bytes wait; records of a log are taken all the same: who hands them over looks at queued_bytes().
  // FAILED_PRECONDITION for a write with a position on a shard without a log, or without one on a shard with one.
  // A record of a log that came before, or has a place before one that came, is dropped: ABORTED to its callback. One
  // that is refused is told why, and takes its place. When it is this replica that cannot apply one, that and all after
  // it are told write_status(), and nothing of them is stored.
  absl::Status Submit(WriteOperation operation);

  // The versions of one moment (I3), with the sequence up to which they hold every write; partitions that do not exist
  // are left out. Sleeping ones are read from the store first: DATA_LOSS when a record is damaged, what `limits` says
  // now and then while they are read.
  struct Snapshot {
    std::vector<std::shared_ptr<const IndexVersion>> versions;
    Sequence sequence = 0;
  };
  absl::StatusOr<Snapshot> TakeSnapshot(MemoryNumber memory, const PartitionSelection& selection,
                                        const CallLimits& limits);
  // Null when there is none; read from the store when it sleeps. Errors as of TakeSnapshot().
  absl::StatusOr<std::shared_ptr<const PublishedPartition>> PublishedOf(const PartitionKey& key);
  // Null, too, when it sleeps.
  std::shared_ptr<const PublishedPartition> AwakePartition(const PartitionKey& key) const;
  // Versions of it that are not published, or not any more, and that somebody still reads (a query, a scan, a lease);
  // and the partitions of a memory of which there may be some.
  std::vector<std::shared_ptr<const IndexVersion>> StillRead(const PartitionKey& key) const;
  std::vector<PartitionKey> KeysStillReadOf(MemoryNumber memory) const;
  // The partitions of a memory, ascending.
  std::vector<PartitionKey> KeysOf(MemoryNumber memory) const;
  // Those that have or may get an index: small ones that sleep are left out.
  std::vector<PartitionKey> AwakeKeysOf(MemoryNumber memory) const;
  std::vector<PartitionKey> AwakeKeys() const;
  // Those whose tail is long enough to be worth sealing.
  std::vector<PartitionKey> KeysWithLongTails() const;
  // Live entries of one partition.
  uint64_t LiveRows(const PartitionKey& key) const;
  // Costs the same however many partitions there are.
  MemoryStatistics Statistics(MemoryNumber memory) const;
  MemoryStatistics Statistics() const;

  // Looks at some partitions, and has the writer lay those of them to sleep that are small and chosen. Called while ram
  // is short.
  void LaySomeToSleep(SleepersAre sleepers);

  // The sequence up to which writes are visible.
  Sequence visible() const;
  // Calls `then` when `sequence` is visible (at once when it is), or with DEADLINE_EXCEEDED at the deadline.
  void WhenVisible(Sequence sequence, const CallLimits& limits, std::function<void(absl::Status)> then);
  // The blocking form.
  absl::Status AwaitVisible(Sequence sequence, const CallLimits& limits) const;
  // Gives up the waiters whose time is over, and forgets versions that nobody reads any more. Called now and then.
  void ExpireWaiters();

  // As EntryStore::NoteErasure(). After an error the shard takes no more writes.
  absl::Status NoteErasure(const ErasureRun& run, Sequence keep_from);

  // What expires, as the writer notes it and maintenance takes it.
  ExpiryQueue& expiries() { return expiries_; }
  StateExpiries& state_expiries() { return state_expiries_; }
  const StateExpiries& state_expiries() const { return state_expiries_; }

  uint64_t queued_bytes() const;
  // Ram of all tails.
  uint64_t tail_ram_bytes() const { return tail_ram_bytes_.load(); }
  // OK, or why writes are refused.
  absl::Status write_status() const;

 private:
  struct Waiter {
    CallLimits limits;
    std::function<void(absl::Status)> then;
  };

  explicit Shard(ShardOptions options);

  // A group with the tickets that were planned into it.
  struct Round {
    struct Planned {
      WriteTicket* ticket;
      absl::StatusOr<WriteResult> result;
    };
    std::unique_ptr<WriteGroup> group;
    std::vector<Planned> planned;
    std::vector<RememberedRequest> old_requests;  // to be forgotten with the next place that is taken
  };

  absl::Status Load(const std::vector<MemoryHandle>& memories, MemoryNumber next_number, const EventSink& events);
  void RunWriter();
  void RunSyncer();
  void Apply(std::deque<WriteOperation>& operations);
  // Of a log: false, and its callback told, when the operation came before. Others begin their place.
  bool TakePlace(Round& round, WriteOperation& operation);
  // Whatever `planned` says of the operation of a log at `position`, it takes its place; or this replica stops.
  void Pass(Round& round, Sequence position, const absl::Status& planned);
  // Adds an operation to the group, of which it is planned or refused.
  void Plan(Round& round, WriteTicket& ticket, absl::StatusOr<WriteResult> result);
  void Remember(Round& round, RememberOperation& operation);
  void ApplyDelete(Round& round, DeleteOperation& operation);
  // Plans a delete by filter or of whole partitions; the group is empty. A long one closes groups on its way.
  absl::StatusOr<WriteResult> PlanWide(Round& round, const DeleteOperation& operation);
  void NewGroup(Round& round);
  // Commits the round's group, publishes, tells who waits, and begins the next group.
  void Close(Round& round);
  // Tells a ticket its outcome, or fills `unsynced` when that waits for the next sync.
  void Finish(WriteTicket& ticket, absl::StatusOr<WriteResult> result,
              std::vector<std::function<void(absl::Status)>>& unsynced);
  // Calls `done` after the next sync.
  void AfterSync(std::function<void(absl::Status)> done);
  void ForgetOldRequests(Round& round);
  // Of the oldest those that are past their window at `now_ms`.
  std::vector<RememberedRequest> OldRequests(int64_t now_ms);
  absl::Status CommitIndexChange(const StoreBatch& batch);
  absl::Status Install(InstallOperation& operation);
  // The outcome of background work that found no living row: segments or tail rows go.
  absl::Status Discard(InstallOperation& operation, StoreBatch batch);
  absl::Status Expire(Round& round, const ExpireOperation& operation);
  absl::Status ExpireLogged(Round& round, const ExpireOperation& operation);
  absl::Status ExpireStates(Round& round, const ExpireStatesOperation& operation);
  // Tells `done` after the next sync.
  void Merge(Round& round, MergeOperation& operation);
  // The same as a log says it; the group is empty.
  void MergeRows(Round& round, MergeRowsOperation& operation);
  absl::Status DropMemory(MemoryNumber memory);
  void LayToSleep(const SleepOperation& operation);
  // What one call read of partitions that slept, by partition: some may sleep again before it is done, for want of ram,
  // and need not be read again while they have those rows.
  struct ReadPartition {
    SleepingPartition asleep;
    std::shared_ptr<const IndexVersion> version;
  };
  using ReadPartitions = absl::flat_hash_map<PartitionId, ReadPartition>;
  // Makes sleeping partitions of one memory ones that readers see, and adds their versions to `read`; any thread. The
  // writer adopts them later. DATA_LOSS when a record is damaged; what `limits` says between batches.
  absl::Status Wake(std::vector<SleepingPartition> asleep, const CallLimits& limits, ReadPartitions& read);
  absl::Status WakeBatch(absl::Span<const SleepingPartition> asleep, ReadPartitions& read);
  // The writer's: wakes and adopts, so that `partitions_` holds what there is of them.
  absl::Status WakeForWrite(MemoryNumber memory, absl::Span<const PartitionId> partitions);
  // The same for a partition that is about to be emptied: its rows are not read.
  void WakeEmpty(const PartitionKey& key);
  void AdoptWoken();
  void RemoveFiles(const SegmentRecord& record);
  void Publish(const std::vector<PartitionKey>& changed, Sequence sequence);
  void Refuse(absl::Status status);

  // Constant after construction.
  const uint32_t number_;
  const std::unique_ptr<EntryStore> store_;  // synchronises itself; Commit is called by the writer, Sync by the syncer
  const std::unique_ptr<IndexFiles> files_;
  const std::function<void(uint32_t, const PartitionKey&, Urgency)> due_;
  const IndexThresholds thresholds_;
  const size_t wake_threads_;
  const bool logged_;
  const size_t delete_group_rows_;

  // The writer's own.
  PartitionMap partitions_;
  Sequence sequence_ = 0;
  absl::flat_hash_set<MemoryNumber> dropped_;
  uint64_t remembered_ = 0;
  int64_t forget_from_ms_ = 0;  // before it no remembered request is old enough

  mutable Mutex queue_mutex_;
  CondVar queued_;
  std::deque<WriteOperation> queue_ ABSL_GUARDED_BY(queue_mutex_);
  uint64_t queued_bytes_ ABSL_GUARDED_BY(queue_mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(queue_mutex_) = false;
  absl::Status write_status_ ABSL_GUARDED_BY(queue_mutex_);

  Mutex sync_mutex_;
  CondVar sync_wanted_;
  std::vector<std::function<void(absl::Status)>> unsynced_ ABSL_GUARDED_BY(sync_mutex_);
  bool writer_done_ ABSL_GUARDED_BY(sync_mutex_) = false;

  mutable Mutex versions_mutex_;
  mutable CondVar published_more_;
  PartitionTable table_ ABSL_GUARDED_BY(versions_mutex_);
  std::vector<std::unique_ptr<PartitionIndex>> woken_ ABSL_GUARDED_BY(versions_mutex_);  // to be adopted by the writer
  Sequence visible_ ABSL_GUARDED_BY(versions_mutex_) = 0;
  std::multimap<Sequence, Waiter> waiters_ ABSL_GUARDED_BY(versions_mutex_);
  std::atomic<uint64_t> tail_ram_bytes_{0};
  ExpiryQueue expiries_;
  StateExpiries state_expiries_;

  std::thread writer_;
  std::thread syncer_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_H_
