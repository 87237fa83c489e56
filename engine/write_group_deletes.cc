// What goes: entries by id, rows of a filter, rows past their expiry, whole partitions.
#include <algorithm>
#include <utility>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/version.h"
#include "engine/write_group.h"

namespace mneme {

absl::StatusOr<bool> WriteGroup::IsAliveServerRow(const PartitionKey& key, const Change& change, EntryId id) const {
  const Row row = RowOfServerId(id);
  if (ShardOfServerId(id) != shard_ || row >= change.head.next_row || change.dead_set.contains(row)) return false;
  const auto partition = partitions_.find(key);
  const Row stored_end = partition != partitions_.end() ? partition->second->head().next_row : 0;
  if (row >= stored_end) {
    // Given in this group: alive when the row was given to a server id.
    return std::any_of(change.runs.begin(), change.runs.end(), [&](const Change::Run& run) {
      return run.gave_ids && row >= run.first_row && row < run.first_row + run.count;
    });
  }
  EntryColumns entry;
  ASSIGN_OR_RETURN(const bool found, store_.ReadRow(key, row, entry));
  return found && entry.ids[0] == id;
}

absl::StatusOr<WriteGroup::Known> WriteGroup::FindKnown(const DeleteOperation& operation) {
  return FindKnown(operation.ticket, [&](const RequestParts& parts) {
    return CoversDeletion(parts, *operation.ticket.memory, {operation.partitions, operation.all_partitions});
  });
}

absl::StatusOr<std::optional<WriteResult>> WriteGroup::FindReplay(const DeleteOperation& operation) {
  ASSIGN_OR_RETURN(Known known, FindKnown(operation));
  return std::move(known.replay);
}

absl::StatusOr<WriteResult> WriteGroup::PlanDeleteById(const DeleteOperation& operation) {
  ASSIGN_OR_RETURN(Known known, FindKnown(operation));
  if (known.replay.has_value()) return *std::move(known.replay);

  std::vector<EntryId> ids = *operation.ids;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  struct Victim {
    PartitionKey key;
    Row row;
    EntryId id;
  };
  std::vector<Victim> victims;
  absl::flat_hash_set<EntryId> found_ids;
  for (const PartitionId partition : operation.partitions) {
    const PartitionKey key{operation.ticket.memory->number, partition};
    const Change& change = ChangeOf(key, operation.ticket.memory->spec);
    ASSIGN_OR_RETURN(const auto rows, FindRows(key, change, ids));
    for (size_t i = 0; i < ids.size(); ++i) {
      std::optional<Row> row = rows[i];
      if (!row.has_value() && IsServerId(ids[i])) {
        ASSIGN_OR_RETURN(const bool alive, IsAliveServerRow(key, change, ids[i]));
        if (alive) row = RowOfServerId(ids[i]);
      }
      if (!row.has_value()) continue;
      victims.push_back({key, *row, ids[i]});
      found_ids.insert(ids[i]);
    }
  }
  RowsByPartition rows;
  for (const Victim& victim : victims) Widen(rows, victim.key.partition, victim.row, victim.row + 1);
  RETURN_IF_ERROR(GiveReceipt(operation.ticket, victims.size(), std::move(rows)));
  for (const Victim& victim : victims) Kill(victim.key, changes_[victim.key], victim.row, victim.id);
  WriteResult result;
  result.count = victims.size();
  result.other = ids.size() - found_ids.size();
  result.sequence = Take(operation.ticket.position);
  Remember(operation.ticket, std::move(known), 0, result);
  return result;
}

void WriteGroup::Widen(RowsByPartition& rows, PartitionId partition, Row first, Row end) {
  const auto [at, added] = rows.try_emplace(partition, first, end);
  if (added) return;
  at->second.first = std::min(at->second.first, first);
  at->second.second = std::max(at->second.second, end);
}

WriteGroup::RowsByPartition WriteGroup::RowsOf(absl::Span<const FoundRow> rows) {
  RowsByPartition by_partition;
  for (const FoundRow& found : rows) Widen(by_partition, found.key.partition, found.row, found.row + 1);
  return by_partition;
}

absl::Status WriteGroup::GiveReceipt(const WriteTicket& ticket, uint64_t deleted, RowsByPartition rows) {
  DeletionReceipt receipt;
  receipt.sequence = SequenceFor(ticket.position);
  receipt.memory = ticket.memory->number;
  receipt.deleted = deleted;
  receipt.stamp_ms = ticket.stamp_ms;
  if (ticket.position != 0) {
    // What parts of this very operation removed, be it before a crash.
    ASSIGN_OR_RETURN(const auto earlier, store_.ReadReceipts(receipt.sequence, 1));
    if (!earlier.empty() && earlier.front().sequence == receipt.sequence) {
      receipt.many_partitions = earlier.front().many_partitions;
      for (const DeletionReceipt::Rows& more : earlier.front().rows) {
        Widen(rows, more.partition, more.first_row, more.end_row);
      }
    }
  }
  receipt.many_partitions = receipt.many_partitions || rows.size() > limits::kMaxReceiptPartitions;
  if (!receipt.many_partitions) {
    for (const auto& [partition, range] : rows) receipt.rows.push_back({partition, range.first, range.second});
  }
  batch_.receipts.push_back(std::move(receipt));
  return absl::OkStatus();
}

void WriteGroup::KillRows(const MemorySpec& spec, absl::Span<const FoundRow> rows) {
  for (const FoundRow& found : rows) {
    Kill(found.key, ChangeOf(found.key, spec), found.row, found.id);
  }
}

void WriteGroup::PlanExpiry(const MemorySpec& spec, const PartitionKey& key, absl::Span<const StoredRow> rows) {
  const PartitionIndex& index = *partitions_.at(key);
  std::vector<FoundRow> alive;
  for (const StoredRow& stored : rows) {
    if (!index.IsDead(stored.row)) alive.push_back({key, stored.row, stored.id});
  }
  if (alive.empty()) return;
  KillRows(spec, alive);
  ChangeOf(key, spec).removed.expired += alive.size();
  Take(0);
}

absl::Status WriteGroup::PlanLoggedExpiry(const ExpireOperation& operation) {
  std::vector<FoundRow> due;
  EntryColumns read;
  for (const StoredRow& stored : operation.rows) {
    ASSIGN_OR_RETURN(const bool there, store_.ReadRow(operation.key, stored.row, read));
    if (!there) continue;
    const EntryView entry = read.At(0);
    const int64_t expiry_ms = entry.attributes.expiry_ms;
    if (entry.id == stored.id && expiry_ms != 0 && expiry_ms <= operation.stamp_ms) {
      due.push_back({operation.key, stored.row, stored.id});
    }
    read = EntryColumns();
  }
  const MemorySpec& spec = operation.memory->spec;
  if (!due.empty()) {
    KillRows(spec, due);
    ChangeOf(operation.key, spec).removed.expired += due.size();
  }
  Take(operation.position);
  return absl::OkStatus();
}

absl::Status WriteGroup::PlanDeletePart(const DeleteOperation& operation, absl::Span<const FoundRow> rows,
                                        uint64_t total) {
  const WriteTicket& ticket = operation.ticket;
  RETURN_IF_ERROR(GiveReceipt(ticket, ticket.position == 0 ? rows.size() : total, RowsOf(rows)));
  KillRows(ticket.memory->spec, rows);
  if (ticket.position == 0) {
    Take(0);
    return absl::OkStatus();
  }
  planned_ = true;
  batch_.forgotten_requests.clear();  // they go with the place of the operation
  if (ticket.request.has_value()) RememberBytes(ticket, ticket.position, EncodeOutcome({.count = total}));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> WriteGroup::DeletedBefore(const WriteTicket& ticket) const {
  if (ticket.position == 0 || !ticket.request.has_value()) return uint64_t{0};
  ASSIGN_OR_RETURN(const auto known, store_.FindRequest(ticket.request->id));
  if (!known.has_value() || known->sequence != ticket.position) return uint64_t{0};
  ASSIGN_OR_RETURN(const RememberedOutcome outcome, DecodeOutcome(known->result));
  return outcome.count;
}

absl::StatusOr<WriteResult> WriteGroup::PlanDeleteRows(const DeleteOperation& operation,
                                                       absl::Span<const FoundRow> rows, uint64_t total) {
  ASSIGN_OR_RETURN(Known known, FindKnown(operation));
  if (known.replay.has_value()) return *std::move(known.replay);
  RETURN_IF_ERROR(GiveReceipt(operation.ticket, total, RowsOf(rows)));
  KillRows(operation.ticket.memory->spec, rows);
  WriteResult result;
  result.count = total;
  result.sequence = Take(operation.ticket.position);
  Remember(operation.ticket, std::move(known), 0, result);
  return result;
}

absl::StatusOr<WriteResult> WriteGroup::PlanDropPartitions(const DeleteOperation& operation,
                                                           const std::vector<PartitionKey>& keys) {
  ASSIGN_OR_RETURN(Known known, FindKnown(operation));
  if (known.replay.has_value()) return *std::move(known.replay);
  RowsByPartition rows;
  uint64_t deleted = 0;
  for (const PartitionKey& key : keys) {
    const PartitionHead& head = ChangeOf(key, operation.ticket.memory->spec).head;
    deleted += head.live_rows;
    if (head.next_row > 0) Widen(rows, key.partition, 0, head.next_row);
  }
  RETURN_IF_ERROR(GiveReceipt(operation.ticket, deleted, std::move(rows)));
  WriteResult result;
  for (const PartitionKey& key : keys) {
    Change& change = ChangeOf(key, operation.ticket.memory->spec);
    result.count += change.head.live_rows;
    change.head.live_rows = 0;
    change.head.id_bound = 0;
    change.head.least_expiry_ms = 0;
    change.cleared = true;
    batch_.dropped_partitions.push_back(key);
  }
  result.sequence = Take(operation.ticket.position);
  Remember(operation.ticket, std::move(known), 0, result);
  return result;
}

}  // namespace mneme
