// EntryStore: the durable truth of one shard (I2). Everything else of a shard can be rebuilt from it.
#ifndef MNEME_STORAGE_ENTRY_STORE_H_
#define MNEME_STORAGE_ENTRY_STORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checksum.h"
#include "common/columns.h"
#include "common/types.h"
#include "storage/receipt.h"
#include "storage/states.h"

namespace mneme {

// Names a part of a memory on this shard.
struct PartitionKey {
  MemoryNumber memory = 0;
  PartitionId partition = 0;
  friend auto operator<=>(const PartitionKey&, const PartitionKey&) = default;
};

// Where a partition stands: written with every batch that changes it.
struct PartitionHead {
  PartitionKey key;
  Row next_row = 0;        // rows [0, next_row) were given
  uint64_t live_rows = 0;  // of which so many are alive
  EntryId id_bound = 0;    // every client id that is mapped is below it: ascending ids need no look-up
  int64_t least_expiry_ms = 0;  // no entry of it expires before; 0: none does
};

// An index file that covers rows [first_row, end_row) of a partition; file names derive from the number.
struct SegmentRecord {
  PartitionKey key;
  uint64_t file_number = 0;
  uint64_t codebook_number = 0;
  Row first_row = 0;
  Row end_row = 0;
  friend bool operator==(const SegmentRecord&, const SegmentRecord&) = default;
};

// What one shard did of a request, in a deployment of before a restore onto another number of shards.
struct RequestPart {
  uint32_t shards = 0;  // of that deployment
  uint32_t shard = 0;
  std::string result = {};  // as RememberedRequest::result
  friend bool operator==(const RequestPart&, const RequestPart&) = default;
};

// The remembered outcome of a request id (exactly-once, P4).
struct RememberedRequest {
  Hash128 id;             // of memory and request id
  uint64_t content = 0;   // checksum of what was asked: the same id with other content is refused
  Sequence sequence = 0;  // at which it was applied
  int64_t stamp_ms = 0;
  std::string result;     // opaque to storage
  // Of one from before such a restore. Every shard has all parts, since nothing here tells what of the request will
  // come its way. `result` is then what this shard did of it since; empty: nothing.
  std::vector<RequestPart> earlier = {};
};

// One atomic change of a shard. Borrowed columns must live until Commit() returns. Its parts take effect in this order:
// dropped partitions, runs, deaths, heads, forgotten requests, requests, removed segments, added segments, cleared
// marks, states, receipts.
struct StoreBatch {
  // Entries columns[begin, end) become rows first_row, first_row + 1, ...
  struct Run {
    PartitionKey key;
    Row first_row = 0;
    const EntryColumns* columns = nullptr;
    size_t begin = 0;
    size_t end = 0;
    bool map_ids = true;   // false: server-given ids carry this row and need no map
    // The ids ascend, and all lie above every client id that was mapped in the partition since it was last dropped.
    bool new_ids = false;
  };
  struct Death {
    PartitionKey key;
    Row row = 0;
    EntryId id = 0;
    bool unmap_id = false;  // false for an overwrite: the id maps to its new row in the same batch
  };

  // Stored with the batch: what was applied and its position are one write (I7). At least applied(): housekeeping that
  // no client waits for may repeat it.
  Sequence sequence = 0;
  std::vector<PartitionKey> dropped_partitions = {};  // everything of them goes, before the runs are applied
  std::vector<Run> runs = {};
  std::vector<Death> deaths = {};  // the row goes, and a dead mark stays for segments that still hold it
  std::vector<PartitionHead> heads = {};
  std::vector<RememberedRequest> requests = {};
  // Only id and sequence are read; a request remembered anew at another sequence stays.
  std::vector<RememberedRequest> forgotten_requests = {};
  std::vector<SegmentRecord> removed_segments = {};
  std::vector<SegmentRecord> added_segments = {};
  std::vector<Death> cleared_marks = {};  // dead marks that no segment needs any more; only key and row are read
  StateWrites states = {};
  std::vector<DeletionReceipt> receipts = {};  // one of a sequence takes the place of the one that it had
};

// Rows [first_row, end_row) of a partition.
struct RowRange {
  PartitionKey key;
  Row first_row = 0;
  Row end_row = 0;
};

// One shard's store. Commit() and Sync() may be called by different threads at once; each by one thread at a time.
// Reads are thread-safe. Implementations: RocksDbEntryStore (the product), MemoryEntryStore (the oracle of tests).
class EntryStore {
 public:
  virtual ~EntryStore() = default;

  // Applies `batch` atomically. When it returns OK the batch survives a killed process (Durability::kWritten) and is
  // visible to reads. RESOURCE_EXHAUSTED when the disk is full. After any error the store takes no more writes:
  // later calls return the same error until it is opened again.
  virtual absl::Status Commit(const StoreBatch& batch) = 0;

  // Makes every batch committed before the call survive power loss (Durability::kSync) and returns the highest sequence
  // that is now durable. After an error nothing more is acknowledged: later calls to Commit() and Sync() return it.
  virtual absl::StatusOr<Sequence> Sync() = 0;

  // The sequence of the last committed batch; 0 in an empty store.
  virtual Sequence applied() const = 0;
  // Whether entries may have server-given ids that do not name their row: those of before a restore onto another number
  // of shards, which are mapped. Never changes.
  virtual bool maps_server_ids() const = 0;

  // Calls `visit` for each stored row of [first_row, end_row) in row order, from one consistent snapshot, until it
  // returns false. DATA_LOSS when a record is damaged.
  virtual absl::Status ScanRows(const PartitionKey& key, Row first_row, Row end_row,
                                const std::function<bool(Row, const EntryView&)>& visit) const = 0;

  // The same for `ranges`, which ascend by partition: one pass over the store from the first to the last, which passes
  // over what lies between them. `visit` is told which range a row is of.
  virtual absl::Status ScanRanges(absl::Span<const RowRange> ranges,
                                  const std::function<bool(size_t range, Row, const EntryView&)>& visit) const = 0;

  // The row of a mapped id, or nullopt: of client ids, and of server-given ones where maps_server_ids() says so.
  virtual absl::StatusOr<std::optional<Row>> FindRow(const PartitionKey& key, EntryId id) const = 0;
  // The rows of many such ids at once (one MultiGet), in their order.
  virtual absl::StatusOr<std::vector<std::optional<Row>>> FindRows(const PartitionKey& key,
                                                                   absl::Span<const EntryId> ids) const = 0;
  // Appends the entry at `row` to `out` and returns true; false when there is none.
  virtual absl::StatusOr<bool> ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const = 0;

  virtual absl::StatusOr<std::optional<RememberedRequest>> FindRequest(const Hash128& id) const = 0;
  // The oldest remembered requests, at most `limit`, in order of sequence (results are not filled).
  virtual absl::StatusOr<std::vector<RememberedRequest>> OldestRequests(size_t limit) const = 0;
  // The one of the highest sequence, without its result; nullopt when none is remembered.
  virtual absl::StatusOr<std::optional<RememberedRequest>> LatestRequest() const = 0;
  virtual absl::StatusOr<uint64_t> CountRequests() const = 0;

  // The first receipts of deletions from sequence `first` on, at most `limit`, ascending; and the same of the runs of
  // their erasure, by where they go through.
  virtual absl::StatusOr<std::vector<DeletionReceipt>> ReadReceipts(Sequence first, size_t limit) const = 0;
  virtual absl::StatusOr<std::vector<ErasureRun>> ReadErasures(Sequence first, size_t limit) const = 0;
  // Writes how far a run is, and forgets receipts, and other runs, below `keep_from`; durable when it returns, for what
  // was told of a receipt stays so. May be called beside all others; errors are those of Commit() and Sync().
  virtual absl::Status NoteErasure(const ErasureRun& run, Sequence keep_from) = 0;
  // Rewrites whatever tables may hold the rows of `receipts` that were deleted, so that no table which is in use holds
  // them, nor any part of the log that is. Blocks for as long as reading and writing those tables takes; may be called
  // beside all others. CANCELLED once `cancelled` is set.
  virtual absl::Status Erase(absl::Span<const DeletionReceipt> receipts, std::atomic<bool>& cancelled) const = 0;
  // Whether the files that the last Erase() replaced are gone: reads may go on in them for a while.
  virtual absl::StatusOr<bool> OldFilesAreGone() const = 0;

  // What a shard reads when it opens.
  virtual absl::StatusOr<std::vector<PartitionHead>> ReadHeads() const = 0;
  virtual absl::StatusOr<std::vector<SegmentRecord>> ReadSegments() const = 0;
  virtual absl::StatusOr<std::vector<Row>> ReadDeadMarks(const PartitionKey& key) const = 0;

  // Working memory as of now; the store must outlive the reader.
  virtual std::unique_ptr<StateReader> ReadStates() const = 0;

  // Removes everything of a memory, in ranges; idempotent. Called only after its drop is durable in the catalogue.
  virtual absl::Status DropMemory(MemoryNumber memory) = 0;

  // Moves what is in the log alone to tables, so that a checkpoint copies little; may be called beside all others.
  virtual absl::Status Flush() const = 0;
  // Makes the directory `path`, on the same disk, the store as of a moment during the call; may be called beside all
  // others. UNIMPLEMENTED where there are no files.
  virtual absl::Status Checkpoint(const std::string& path) const = 0;

  // Bytes that the records of a memory, or of one partition of it, take in tables and in ram: an estimate of the
  // store's own, for which it reads no records. What was deleted or replaced counts until it is merged away. Sessions
  // are of a memory whole.
  virtual absl::StatusOr<uint64_t> BytesOf(MemoryNumber memory, std::optional<PartitionId> partition) const = 0;
  // Bytes on disk, for statistics.
  virtual uint64_t DiskBytes() const = 0;
  // Flushes and compacts everything (bulk load, statistics of bytes on disk).
  virtual absl::Status Compact() = 0;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_ENTRY_STORE_H_
