// WriteGroup: plans a run of writes as one atomic batch (group commit), each seeing the effects of those before it.
#ifndef MNEME_ENGINE_WRITE_GROUP_H_
#define MNEME_ENGINE_WRITE_GROUP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/earlier_requests.h"
#include "engine/partition_index.h"
#include "engine/session_planner.h"
#include "engine/write_operations.h"
#include "storage/entry_store.h"

namespace mneme {

using PartitionMap = std::map<PartitionKey, std::unique_ptr<PartitionIndex>>;

struct StateExpiryPlan {
  ExpiredStates removed;
  absl::Status damaged;  // DATA_LOSS of what could not be read, and so was left alone; OK when there was none
};

// Nothing is changed until Commit(): a group that fails leaves the shard as it was. Not thread-safe. The operations
// that were planned must live until Commit() returns (their columns are borrowed).
//
// An operation that has a position (WriteTicket::position) takes that for its sequence, any other the next one.
class WriteGroup {
 public:
  WriteGroup(EntryStore& store, PartitionMap& partitions, uint32_t shard, Sequence first_sequence);

  // The remembered result when the deletion was applied before.
  absl::StatusOr<std::optional<WriteResult>> FindReplay(const DeleteOperation& operation);
  // Plans one operation and returns what it will have done. FAILED_PRECONDITION when its request id was used with other
  // content; other errors are the store's. A failed plan leaves the group as it was before it.
  absl::StatusOr<WriteResult> PlanInsert(InsertOperation& operation);
  // The group is empty before it, and committed before anything else is planned. The error of SlotTable otherwise.
  absl::StatusOr<WriteResult> PlanRemember(RememberOperation& operation);
  absl::StatusOr<WriteResult> PlanDeleteById(const DeleteOperation& operation);
  struct FoundRow {
    PartitionKey key;
    Row row = 0;
    EntryId id = 0;
  };
  // Rows of a filter, found in the published version; the group must be empty before. PlanDeletePart() is for those
  // that do not fit one batch, of which `total` are gone after it; PlanDeleteRows() then takes the last and answers for
  // all. A part of an operation with a position does not take that: after a crash in between, a log hands the whole
  // operation over again.
  absl::Status PlanDeletePart(const DeleteOperation& operation, absl::Span<const FoundRow> rows, uint64_t total);
  absl::StatusOr<WriteResult> PlanDeleteRows(const DeleteOperation& operation, absl::Span<const FoundRow> rows,
                                             uint64_t total);
  // What parts of this very operation removed before a crash.
  absl::StatusOr<uint64_t> DeletedBefore(const WriteTicket& ticket) const;
  // Rows that are past their expiry; those that are dead already are left alone.
  void PlanExpiry(const MemorySpec& spec, const PartitionKey& key, absl::Span<const StoredRow> rows);
  // As ExpireOperation says for those of a log; the partition must exist, and the group be empty before. Errors are the
  // store's.
  absl::Status PlanLoggedExpiry(const ExpireOperation& operation);
  // The group must be empty before, and is of no use after an error. A merge that finds nothing alive leaves it empty.
  absl::StatusOr<MergeResult> PlanMerge(MergeOperation& operation);
  // The same. Errors are the store's.
  absl::StatusOr<WriteResult> PlanMergeRows(MergeRowsOperation& operation);
  // Whole partitions; the group must be empty before.
  absl::StatusOr<WriteResult> PlanDropPartitions(const DeleteOperation& operation,
                                                 const std::vector<PartitionKey>& keys);

  absl::StatusOr<WriteResult> PlanStates(const StateOperation& operation);
  // The group is empty before it, and of no use after an error.
  absl::StatusOr<StateExpiryPlan> PlanStateExpiry(const ExpireStatesOperation& operation);

  // Forgets remembered requests that are past their window: with the batch, and for operations with a position that are
  // planned after it.
  void Forget(std::vector<RememberedRequest> requests) { batch_.forgotten_requests = std::move(requests); }
  // Whatever became of the operation of a log at `position`, the batch takes its place.
  void Pass(Sequence position) { Take(position); }

  bool empty() const { return !planned_; }
  Sequence last_sequence() const { return sequence_; }
  // Of planned states of sessions.
  uint64_t state_bytes() const { return states_ == nullptr ? 0 : states_->bytes(); }
  size_t requests() const { return batch_.requests.size(); }
  // Of what was committed of sessions, the least expiry; kNeverExpires when nothing of it expires.
  int64_t least_state_expiry_ms() const;
  // Commits to the store, then applies to the partitions. Tells which partitions changed, and which segments belong to
  // partitions that were emptied.
  absl::Status Commit(std::vector<PartitionKey>& changed, std::vector<SegmentRecord>& orphaned);

 private:
  // What the group does to one partition.
  struct Change {
    PartitionHead head;
    struct Run {
      const EntryColumns* columns = nullptr;
      size_t count = 0;
      Row first_row = 0;
      bool gave_ids = false;
    };
    std::vector<Run> runs;
    std::vector<Row> dead;
    bool cleared = false;
    bool loads = false;    // an insert of it is part of a load
    Row oldest_row = 0;    // no row below it is alive, as far as evictions looked
    RemovalCounts removed;
    // Ids that this group mapped or unmapped.
    absl::flat_hash_map<EntryId, std::optional<Row>> mapped;
    absl::flat_hash_set<Row> dead_set;
    // Client ids that this group unmapped: where in batch_.deaths.
    absl::flat_hash_map<EntryId, size_t> unmapped;
  };

  // The sequence that an operation with `position`, or none (0), is to have.
  Sequence SequenceFor(Sequence position) const { return position != 0 ? position : sequence_ + 1; }
  // Gives it that sequence.
  Sequence Take(Sequence position) {
    planned_ = true;
    return sequence_ = SequenceFor(position);
  }
  Change& ChangeOf(const PartitionKey& key, const MemorySpec& spec);
  // What was remembered under the ticket's request id; FAILED_PRECONDITION when that was with other content.
  absl::StatusOr<std::optional<RememberedRequest>> FindRemembered(const WriteTicket& ticket);
  bool IsKnownTo(const WriteTicket& ticket, const RememberedRequest& known) const;
  // What is said of a remembered result that is of another kind of write, though the checksum of what was asked is the
  // same: of a record of a log that is no reason to stop, since every replica would.
  static absl::Status NotDecoded(const WriteTicket& ticket, absl::Status why);
  // Of an insert or a deletion.
  struct Known {
    std::optional<WriteResult> replay;  // all of it was done
    // Else what was done of it before a restore onto another number of shards.
    RequestParts parts;
    std::shared_ptr<const EarlierOutcome> earlier;
  };
  // `covers` says whether such parts are all that this shard has to do.
  absl::StatusOr<Known> FindKnown(const WriteTicket& ticket, absl::FunctionRef<bool(const RequestParts&)> covers);
  absl::StatusOr<Known> FindKnown(const DeleteOperation& operation);
  void RememberBytes(const WriteTicket& ticket, Sequence sequence, std::string result, RequestParts parts = {});
  // Notes in `result` what was done before.
  void Remember(const WriteTicket& ticket, Known known, Row first_row, WriteResult& result);
  // As PlanStates(), of a request that was remembered before such a restore.
  absl::StatusOr<WriteResult> PlanRestOfStates(const StateOperation& operation, const StateMoment& moment,
                                               const RememberedRequest& known);
  absl::StatusOr<std::vector<std::optional<Row>>> FindRows(const PartitionKey& key, const Change& change,
                                                           const std::vector<EntryId>& ids) const;
  // Whether a server-given id that is not mapped has an entry, at the row that it names.
  absl::StatusOr<bool> IsAliveServerRow(const PartitionKey& key, const Change& change, EntryId id) const;
  // The rows that a capacity takes when `entries` come, oldest first: of what is stored and of what the group planned.
  // Rows of `overwritten` go anyway.
  absl::StatusOr<std::vector<StoredRow>> FindEvicted(const PartitionKey& key, const Change& change, uint64_t count,
                                                     const absl::flat_hash_set<Row>& overwritten);
  void Evict(const PartitionKey& key, Change& change, const StoredRow& victim);
  // Whether the store has that entry in that row; `out` has then nothing else.
  absl::StatusOr<bool> ReadStored(const PartitionKey& key, const StoredRow& stored, EntryColumns& out) const;
  void KillRows(const MemorySpec& spec, absl::Span<const FoundRow> rows);
  // The rows that go of each partition, from the least to one past the greatest.
  using RowsByPartition = std::map<PartitionId, std::pair<Row, Row>>;
  static void Widen(RowsByPartition& rows, PartitionId partition, Row first, Row end);
  static RowsByPartition RowsOf(absl::Span<const FoundRow> rows);
  // Puts the receipt of a deletion into the batch, under the sequence that it is to have. Errors are the store's.
  absl::Status GiveReceipt(const WriteTicket& ticket, uint64_t deleted, RowsByPartition rows);
  // Turns partitions that the group leaves without a live row into empty ones.
  void DropEmptied();
  void MapAgain(Change& change, EntryId id);
  // One that was found: its id goes from the map when it is there.
  void Kill(const PartitionKey& key, Change& change, Row row, EntryId id);
  // One whose id is mapped to another row by the same batch.
  void KillOverwritten(const PartitionKey& key, Change& change, Row row, EntryId id);

  EntryStore& store_;
  PartitionMap& partitions_;
  const uint32_t shard_;
  Sequence sequence_;
  bool planned_ = false;
  StoreBatch batch_;
  std::map<PartitionKey, Change> changes_;
  std::unique_ptr<SessionPlanner> states_;  // from the first StateOperation on
  std::map<PartitionKey, IndexSpec> specs_;
  absl::flat_hash_map<uint64_t, size_t> request_of_hash_;  // low half of the hash -> position in batch_.requests
};

}  // namespace mneme

#endif  // MNEME_ENGINE_WRITE_GROUP_H_
