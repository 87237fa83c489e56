#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/local_deployment_state.h"
#include "engine/index_export.h"
#include "engine/prune.h"
#include "engine/query_batch.h"
#include "engine/scan.h"
#include "engine/visible_rows.h"
#include "engine/visit.h"

namespace mneme {
namespace {

// Reads the entry of `id` into `out`, which is empty; false when there is none, and it may hold another.
absl::StatusOr<bool> ReadEntry(const Shard& shard, const PartitionKey& key, EntryId id, EntryColumns& out) {
  const EntryStore& store = shard.store();
  if (IsServerId(id)) {
    if (ShardOfServerId(id) == shard.number()) {
      ASSIGN_OR_RETURN(const bool there, store.ReadRow(key, RowOfServerId(id), out));
      if (there) return out.ids[0] == id;
    }
    if (!store.maps_server_ids()) return false;
  }
  // Between the look-ups an upsert may move the id to another row; a deletion unmaps it, so this ends.
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Row> row, store.FindRow(key, id));
    if (!row.has_value()) return false;
    ASSIGN_OR_RETURN(const bool there, store.ReadRow(key, *row, out));
    if (there) return true;
  }
}

}  // namespace

absl::StatusOr<DeleteOutcome> LocalDeployment::DryRun(const MemoryHandle& memory, const DeleteCommand& command) const {
  DeleteOutcome outcome;
  outcome.version.memory = memory->number;
  if (!command.ids.has_value()) {
    // Expired entries are deleted too: nothing is hidden.
    ASSIGN_OR_RETURN(outcome.deleted,
                     CountMatching(memory, {.partitions = command.partitions,
                                            .filter = command.filter.value_or(RowFilter{}),
                                            .limits = command.limits}));
    return outcome;
  }
  const std::vector<PartitionId> defaults = {0};
  std::vector<PartitionId> partitions =
      command.partitions.partitions.empty() ? defaults : command.partitions.partitions;
  if (command.partitions.all) {
    partitions.clear();
    for (const auto& shard : state_->shards) {
      for (const PartitionKey& key : shard->KeysOf(memory->number)) partitions.push_back(key.partition);
    }
    std::sort(partitions.begin(), partitions.end());
    partitions.erase(std::unique(partitions.begin(), partitions.end()), partitions.end());
  }
  for (const PartitionId partition : partitions) {
    std::vector<bool> found;
    RETURN_IF_ERROR(Get(memory, partition, *command.ids, /*with_keys=*/false, {}, command.limits, found).status());
    outcome.deleted += static_cast<uint64_t>(std::count(found.begin(), found.end(), true));
  }
  outcome.absent = command.ids->size() - std::min<uint64_t>(command.ids->size(), outcome.deleted);
  return outcome;
}

void LocalDeployment::Query(MemoryHandle memory, QueryCommand command,
                            std::function<void(absl::StatusOr<QueryOutcome>)> done) {
  Stamp(command.filter, command.lease, *state_->clock);
  ExecuteQuery(state_->query_context, std::move(memory), std::move(command), std::move(done));
}

absl::StatusOr<EntryColumns> LocalDeployment::Get(const MemoryHandle& memory, PartitionId partition,
                                                  const std::vector<EntryId>& ids, bool with_keys,
                                                  const Version& at_least, const CallLimits& limits,
                                                  std::vector<bool>& found) const {
  RETURN_IF_ERROR(state_->Await(at_least, limits));
  return GetAt(memory, partition, ids, with_keys, state_->clock->NowMs(), limits, found);
}

absl::StatusOr<EntryColumns> LocalDeployment::GetAt(const MemoryHandle& memory, PartitionId partition,
                                                    const std::vector<EntryId>& ids, bool with_keys, int64_t stamp_ms,
                                                    const CallLimits& limits, std::vector<bool>& found) const {
  RowFilter visible;
  visible.stamp_ms = stamp_ms;
  const PartitionKey key{memory->number, partition};
  EntryColumns entries;
  entries.values.width = memory->spec.ValueBytes();
  found.assign(ids.size(), false);
  for (size_t i = 0; i < ids.size(); ++i) {
    EntryColumns one;
    bool there = false;
    for (const std::optional<uint32_t> owner : {std::optional(state_->routing.OwnerOfEntry(*memory, partition, ids[i])),
                                                state_->routing.OtherOwnerOfEntry(*memory, partition, ids[i])}) {
      if (there || !owner.has_value() || !state_->routing.Hosts(*owner)) continue;
      one = EntryColumns();
      one.values.width = entries.values.width;
      ASSIGN_OR_RETURN(there, ReadEntry(*state_->by_number[*owner], key, ids[i], one));
    }
    if (!there || !visible.Accepts(one.ids[0], one.At(0).attributes)) continue;
    EntryView entry = one.At(0);
    if (!with_keys) entry.key = {};
    entries.Append(entry);
    found[i] = true;
    if (entries.keys.size() + entries.values.bytes.size() > limits::kMaxMessageBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("the entries asked for exceed ", limits::kMaxMessageBytes,
                                                       " bytes; ask for fewer ids"));
    }
    RETURN_IF_ERROR(limits.Check());
  }
  return entries;
}

absl::StatusOr<Version> LocalDeployment::Visit(
    const MemoryHandle& memory, VisitCommand command,
    const std::function<absl::Status(PartitionId, const EntryView&)>& visit) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  Stamp(command.filter, command.lease, *state_->clock);
  return VisitEntries(state_->query_context.shards, state_->routing, *memory, command, visit);
}

absl::StatusOr<Version> LocalDeployment::SumByLabel(const MemoryHandle& memory, VisitCommand command,
                                                    LabelSums& sums) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  Stamp(command.filter, command.lease, *state_->clock);
  return mneme::SumByLabel(state_->query_context, *memory, command, sums);
}

absl::StatusOr<MatchOutcome> LocalDeployment::Match(MatchCommand command) const {
  for (MatchSide* side : {&command.source, &command.target}) {
    RETURN_IF_ERROR(state_->Await(side->selection.at_least, side->selection.limits));
  }
  for (MatchSide* side : {&command.source, &command.target}) {
    Stamp(side->selection.filter, side->selection.lease, *state_->clock);
  }
  return MatchEntries(state_->query_context, command);
}

absl::StatusOr<ScanPage> LocalDeployment::Scan(const MemoryHandle& memory, const ScanCommand& command) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  ScanCommand stamped = command;
  Stamp(stamped.filter, nullptr, *state_->clock);
  return ScanEntries(state_->query_context.shards, state_->routing, *memory, stamped);
}

absl::StatusOr<uint64_t> LocalDeployment::Count(const MemoryHandle& memory, VisitCommand command) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  Stamp(command.filter, command.lease, *state_->clock);
  return CountMatching(memory, command);
}

absl::StatusOr<uint64_t> LocalDeployment::CountMatching(const MemoryHandle& memory, const VisitCommand& command) const {
  uint64_t count = 0;
  for (const uint32_t owner : state_->routing.OwnersOf(*memory, command.partitions)) {
    ASSIGN_OR_RETURN(const Shard::Snapshot snapshot,
                     TakeSnapshot(*state_->by_number[owner],
                                  {memory->number, command.partitions, command.lease.get(), command.limits}));
    for (const auto& version : snapshot.versions) {
      RETURN_IF_ERROR(
          ForEachVisibleRow(*version, command.filter, command.limits, [&](const RowBlock&, size_t) { ++count; }));
    }
  }
  return count;
}

absl::StatusOr<StoredAmount> LocalDeployment::CountStored(const MemoryHandle& memory,
                                                          std::optional<PartitionId> partition,
                                                          const CallLimits& limits) const {
  RETURN_IF_ERROR(limits.Check());
  StoredAmount sum;
  for (const auto& shard : state_->shards) {
    sum.entries += partition.has_value() ? shard->LiveRows(PartitionKey{memory->number, *partition})
                                         : shard->Statistics(memory->number).entries;
    ASSIGN_OR_RETURN(const uint64_t bytes, shard->store().BytesOf(memory->number, partition));
    sum.bytes += bytes;
  }
  return sum;
}

absl::StatusOr<NeighbourColumns> LocalDeployment::Score(const MemoryHandle& memory, const QueryCommand& command,
                                                        bool plain, const std::vector<WantedEntry>& wanted) const {
  SearchRequest request = MakeSearchRequest(MakeIndexSpec(memory->spec), command, 0, command.count);
  if (plain) request = PlainRequest(std::move(request));
  const CandidateContext context{*memory, command.lease.get(), command.limits, state_->routing};
  return ScoreOn(*state_->shards.front(), context, request, wanted);
}

absl::StatusOr<MatchRows> LocalDeployment::ReadMatchRows(MatchSide side, Version& read) const {
  VisitCommand& selection = side.selection;
  RETURN_IF_ERROR(state_->Await(selection.at_least, selection.limits));
  Stamp(selection.filter, selection.lease, *state_->clock);
  MatchRows rows;
  read.memory = side.memory->number;
  for (const uint32_t owner : state_->routing.OwnersOf(*side.memory, selection.partitions)) {
    ASSIGN_OR_RETURN(const Shard::Snapshot snapshot,
                     TakeSnapshot(*state_->by_number[owner], {side.memory->number, selection.partitions,
                                                              selection.lease.get(), selection.limits}));
    read.parts.push_back({owner, snapshot.sequence});
    ASSIGN_OR_RETURN(const MatchRows part, mneme::ReadMatchRows(side, snapshot.versions));
    RETURN_IF_ERROR(AppendMatchRows(side, part, rows));
  }
  return rows;
}

absl::StatusOr<Leases::Granted> LocalDeployment::AcquireLease(const MemoryHandle& memory, const VisitCommand& command,
                                                              int64_t lease_ms) {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  ASSIGN_OR_RETURN(Leases::Granted granted, state_->leases->Acquire(*memory, command, lease_ms));
  // Dropped meanwhile: that ended the leases that there were.
  if (state_->names().FindByNumber(memory->number) == nullptr) {
    (void)state_->leases->Release(granted.id);
    return WithReason(absl::NotFoundError("the memory was dropped"), reason::kMemoryNotFound);
  }
  return granted;
}

HeldLeases& LocalDeployment::leases() const { return *state_->leases; }

absl::StatusOr<std::unique_ptr<ExportedIndex>> LocalDeployment::ExportIndex(const MemoryHandle& memory,
                                                                            const LeaseHandle& lease,
                                                                            const CallLimits& limits) const {
  return ExportHeld(memory->spec, Held(*lease), limits);
}

absl::Status LocalDeployment::BuildIndex(const MemoryHandle& memory, bool retrain,
                                         std::function<bool(const BuildProgress&)> progress) {
  for (const auto& shard : state_->shards) {
    for (const PartitionKey& key : shard->AwakeKeysOf(memory->number)) {
      const absl::Status status = state_->maintenance->Build(*shard, key, retrain, progress);
      // Emptied while it was built: there is nothing to index.
      if (!status.ok() && !absl::IsAborted(status)) return status;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> LocalDeployment::BuildOn(const MemoryHandle& memory, const GivenParts& given,
                                              const std::function<bool(const BuildProgress&)>& progress) {
  bool taken = false;
  for (const auto& shard : state_->shards) {
    for (const PartitionKey& key : shard->AwakeKeysOf(memory->number)) {
      const absl::StatusOr<bool> built = state_->maintenance->BuildOn(*shard, key, given, progress);
      if (!built.ok() && !absl::IsAborted(built.status())) return built.status();
      taken |= built.ok() && *built;
    }
  }
  return taken;
}

absl::Status LocalDeployment::BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                                           std::function<bool(const BuildProgress&)> progress) {
  ASSIGN_OR_RETURN(const bool taken, BuildOn(memory, given, progress));
  if (taken) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("no partition has the ", limits::kMinIndexedRows,
                                                    " entries that an index needs, so nothing takes the centroids"));
}

absl::StatusOr<PruneOutcome> LocalDeployment::Prune(const MemoryHandle& memory, PruneCommand command) {
  if (command.stamp_ms == 0) command.stamp_ms = state_->clock->NowMs();
  std::vector<Shard*> owners;
  PartitionSelection partition;
  partition.partitions = {command.partition};
  for (const uint32_t owner : state_->routing.OwnersOf(*memory, partition)) {
    owners.push_back(state_->by_number[owner]);
  }
  if (state_->log == nullptr) return mneme::Prune(owners, memory, command, ByShards());
  LogApplier* const applier = state_->running_applier.load();
  if (applier == nullptr) return absl::UnavailableError("the shard does not apply its log yet");
  const MergeLog log{state_->log.get(), applier, state_->directory->deployment(), state_->clock};
  return mneme::Prune(owners, memory, command, ByLog(log, command.limits));
}

}  // namespace mneme
