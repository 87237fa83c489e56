#include "engine/match_entries.h"

#include <utility>

#include "common/status_macros.h"
#include "engine/leases.h"

namespace mneme {
namespace {

// A side as it stands: every version is of one moment of its shard.
struct Snapshots {
  Version read;
  std::vector<std::shared_ptr<const IndexVersion>> versions;
};

absl::StatusOr<Snapshots> TakeSnapshots(const QueryContext& context, const MatchSide& side) {
  const MemoryRecord& memory = *side.memory;
  Snapshots taken;
  taken.read.memory = memory.number;
  for (const uint32_t owner : context.routing->OwnersOf(memory, side.selection.partitions)) {
    const VisitCommand& selection = side.selection;
    ASSIGN_OR_RETURN(const Shard::Snapshot snapshot,
                     TakeSnapshot(*context.shards[owner], {memory.number, selection.partitions, selection.lease.get(),
                                                           selection.limits}));
    taken.read.parts.push_back({owner, snapshot.sequence});
    taken.versions.insert(taken.versions.end(), snapshot.versions.begin(), snapshot.versions.end());
  }
  return taken;
}

MatchKey::Side KeyOf(const MatchSide& side, const Snapshots& taken) {
  MatchKey::Side key{side.memory->number, side.components, side.selection.filter, {}};
  for (const auto& version : taken.versions) {
    key.contents.push_back({version->history, version->end_row(), version->dead.count()});
  }
  return key;
}

absl::StatusOr<MatchRows> ReadRows(const MatchSide& side, const Snapshots& taken, uint64_t& rows_read) {
  ASSIGN_OR_RETURN(const MatchRows rows, ReadMatchRows(side, taken.versions));
  rows_read += rows.read;
  return Ordered(side, rows);
}

}  // namespace

absl::StatusOr<MatchOutcome> MatchEntries(const QueryContext& context, const MatchCommand& command) {
  ASSIGN_OR_RETURN(const Snapshots sources, TakeSnapshots(context, command.source));
  ASSIGN_OR_RETURN(const Snapshots targets, TakeSnapshots(context, command.target));
  MatchKey key{KeyOf(command.source, sources), KeyOf(command.target, targets), command.csls_k, command.form};

  MatchOutcome outcome;
  outcome.version = targets.read;
  outcome.entries = context.matches->Find(key, sources.versions, targets.versions);
  if (outcome.entries != nullptr) return outcome;

  ASSIGN_OR_RETURN(MatchRows x, ReadRows(command.source, sources, outcome.rows_read));
  ASSIGN_OR_RETURN(MatchRows z, ReadRows(command.target, targets, outcome.rows_read));
  RETURN_IF_ERROR(CheckProducts(x, z));
  const CallLimits& limits = command.target.selection.limits;
  ASSIGN_OR_RETURN(MatrixMatch match, MatchMatrices(x.view(), z.view(), command.csls_k, command.form,
                                                    [&limits] { return limits.Check(); }));
  outcome.products = match.products;
  outcome.entries = std::make_shared<const MatchedEntries>(
      MatchedEntries{std::move(x.ids), std::move(z.ids), std::move(match)});
  context.matches->Keep(std::move(key), outcome.entries);
  return outcome;
}

}  // namespace mneme
