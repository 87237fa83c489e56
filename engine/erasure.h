// Erasure: takes what was deleted out of indexes and stores in the background, and notes how far that is.
//
// A deletion hides its entries at once; their bytes stay in segments, tails, tables and logs until something rewrites
// those. Deletions wait for each other, so that one run rewrites for all of them; then, for each shard by itself:
// 1. A run is noted that goes through the newest receipt (storage/receipt.h).
// 2. Index: whatever held a row that died then is rewritten or given up, and is gone once no reader, lease or file has
//    it (Maintenance::Erase); so is what readers of versions from before have of the rows (Shard::StillRead).
// 3. Store: tables that may hold the rows are compacted, and are gone once no reader has them (EntryStore::Erase).
// 4. The run is noted as finished, with the number of the last backup that was there.
// A step that was cut short is done again: each looks at what is there.
#ifndef MNEME_ENGINE_ERASURE_H_
#define MNEME_ENGINE_ERASURE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/backups.h"
#include "engine/maintenance.h"
#include "engine/row_spans.h"
#include "engine/shard.h"

namespace mneme {

// Everything is borrowed and must live until Stop().
struct ErasureOptions {
  std::vector<Shard*> shards;
  Maintenance* maintenance = nullptr;
  const Backups* backups = nullptr;  // null: there can be none
  const Clock* clock = nullptr;
  // How long a deletion waits for others: by its stamp, and no longer by a steady clock, for `clock` may be set back.
  int64_t after_ms = 0;
  // Drops what read-outs keep of a memory.
  std::function<void(MemoryNumber)> forget;
  EventSink events = {};  // may be empty
};

// Thread-safe.
class Erasure {
 public:
  explicit Erasure(ErasureOptions options);
  ~Erasure();
  // Gives up what is being done.
  void Cancel() { cancelled_ = true; }
  // The same, and ends the thread.
  void Stop();

  struct Counts {
    uint64_t deletions = 0;   // of which bytes may be left in an index or a store
    int64_t oldest_ms = 0;    // the stamp of the oldest of them; 0: there is none
    uint64_t runs = 0;        // that finished since the server started
  };
  Counts counts() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What some receipts say together.
  struct Gone {
    std::map<PartitionKey, RowSpans> rows;
    std::set<MemoryNumber> memories;  // with more partitions than a receipt names
    uint64_t receipts = 0;
    uint64_t ranges = 0;  // that those named
    int64_t oldest_ms = 0;
    std::chrono::steady_clock::time_point since = {};  // when the first of them was read
    Sequence through = 0;

    void Add(const DeletionReceipt& receipt);
    bool full() const;
    std::vector<DeletionReceipt> Receipts() const;
  };
  // What a partition had of it when the run first looked, and what readers had of it in versions from before.
  struct Looked {
    RowSpans rows;
    bool looked = false;
    std::vector<std::weak_ptr<const void>> parts;  // segments, chunks of a tail, a codebook
    std::vector<std::string> files;
    std::chrono::steady_clock::time_point next_try = {};
  };
  struct Work {
    Shard* shard = nullptr;
    bool loaded = false;
    Sequence finished = 0;          // the last finished run goes through it
    std::optional<ErasureRun> run;  // that is under way
    Gone gone;                      // of that run
    Gone waiting;                   // of receipts after it
    Sequence seen = 0;              // the last receipt that was read
    uint64_t kept = 0;              // receipts in the store
    std::map<PartitionKey, Looked> in_index;  // partitions whose index may still have some of it
    std::vector<std::string> stale_files;     // of the index, that nothing had when the run began
    std::chrono::steady_clock::time_point remove_stale = {};
    bool rewritten = false;         // the store was, in this run
    std::chrono::steady_clock::time_point next_try = {};
    uint64_t runs = 0;
  };

  void Run();
  absl::Status Advance(Work& work);
  // Reads what is noted of runs when the shard is first looked at.
  absl::Status Load(Work& work);
  // Those of the run, and as many as may wait; the others are in the store. CANCELLED once it was.
  absl::Status TakeReceipts(Work& work);
  bool IsDue(const Work& work) const;
  absl::Status Begin(Work& work);
  void Prepare(Work& work);
  // True when nothing is left.
  absl::StatusOr<bool> EraseIndexes(Work& work);
  absl::StatusOr<bool> EraseIndex(Shard& shard, const PartitionKey& key, Looked& looked);
  static bool StaleFilesAreGone(Work& work);
  static void Look(const Shard& shard, const PartitionKey& key, const PublishedPartition* partition, Looked& looked);
  // Drops what read-outs keep of the memories of a run.
  void Forget(const Work& work) const;
  absl::StatusOr<bool> EraseStore(Work& work);
  absl::Status Finish(Work& work, uint64_t last_backup);
  // The first receipt that is kept when there are too many; 0: all are.
  absl::StatusOr<Sequence> KeepFrom(Work& work) const;
  void Count(const std::vector<Work>& works) ABSL_LOCKS_EXCLUDED(mutex_);

  const ErasureOptions options_;
  std::atomic<bool> cancelled_{false};

  mutable Mutex mutex_;
  CondVar woken_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_ERASURE_H_
