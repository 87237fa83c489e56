#include "engine/match_entries.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "engine/leases.h"
#include "engine/visible_rows.h"

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

// The rows of one side in order, only the components that are compared.
struct Rows {
  std::vector<EntryId> ids;
  std::vector<double> values;  // [ids x width]
  size_t width = 0;

  MatrixView view() const { return {values, ids.size(), width}; }
};

// Unordered.
class RowReader {
 public:
  RowReader(const MatchSide& side, uint64_t& rows_read)
      : side_(side), spec_(side.memory->spec), rows_read_(rows_read), key_(spec_.dimension) {}

  absl::Status Read(const IndexVersion& version) {
    absl::Status refused;
    const VisitCommand& selection = side_.selection;
    RETURN_IF_ERROR(ForEachVisibleRow(version, selection.filter, selection.limits,
                                      [&](const RowBlock& block, size_t i) {
                                        if (refused.ok()) refused = Add(version.partition, block, i);
                                      }));
    return refused;
  }

  Rows Ordered() const {
    std::vector<size_t> sorted(order_.size());
    std::iota(sorted.begin(), sorted.end(), size_t{0});
    std::sort(sorted.begin(), sorted.end(), [this](size_t a, size_t b) { return order_[a] < order_[b]; });
    Rows rows;
    rows.width = side_.components.size();
    rows.values.reserve(values_.size());
    for (const size_t i : sorted) {
      rows.ids.push_back(order_[i].first);
      const auto row = values_.begin() + static_cast<std::ptrdiff_t>(i * rows.width);
      rows.values.insert(rows.values.end(), row, row + static_cast<std::ptrdiff_t>(rows.width));
    }
    if (spec_.metric == Metric::kCosine) UnitRows(absl::MakeSpan(rows.values), rows.width);
    return rows;
  }

 private:
  absl::Status Add(PartitionId partition, const RowBlock& block, size_t i) {
    if ((order_.size() + 1) * side_.components.size() * sizeof(double) > limits::kMaxMatchBytes) {
      return absl::OutOfRangeError(absl::StrCat("would read more than ", limits::kMaxMatchBytes,
                                                " bytes of memory \"", spec_.name, "\""));
    }
    ++rows_read_;
    order_.emplace_back(block.ids[i], partition);
    DecodeVector(spec_.key_dtype, block.keys + i * spec_.KeyBytes(), spec_.dimension, key_.data());
    for (const uint32_t component : side_.components) values_.push_back(key_[component]);
    return absl::OkStatus();
  }

  const MatchSide& side_;
  const MemorySpec& spec_;
  uint64_t& rows_read_;
  std::vector<float> key_;
  std::vector<std::pair<EntryId, PartitionId>> order_;
  std::vector<double> values_;
};

absl::StatusOr<Rows> ReadRows(const MatchSide& side, const Snapshots& taken, uint64_t& rows_read) {
  RowReader reader(side, rows_read);
  for (const auto& version : taken.versions) RETURN_IF_ERROR(reader.Read(*version));
  return reader.Ordered();
}

absl::Status CheckProducts(const Rows& x, const Rows& z) {
  const double products =
      static_cast<double>(x.ids.size()) * static_cast<double>(z.ids.size()) * static_cast<double>(x.width);
  if (products <= limits::kMaxMatchProducts) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("compares ", x.ids.size(), " x ", z.ids.size(), " entries of ", x.width,
                                            " components: ", products, " products; must be at most ",
                                            limits::kMaxMatchProducts));
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

  ASSIGN_OR_RETURN(Rows x, ReadRows(command.source, sources, outcome.rows_read));
  ASSIGN_OR_RETURN(Rows z, ReadRows(command.target, targets, outcome.rows_read));
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
