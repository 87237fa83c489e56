// What comes in: inserts with their overwrites and evictions, and merged entries, which are written anew.
#include <algorithm>
#include <functional>
#include <utility>

#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/write_group.h"

namespace mneme {
namespace {

// Keeps the last of entries with equal ids, in order. Returns how many went.
uint64_t KeepLastOfEqualIds(EntryColumns& entries) {
  const auto& ids = entries.ids;
  if (std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end()) return 0;
  absl::flat_hash_set<EntryId> seen;
  std::vector<bool> keep(entries.count);
  for (size_t i = entries.count; i-- > 0;) keep[i] = seen.insert(ids[i]).second;
  if (seen.size() == entries.count) return 0;
  EntryColumns kept;
  kept.values.width = entries.values.width;
  for (size_t i = 0; i < entries.count; ++i) {
    if (keep[i]) kept.Append(entries.At(i));
  }
  const uint64_t gone = entries.count - kept.count;
  entries = std::move(kept);
  return gone;
}

}  // namespace

void WriteGroup::MapAgain(Change& change, EntryId id) {
  // The store maps ids before it unmaps those of deaths: an id that was deleted in this group and comes back stays.
  const auto unmapped = change.unmapped.find(id);
  if (unmapped == change.unmapped.end()) return;
  batch_.deaths[unmapped->second].unmap_id = false;
  change.unmapped.erase(unmapped);
}

absl::StatusOr<std::vector<StoredRow>> WriteGroup::FindEvicted(const PartitionKey& key, const Change& change,
                                                               uint64_t count,
                                                               const absl::flat_hash_set<Row>& overwritten) {
  std::vector<StoredRow> found;
  const auto partition = partitions_.find(key);
  if (partition != partitions_.end() && !change.cleared) {
    PartitionIndex& index = *partition->second;
    const auto gone = [&](Row row) {
      return index.IsDead(row) || change.dead_set.contains(row) || overwritten.contains(row);
    };
    RETURN_IF_ERROR(
        index.oldest().Find(store_, key, change.oldest_row, index.head().next_row, count, gone, found));
  }
  for (const Change::Run& run : change.runs) {
    const Row end = run.first_row + run.count;
    for (Row row = std::max(run.first_row, change.oldest_row); row < end && found.size() < count; ++row) {
      if (change.dead_set.contains(row) || overwritten.contains(row)) continue;
      found.push_back({row, run.columns->ids[row - run.first_row]});
    }
  }
  return found;
}

void WriteGroup::Evict(const PartitionKey& key, Change& change, const StoredRow& victim) {
  Kill(key, change, victim.row, victim.id);
  change.oldest_row = victim.row + 1;
  ++change.removed.evicted;
}

absl::StatusOr<WriteResult> WriteGroup::PlanInsert(InsertOperation& operation) {
  const MemoryRecord& memory = *operation.ticket.memory;
  EntryColumns& entries = operation.entries;
  const bool give_ids = entries.ids.empty();
  ASSIGN_OR_RETURN(Known known, FindKnown(operation.ticket, [&](const RequestParts& parts) {
                     // One without ids is of one shard.
                     if (!give_ids) RemoveCovered(parts, memory, operation.partition, entries);
                     return give_ids || entries.count == 0;
                   }));
  if (known.replay.has_value()) return *std::move(known.replay);

  const PartitionKey key{memory.number, operation.partition};
  Change& change = ChangeOf(key, memory.spec);
  WriteResult result;
  result.count = entries.count;
  std::vector<std::optional<Row>> old_rows;
  if (!give_ids) {
    result.other = KeepLastOfEqualIds(entries);
    ASSIGN_OR_RETURN(old_rows, FindRows(key, change, entries.ids));
  }
  absl::flat_hash_set<Row> overwritten;
  for (const std::optional<Row>& row : old_rows) {
    if (row.has_value()) overwritten.insert(*row);
  }
  const uint64_t capacity = memory.spec.capacity;
  const uint64_t live_after = change.head.live_rows - overwritten.size() + entries.count;
  const uint64_t excess = capacity == 0 || live_after <= capacity ? 0 : live_after - capacity;
  std::vector<StoredRow> evicted;
  if (excess > 0) {
    ASSIGN_OR_RETURN(evicted, FindEvicted(key, change, excess, overwritten));
  }
  // Nothing can fail from here on.
  const Row first_row = change.head.next_row;
  entries.created_ms.assign(entries.count, operation.ticket.stamp_ms);
  if (give_ids) {
    entries.ids.resize(entries.count);
    for (size_t i = 0; i < entries.count; ++i) entries.ids[i] = ServerId(first_row + i, shard_);
    result.given_ids = entries.ids;
  }
  for (size_t i = 0; i < old_rows.size(); ++i) {
    if (!old_rows[i].has_value()) continue;
    KillOverwritten(key, change, *old_rows[i], entries.ids[i]);
    ++result.other;
  }
  const bool new_ids = !give_ids && entries.count > 0 && entries.ids[0] >= change.head.id_bound &&
                       std::adjacent_find(entries.ids.begin(), entries.ids.end(), std::greater_equal<>()) ==
                           entries.ids.end();
  if (!give_ids) {
    change.mapped.reserve(change.mapped.size() + entries.count);
    for (size_t i = 0; i < entries.count; ++i) {
      const auto [at, added] = change.mapped.insert_or_assign(entries.ids[i], first_row + i);
      if (!added) MapAgain(change, at->first);
      change.head.id_bound = std::max(change.head.id_bound, entries.ids[i] + 1);
    }
  }
  change.loads |= operation.bulk;
  batch_.runs.push_back({key, first_row, &entries, 0, entries.count, /*map_ids=*/!give_ids, new_ids});
  change.runs.push_back({&entries, entries.count, first_row, give_ids});
  for (const int64_t expiry_ms : entries.expiries_ms) {
    int64_t& least = change.head.least_expiry_ms;
    if (expiry_ms != 0 && (least == 0 || expiry_ms < least)) least = expiry_ms;
  }
  change.head.next_row += entries.count;
  change.head.live_rows += entries.count;
  for (const StoredRow& victim : evicted) Evict(key, change, victim);
  // A batch above the capacity keeps its last entries.
  for (size_t i = 0; i < excess - evicted.size(); ++i) Evict(key, change, {first_row + i, entries.ids[i]});
  result.sequence = Take(operation.ticket.position);
  Remember(operation.ticket, std::move(known), first_row, result);
  return result;
}

absl::StatusOr<MergeResult> WriteGroup::PlanMerge(MergeOperation& operation) {
  const PartitionIndex& index = *partitions_.at(operation.key);
  const EntryColumns& survivors = operation.survivors;
  EntryColumns& written = operation.written.entries;
  written.values.width = survivors.values.width;
  const bool server_ids = survivors.count > 0 && IsServerId(survivors.ids[0]);
  MergeResult result;
  std::vector<FoundRow> gone;
  for (size_t i = 0; i < survivors.count; ++i) {
    const size_t end = operation.offsets[i + 1];
    const uint64_t chosen = end - operation.offsets[i];
    uint64_t taken = 0;
    for (size_t j = operation.offsets[i]; j < end && !index.IsDead(operation.rows[i]); ++j) {
      const StoredRow& merged = operation.merged[j];
      if (index.IsDead(merged.row)) continue;
      gone.push_back({operation.key, merged.row, merged.id});
      ++taken;
    }
    result.merged += taken;
    result.overtaken += chosen - taken;
    if (taken == 0) continue;
    EntryView survivor = survivors.At(i);
    survivor.attributes.weight += static_cast<float>(taken);
    written.Append(survivor);
    // Entries with ids of the server get new ones: an id that carries its row cannot move to another.
    if (server_ids) gone.push_back({operation.key, operation.rows[i], survivor.id});
  }
  if (written.count == 0) return result;
  if (server_ids) written.ids.clear();
  std::vector<int64_t> created_ms = written.created_ms;
  created_ms.resize(written.count);
  operation.written.ticket.memory = operation.memory;
  operation.written.partition = operation.key.partition;
  KillRows(operation.memory->spec, gone);  // first, so that a capacity sees room
  Take(0);
  RETURN_IF_ERROR(PlanInsert(operation.written).status());
  written.created_ms = std::move(created_ms);  // they are as old as they were
  return result;
}

absl::StatusOr<bool> WriteGroup::ReadStored(const PartitionKey& key, const StoredRow& stored,
                                            EntryColumns& out) const {
  out = EntryColumns();
  ASSIGN_OR_RETURN(const bool there, store_.ReadRow(key, stored.row, out));
  return there && out.ids[0] == stored.id;
}

absl::StatusOr<WriteResult> WriteGroup::PlanMergeRows(MergeRowsOperation& operation) {
  const WriteTicket& ticket = operation.ticket;
  const PartitionKey key{ticket.memory->number, operation.partition};
  const RowMerges& merges = operation.merges;
  EntryColumns& written = operation.written.entries;
  written.values.width = ticket.memory->spec.ValueBytes();
  const bool server_ids = !merges.survivors.empty() && IsServerId(merges.survivors.front().id);
  WriteResult result;
  std::vector<FoundRow> gone;
  EntryColumns read;
  size_t next = 0;
  for (size_t i = 0; i < merges.survivors.size(); ++i) {
    EntryColumns kept;
    ASSIGN_OR_RETURN(const bool survives, ReadStored(key, merges.survivors[i], kept));
    uint64_t taken = 0;
    for (const size_t end = next + merges.taken[i]; next < end; ++next) {
      if (!survives) continue;
      ASSIGN_OR_RETURN(const bool there, ReadStored(key, merges.merged[next], read));
      if (!there) continue;
      gone.push_back({key, merges.merged[next].row, merges.merged[next].id});
      ++taken;
    }
    result.count += taken;
    result.other += merges.taken[i] - taken;
    if (taken == 0) continue;
    EntryView survivor = kept.At(0);
    survivor.attributes.weight += static_cast<float>(taken);
    written.Append(survivor);
    if (server_ids) gone.push_back({key, merges.survivors[i].row, survivor.id});  // as PlanMerge() does
  }
  if (written.count == 0) {
    result.sequence = Take(ticket.position);
    return result;
  }
  if (server_ids) written.ids.clear();
  std::vector<int64_t> created_ms = written.created_ms;
  created_ms.resize(written.count);
  operation.written.ticket.memory = ticket.memory;
  operation.written.ticket.position = ticket.position;
  operation.written.partition = operation.partition;
  KillRows(ticket.memory->spec, gone);
  ASSIGN_OR_RETURN(const WriteResult inserted, PlanInsert(operation.written));
  written.created_ms = std::move(created_ms);
  result.sequence = inserted.sequence;
  return result;
}

}  // namespace mneme
