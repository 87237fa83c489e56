// What a shard's writer applies, in order: inserts, deletes, installed segments, merged entries, dropped memories, and
// what sessions are asked.
#ifndef MNEME_ENGINE_WRITE_OPERATIONS_H_
#define MNEME_ENGINE_WRITE_OPERATIONS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/columns.h"
#include "engine/commands.h"
#include "engine/partition_index.h"
#include "engine/slot_table.h"
#include "engine/state_commands.h"
#include "engine/state_outcome.h"
#include "index/row_filter.h"
#include "storage/entry_store.h"

namespace mneme {

// Exactly-once: the hash of memory and request id, and a checksum of what is asked.
struct RequestIdentity {
  Hash128 id;
  uint64_t content = 0;
};

// What was done of a request before a restore onto another number of shards, by all of its shards of then.
struct EarlierOutcome {
  uint64_t count = 0;
  uint64_t other = 0;
  struct States {
    uint32_t shards = 0;
    uint32_t shard = 0;
    RememberedStates remembered;
  };
  std::vector<States> states;  // of a StateOperation
};

// What a shard did with a write.
struct WriteResult {
  uint64_t count = 0;  // inserted, or deleted
  uint64_t other = 0;  // replaced, or absent
  std::vector<EntryId> given_ids;
  Sequence sequence = 0;
  bool replayed = false;
  std::shared_ptr<const StateOutcome> states;  // of a StateOperation
  std::shared_ptr<const SlotAnswers> slots;    // of a RememberOperation
  // Of one that was remembered before such a restore: to be added once, whichever shards say it. It does not travel:
  // what is restored so is in one process.
  std::shared_ptr<const EarlierOutcome> earlier = {};
};

// Common to all writes of clients. `visible` may be null; `done` is called exactly once.
struct WriteTicket {
  MemoryHandle memory;
  std::optional<RequestIdentity> request;
  Durability durability = Durability::kSync;
  int64_t stamp_ms = 0;
  // Of a record of a log (engine/shard_log.h): the sequence that it gets whatever becomes of it, above all before it.
  // 0: the shard numbers its writes itself.
  Sequence position = 0;
  std::function<void()> visible;
  std::function<void(absl::StatusOr<WriteResult>)> done;
};

struct InsertOperation {
  WriteTicket ticket;
  PartitionId partition = 0;
  EntryColumns entries;
  // Part of a load: the partition is not sealed while more comes. What is promised is the same.
  bool bulk = false;
};

struct DeleteOperation {
  WriteTicket ticket;
  std::vector<PartitionId> partitions;  // of this shard; resolved when `all_partitions`
  bool all_partitions = false;
  std::optional<std::vector<EntryId>> ids;
  std::optional<RowFilter> filter;
  bool everything = false;
};

// What sessions are asked, in order with everything else of the shard.
struct StateOperation {
  WriteTicket ticket;
  StateRequest request;
};

// The outcome of background work: a segment file that is to take the place of the rows it covers. Without a segment:
// none of those rows is alive, and the segments that lie within them, or the tail, give them up.
struct InstallOperation {
  MemoryNumber memory = 0;
  InstalledSegment added;
  std::shared_ptr<const Codebook> codebook;
  uint64_t generation = 0;            // of the partition when the work began
  std::vector<Row> cleared_marks;     // dead rows that the new segment does not hold
  // ABORTED when the partition was emptied meanwhile; the file is then of no use.
  std::function<void(absl::Status)> done;
};

// Removes rows that are past their expiry. As maintenance found them; or as a log says, and then those of them whose
// stored expiry is at or before the stamp, whatever the generation: so the record means the same on every replica, and
// nothing when it comes twice.
struct ExpireOperation {
  MemoryHandle memory;
  PartitionKey key;
  uint64_t generation = 0;  // of the partition when they were found
  std::vector<StoredRow> rows;  // those that died since are left alone
  Sequence position = 0;        // as that of a ticket, and so is the stamp
  int64_t stamp_ms = 0;         // of a log alone
  std::function<void(absl::Status)> done;
};

// Removes sessions and states that are past their expiry; what was written anew since is left alone, and what is not
// due at the stamp.
struct ExpireStatesOperation {
  std::vector<StateExpiry> due;
  int64_t stamp_ms = 0;
  Sequence position = 0;  // as that of a ticket
  std::function<void(absl::Status)> done;
};

// A record of a log that changes nothing: a read marker, or one that was refused before it came to the shard, as `done`
// is told. It has its place like any other.
struct PassOperation {
  WriteTicket ticket;  // its memory may be null
  absl::Status refusal = {};
};

// What a merge came to.
struct MergeResult {
  uint64_t merged = 0;     // entries that went into another
  uint64_t overtaken = 0;  // entries that were to go, but they or their survivor died since
  Sequence sequence = 0;   // where a log has it; 0: there is none
};

// Merges entries into others: survivors are written anew with the weight of what they take in, which goes, all in one
// batch. Rows that died since they were chosen are left alone. Of a shard without a log.
struct MergeOperation {
  MemoryHandle memory;
  PartitionKey key;
  uint64_t generation = 0;            // of the partition when they were chosen
  EntryColumns survivors = {};        // as they are stored; their ids are all of the server, or none is
  std::vector<Row> rows = {};         // [survivors.count]
  std::vector<StoredRow> merged = {}; // survivor i takes in [offsets[i], offsets[i + 1])
  std::vector<size_t> offsets = {0};
  InsertOperation written = {};       // the writer's own: what it makes of the survivors
  std::function<void(absl::StatusOr<MergeResult>)> done = {};
};

// Which rows go into which: survivor i takes in the next taken[i] of `merged`.
struct RowMerges {
  std::vector<StoredRow> survivors = {};  // their ids are all of the server, or none is
  std::vector<uint32_t> taken = {};       // [survivors], none 0
  std::vector<StoredRow> merged = {};     // no row is among these and the survivors twice
};

// The same as a log says it: the rows alone, which the writer reads from its store. What is not there any more, or is
// of another id, is left alone, whatever became of the partition: so the record means the same on every replica, and
// nothing when it comes twice. Counted are entries that went into another, and those that were to go and did not.
struct MergeRowsOperation {
  WriteTicket ticket;  // no request: whoever prunes again chooses anew
  PartitionId partition = 0;
  RowMerges merges;
  InsertOperation written = {};  // the writer's own: what it makes of the survivors
};

// A learned write: observed in the order of the shard, and written as one insert.
struct RememberOperation {
  WriteTicket ticket;
  PartitionId partition = 0;
  SlotBatch batch;
  // The writer's own: the table, and what it makes of it.
  std::shared_ptr<SlotTable> table = {};
  InsertOperation written = {};
};

// From now on writes to the memory are NOT_FOUND.
struct CloseMemoryOperation {
  MemoryNumber memory = 0;
};

// Removes all of a memory, which is closed, too.
struct DropMemoryOperation {
  MemoryNumber memory = 0;
  std::function<void(absl::Status)> done;
};

// Partitions that give up their ram until they are asked for again; those that grew meanwhile stay.
struct SleepOperation {
  std::vector<PartitionKey> keys;
  // Those that have no index whatever their size: what died in them must not stay in ram.
  bool whatever_size = false;
};

using WriteOperation =
    std::variant<InsertOperation, DeleteOperation, InstallOperation, ExpireOperation, MergeOperation,
                 CloseMemoryOperation, DropMemoryOperation, SleepOperation, RememberOperation, StateOperation,
                 ExpireStatesOperation, PassOperation, MergeRowsOperation>;

// Where a log has an operation (WriteTicket::position), and when it was made.
struct LoggedMoment {
  Sequence position = 0;
  int64_t stamp_ms = 0;
};
// nullopt for what takes no sequence: what a shard does by itself at the one where it stands.
std::optional<LoggedMoment> MomentOf(const WriteOperation& operation);

uint64_t BytesOf(const EntryColumns& entries);
// Bytes that an operation holds while it waits.
uint64_t BytesOf(const WriteOperation& operation);

}  // namespace mneme

#endif  // MNEME_ENGINE_WRITE_OPERATIONS_H_
