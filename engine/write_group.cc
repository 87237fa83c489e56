// 1. Each operation is planned against the store, the partitions as published, and what the group planned before it.
// 2. Commit() writes one batch: rows, id map, dead marks, heads, remembered requests and the applied sequence (I7).
// 3. Only then are tails and dead sets changed; the caller publishes versions from them (I2: the store goes first).
#include "engine/write_group.h"

#include <algorithm>
#include <utility>

#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/remembered_result.h"
#include "engine/routing.h"
#include "engine/version.h"

namespace mneme {
namespace {

absl::Status UsedOtherwise() {
  return WithReason(absl::FailedPreconditionError("request_id was used before with other content; use a new one"),
                    reason::kRequestIdReused);
}

// Of two stamps, whatever they are.
uint64_t Apart(int64_t a, int64_t b) {
  return a > b ? static_cast<uint64_t>(a) - static_cast<uint64_t>(b)
               : static_cast<uint64_t>(b) - static_cast<uint64_t>(a);
}

}  // namespace

WriteGroup::WriteGroup(EntryStore& store, PartitionMap& partitions, uint32_t shard, Sequence first_sequence)
    : store_(store), partitions_(partitions), shard_(shard), sequence_(first_sequence - 1) {}

WriteGroup::Change& WriteGroup::ChangeOf(const PartitionKey& key, const MemorySpec& spec) {
  const auto [at, added] = changes_.try_emplace(key);
  if (added) {
    const auto partition = partitions_.find(key);
    at->second.head = partition != partitions_.end() ? partition->second->head() : PartitionHead{.key = key};
    specs_.emplace(key, MakeIndexSpec(spec));
  }
  return at->second;
}

// In a log, so that all replicas know the same: a request is known by the stamps of both, though more are remembered;
// not once a record before this one had it forgotten, wherever the group begins; and not by what parts of this very
// operation left before a crash.
bool WriteGroup::IsKnownTo(const WriteTicket& ticket, const RememberedRequest& known) const {
  if (ticket.position == 0) return true;
  if (known.sequence == ticket.position) return false;
  if (Apart(known.stamp_ms, ticket.stamp_ms) > uint64_t{limits::kRememberedRequestMs}) return false;
  const auto& forgotten = batch_.forgotten_requests;
  return std::none_of(forgotten.begin(), forgotten.end(), [&](const RememberedRequest& request) {
    return request.id == known.id && request.sequence == known.sequence;
  });
}

absl::StatusOr<std::optional<RememberedRequest>> WriteGroup::FindRemembered(const WriteTicket& ticket) {
  if (!ticket.request.has_value()) return std::nullopt;
  std::optional<RememberedRequest> known;
  const auto here = request_of_hash_.find(ticket.request->id.low);
  if (here != request_of_hash_.end() && batch_.requests[here->second].id == ticket.request->id) {
    known = batch_.requests[here->second];
  } else {
    ASSIGN_OR_RETURN(known, store_.FindRequest(ticket.request->id));
  }
  if (!known.has_value() || !IsKnownTo(ticket, *known)) return std::nullopt;
  if (known->content != ticket.request->content) return UsedOtherwise();
  return known;
}

absl::Status WriteGroup::NotDecoded(const WriteTicket& ticket, absl::Status why) {
  return ticket.position == 0 ? std::move(why) : UsedOtherwise();
}

absl::StatusOr<WriteGroup::Known> WriteGroup::FindKnown(const WriteTicket& ticket,
                                                        absl::FunctionRef<bool(const RequestParts&)> covers) {
  Known known;
  ASSIGN_OR_RETURN(auto remembered, FindRemembered(ticket));
  if (!remembered.has_value()) return known;
  if (remembered->earlier.empty()) {
    const absl::StatusOr<RememberedOutcome> outcome = DecodeOutcome(remembered->result);
    if (!outcome.ok()) return NotDecoded(ticket, outcome.status());
    known.replay = ResultOf(*outcome, remembered->sequence, shard_);
    return known;
  }
  ASSIGN_OR_RETURN(WriteResult result, ReplayEarlier(*remembered));
  if (!remembered->result.empty() || covers(remembered->earlier)) {
    known.replay = std::move(result);
    return known;
  }
  known.parts = std::move(remembered->earlier);
  known.earlier = std::move(result.earlier);
  return known;
}

void WriteGroup::RememberBytes(const WriteTicket& ticket, Sequence sequence, std::string result, RequestParts parts) {
  request_of_hash_[ticket.request->id.low] = batch_.requests.size();
  batch_.requests.push_back({ticket.request->id, ticket.request->content, sequence, ticket.stamp_ms,
                             std::move(result), std::move(parts)});
}

void WriteGroup::Remember(const WriteTicket& ticket, Known known, Row first_row, WriteResult& result) {
  result.earlier = std::move(known.earlier);
  if (!ticket.request.has_value()) return;
  RememberedOutcome outcome{result.count, result.other, first_row, !result.given_ids.empty()};
  RememberBytes(ticket, result.sequence, EncodeOutcome(outcome), std::move(known.parts));
}

absl::StatusOr<std::vector<std::optional<Row>>> WriteGroup::FindRows(const PartitionKey& key, const Change& change,
                                                                     const std::vector<EntryId>& ids) const {
  std::vector<std::optional<Row>> rows(ids.size());
  const auto partition = partitions_.find(key);
  // Ids of clients at or above the bound were never mapped in the store.
  const EntryId stored_bound = partition != partitions_.end() ? partition->second->head().id_bound : 0;
  const bool maps_server_ids = store_.maps_server_ids();
  std::vector<EntryId> asked;
  std::vector<size_t> positions;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto here = change.mapped.find(ids[i]);
    if (here != change.mapped.end()) {
      rows[i] = here->second;
    } else if (ids[i] < stored_bound || (maps_server_ids && IsServerId(ids[i]))) {
      asked.push_back(ids[i]);
      positions.push_back(i);
    }
  }
  if (asked.empty()) return rows;
  ASSIGN_OR_RETURN(const auto found, store_.FindRows(key, asked));
  for (size_t i = 0; i < found.size(); ++i) rows[positions[i]] = found[i];
  return rows;
}

void WriteGroup::Kill(const PartitionKey& key, Change& change, Row row, EntryId id) {
  const bool mapped = IsMapped(id, row, shard_);
  if (mapped) {
    change.unmapped[id] = batch_.deaths.size();
    change.mapped[id] = std::nullopt;
  }
  KillOverwritten(key, change, row, id);
  batch_.deaths.back().unmap_id = mapped;
}

void WriteGroup::KillOverwritten(const PartitionKey& key, Change& change, Row row, EntryId id) {
  batch_.deaths.push_back({key, row, id, /*unmap_id=*/false});
  change.dead.push_back(row);
  change.dead_set.insert(row);
  --change.head.live_rows;
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
  if (states_ != nullptr) batch_.states = states_->TakeWrites();
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
