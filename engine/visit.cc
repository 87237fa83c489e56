#include "engine/visit.h"

#include "common/status_macros.h"
#include "engine/label_sum_cache.h"
#include "engine/leases.h"
#include "engine/visible_rows.h"

namespace mneme {
namespace {

// Item i of a column that may be absent.
template <typename T>
T At(const T* column, size_t i, T absent) {
  return column == nullptr ? absent : column[i];
}

EntryView EntryAt(const RowBlock& block, size_t i, const MemorySpec& spec) {
  EntryView entry;
  entry.id = block.ids[i];
  entry.key = {block.keys + i * spec.KeyBytes(), spec.KeyBytes()};
  const size_t width = spec.ValueBytes();
  entry.value = block.value_offsets == nullptr
                    ? std::string_view(block.values + i * width, width)
                    : std::string_view(block.values + block.value_offsets[i],
                                       static_cast<size_t>(block.value_offsets[i + 1] - block.value_offsets[i]));
  entry.attributes.weight = At(block.weights, i, 1.0F);
  entry.attributes.score = At(block.scores, i, 0.0);
  entry.attributes.label = At(block.labels, i, int64_t{0});
  entry.attributes.source = At(block.sources, i, uint64_t{0});
  entry.attributes.position = At(block.positions, i, uint64_t{0});
  entry.attributes.expiry_ms = At(block.expiries_ms, i, int64_t{0});
  entry.attributes.created_ms = At(block.created_ms, i, int64_t{0});
  return entry;
}

}  // namespace

absl::StatusOr<Version> VisitEntries(const std::vector<Shard*>& shards, const Routing& routing,
                                     const MemoryRecord& memory, const VisitCommand& command,
                                     const std::function<absl::Status(PartitionId, const EntryView&)>& visit) {
  Version read;
  read.memory = memory.number;
  for (const uint32_t owner : routing.OwnersOf(memory, command.partitions)) {
    ASSIGN_OR_RETURN(
        const Shard::Snapshot snapshot,
        TakeSnapshot(*shards[owner], {memory.number, command.partitions, command.lease.get(), command.limits}));
    read.parts.push_back({owner, snapshot.sequence});
    for (const auto& version : snapshot.versions) {
      absl::Status refused;
      RETURN_IF_ERROR(ForEachVisibleRow(*version, command.filter, command.limits, [&](const RowBlock& block, size_t i) {
        if (refused.ok()) refused = visit(version->partition, EntryAt(block, i, memory.spec));
      }));
      RETURN_IF_ERROR(refused);
    }
  }
  return read;
}

absl::StatusOr<Version> SumByLabel(const QueryContext& context, const MemoryRecord& memory,
                                   const VisitCommand& command, LabelSums& sums) {
  const SumRequest request{MakeIndexSpec(memory.spec), command.filter.stamp_ms, command.limits};
  Version read;
  read.memory = memory.number;
  for (const uint32_t owner : context.routing->OwnersOf(memory, command.partitions)) {
    ASSIGN_OR_RETURN(
        const Shard::Snapshot snapshot,
        TakeSnapshot(*context.shards[owner], {memory.number, command.partitions, command.lease.get(), command.limits}));
    read.parts.push_back({owner, snapshot.sequence});
    for (const auto& version : snapshot.versions) {
      if (!command.filter.AcceptsEverything()) {
        RETURN_IF_ERROR(AddEntries(*version, command.filter, command.limits, sums));
        continue;
      }
      const LabelSumCache::Place place{owner, {memory.number, version->partition}};
      RETURN_IF_ERROR(context.label_sums->AddSums(place, *version, request, sums));
    }
  }
  return read;
}

}  // namespace mneme
