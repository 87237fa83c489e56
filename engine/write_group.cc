// 1. Each operation is planned against the store, the partitions as published, and what the group planned before it.
// 2. Commit() writes one batch: rows, id map, dead marks, heads, remembered requests and the applied sequence (I7).
// 3. Only then are tails and dead sets changed; the caller publishes versions from them (I2: the store goes first).
#include "engine/write_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/version.h"

namespace mneme {
namespace {

WriteResult Replay(const RememberedOutcome& outcome, Sequence sequence, uint32_t shard) {
  WriteResult result;
  result.count = outcome.count;
  result.other = outcome.other;
  result.sequence = sequence;
  result.replayed = true;
  if (outcome.gave_ids) {
    for (uint64_t i = 0; i < outcome.count; ++i) result.given_ids.push_back(ServerId(outcome.first_row + i, shard));
  }
  return result;
}

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

WriteGroup::WriteGroup(EntryStore& store, PartitionMap& partitions, uint32_t shard, Sequence first_sequence)
    : store_(store), partitions_(partitions), shard_(shard), first_sequence_(first_sequence),
      sequence_(first_sequence - 1) {}

WriteGroup::Change& WriteGroup::ChangeOf(const PartitionKey& key, const MemorySpec& spec) {
  const auto [at, added] = changes_.try_emplace(key);
  if (added) {
    const auto partition = partitions_.find(key);
    at->second.head = partition != partitions_.end() ? partition->second->head() : PartitionHead{.key = key};
    specs_.emplace(key, MakeIndexSpec(spec));
  }
  return at->second;
}

absl::StatusOr<std::optional<WriteResult>> WriteGroup::FindReplay(const WriteTicket& ticket) {
  if (!ticket.request.has_value()) return std::nullopt;
  std::optional<RememberedRequest> known;
  const auto here = request_of_hash_.find(ticket.request->id.low);
  if (here != request_of_hash_.end() && batch_.requests[here->second].id == ticket.request->id) {
    known = batch_.requests[here->second];
  } else {
    ASSIGN_OR_RETURN(known, store_.FindRequest(ticket.request->id));
  }
  if (!known.has_value()) return std::nullopt;
  if (known->content != ticket.request->content) {
    return WithReason(absl::FailedPreconditionError("request_id was used before with other content; use a new one"),
                      reason::kRequestIdReused);
  }
  ASSIGN_OR_RETURN(const RememberedOutcome outcome, DecodeOutcome(known->result));
  return Replay(outcome, known->sequence, shard_);
}

void WriteGroup::Remember(const WriteTicket& ticket, const WriteResult& result, Row first_row) {
  if (!ticket.request.has_value()) return;
  RememberedOutcome outcome{result.count, result.other, first_row, !result.given_ids.empty()};
  request_of_hash_[ticket.request->id.low] = batch_.requests.size();
  batch_.requests.push_back({ticket.request->id, ticket.request->content, result.sequence, ticket.stamp_ms,
                             EncodeOutcome(outcome)});
}

absl::StatusOr<std::vector<std::optional<Row>>> WriteGroup::FindRows(const PartitionKey& key, const Change& change,
                                                                     const std::vector<EntryId>& ids) const {
  std::vector<std::optional<Row>> rows(ids.size());
  const auto partition = partitions_.find(key);
  // Ids at or above the bound were never mapped in the store.
  const EntryId stored_bound = partition != partitions_.end() ? partition->second->head().id_bound : 0;
  std::vector<EntryId> asked;
  std::vector<size_t> positions;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto here = change.mapped.find(ids[i]);
    if (here != change.mapped.end()) {
      rows[i] = here->second;
    } else if (ids[i] < stored_bound) {
      asked.push_back(ids[i]);
      positions.push_back(i);
    }
  }
  if (asked.empty()) return rows;
  ASSIGN_OR_RETURN(const auto found, store_.FindRows(key, asked));
  for (size_t i = 0; i < found.size(); ++i) rows[positions[i]] = found[i];
  return rows;
}

void WriteGroup::Kill(const PartitionKey& key, Change& change, Row row, EntryId id, bool unmap) {
  if (unmap) change.unmapped[id] = batch_.deaths.size();
  batch_.deaths.push_back({key, row, id, unmap});
  change.dead.push_back(row);
  change.dead_set.insert(row);
  --change.head.live_rows;
}

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
  const bool mapped = !IsServerId(victim.id);
  Kill(key, change, victim.row, victim.id, /*unmap=*/mapped);
  if (mapped) change.mapped[victim.id] = std::nullopt;
  change.oldest_row = victim.row + 1;
  ++change.removed.evicted;
}

absl::StatusOr<WriteResult> WriteGroup::PlanInsert(InsertOperation& operation) {
  ASSIGN_OR_RETURN(auto replay, FindReplay(operation.ticket));
  if (replay.has_value()) return *std::move(replay);

  const PartitionKey key{operation.ticket.memory->number, operation.partition};
  Change& change = ChangeOf(key, operation.ticket.memory->spec);
  EntryColumns& entries = operation.entries;
  const bool give_ids = entries.ids.empty();
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
  const uint64_t capacity = operation.ticket.memory->spec.capacity;
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
    Kill(key, change, *old_rows[i], entries.ids[i], /*unmap=*/false);
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
  result.sequence = ++sequence_;
  Remember(operation.ticket, result, first_row);
  return result;
}

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

absl::StatusOr<WriteResult> WriteGroup::PlanDeleteById(const DeleteOperation& operation) {
  ASSIGN_OR_RETURN(auto replay, FindReplay(operation.ticket));
  if (replay.has_value()) return *std::move(replay);

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
      bool alive = rows[i].has_value();
      if (IsServerId(ids[i])) {
        ASSIGN_OR_RETURN(alive, IsAliveServerRow(key, change, ids[i]));
      }
      if (!alive) continue;
      victims.push_back({key, IsServerId(ids[i]) ? RowOfServerId(ids[i]) : *rows[i], ids[i]});
      found_ids.insert(ids[i]);
    }
  }
  for (const Victim& victim : victims) {
    Change& change = changes_[victim.key];
    Kill(victim.key, change, victim.row, victim.id, /*unmap=*/!IsServerId(victim.id));
    if (!IsServerId(victim.id)) change.mapped[victim.id] = std::nullopt;
  }
  WriteResult result;
  result.count = victims.size();
  result.other = ids.size() - found_ids.size();
  result.sequence = ++sequence_;
  Remember(operation.ticket, result, 0);
  return result;
}

void WriteGroup::KillRows(const MemorySpec& spec, absl::Span<const FoundRow> rows) {
  for (const FoundRow& found : rows) {
    Change& change = ChangeOf(found.key, spec);
    Kill(found.key, change, found.row, found.id, /*unmap=*/!IsServerId(found.id));
    if (!IsServerId(found.id)) change.mapped[found.id] = std::nullopt;
  }
  ++sequence_;
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
    // An id that carries its row cannot move to another.
    if (server_ids) gone.push_back({operation.key, operation.rows[i], survivor.id});
  }
  if (written.count == 0) return result;
  if (server_ids) written.ids.clear();
  std::vector<int64_t> created_ms = written.created_ms;
  created_ms.resize(written.count);
  operation.written.ticket.memory = operation.memory;
  operation.written.partition = operation.key.partition;
  KillRows(operation.memory->spec, gone);  // first, so that a capacity sees room
  RETURN_IF_ERROR(PlanInsert(operation.written).status());
  written.created_ms = std::move(created_ms);  // they are as old as they were
  return result;
}

absl::StatusOr<WriteResult> WriteGroup::PlanDeleteRows(const DeleteOperation& operation,
                                                       absl::Span<const FoundRow> rows, uint64_t total) {
  ASSIGN_OR_RETURN(auto replay, FindReplay(operation.ticket));
  if (replay.has_value()) return *std::move(replay);
  KillRows(operation.ticket.memory->spec, rows);
  WriteResult result;
  result.count = total;
  result.sequence = sequence_;
  Remember(operation.ticket, result, 0);
  return result;
}

absl::StatusOr<WriteResult> WriteGroup::PlanDropPartitions(const DeleteOperation& operation,
                                                           const std::vector<PartitionKey>& keys) {
  ASSIGN_OR_RETURN(auto replay, FindReplay(operation.ticket));
  if (replay.has_value()) return *std::move(replay);
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
  result.sequence = ++sequence_;
  Remember(operation.ticket, result, 0);
  return result;
}

void WriteGroup::DropEmptied() {
  for (auto& [key, change] : changes_) {
    const auto partition = partitions_.find(key);
    const bool emptied = change.head.live_rows == 0 && change.runs.empty() && !change.cleared;
    if (!emptied || partition == partitions_.end()) continue;
    const PartitionIndex& index = *partition->second;
    if (index.segments().empty() && index.tail_rows() < limits::kMinIndexedRows) continue;
    // Nothing is left alive: segments and tail would only be scanned in vain.
    change.cleared = true;
    change.head.id_bound = 0;
    change.head.least_expiry_ms = 0;
    batch_.dropped_partitions.push_back(key);
    const PartitionKey gone = key;  // clang 14 captures no structured binding
    std::erase_if(batch_.deaths, [&](const StoreBatch::Death& death) { return death.key == gone; });
  }
}

absl::Status WriteGroup::Commit(std::vector<PartitionKey>& changed, std::vector<SegmentRecord>& orphaned) {
  batch_.sequence = sequence_;
  // A delete that found nothing must not make a partition, nor write one anew.
  std::erase_if(changes_, [](const auto& entry) {
    return entry.second.runs.empty() && entry.second.dead.empty() && !entry.second.cleared;
  });
  DropEmptied();
  for (const auto& [key, change] : changes_) batch_.heads.push_back(change.head);
  RETURN_IF_ERROR(store_.Commit(batch_));
  for (auto& [key, change] : changes_) {
    auto& partition = partitions_[key];
    if (partition == nullptr) partition = std::make_unique<PartitionIndex>(specs_.at(key), PartitionHead{.key = key});
    partition->head() = change.head;
    if (change.cleared) {
      for (const InstalledSegment& installed : partition->segments()) orphaned.push_back(installed.record);
      partition->Clear();
    }
    for (const Change::Run& run : change.runs) partition->Append(*run.columns, 0, run.count);
    if (!change.dead.empty() && !change.cleared) partition->MarkDead(change.dead);
    if (change.loads) partition->NoteLoad();
    partition->oldest().Forget(change.oldest_row);
    partition->CountRemoved(change.removed);
    changed.push_back(key);
  }
  return absl::OkStatus();
}

}  // namespace mneme
