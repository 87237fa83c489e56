#include "engine/scan.h"

#include <algorithm>
#include <limits>

#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr size_t kCheckRows = 4096;

// The partitions of the selection that a shard has, ascending.
std::vector<PartitionId> PartitionsOn(const Shard& shard, const MemoryRecord& memory,
                                      const PartitionSelection& selection) {
  std::vector<PartitionId> partitions = selection.partitions;
  if (selection.all) {
    partitions.clear();
    for (const PartitionKey& key : shard.KeysOf(memory.number)) partitions.push_back(key.partition);
  } else if (partitions.empty()) {
    partitions = {0};
  }
  std::sort(partitions.begin(), partitions.end());
  partitions.erase(std::unique(partitions.begin(), partitions.end()), partitions.end());
  return partitions;
}

}  // namespace

absl::StatusOr<ScanPage> ScanEntries(const std::vector<Shard*>& shards, const Routing& routing,
                                     const MemoryRecord& memory, const ScanCommand& command) {
  ScanPage page;
  page.entries.values.width = memory.spec.ValueBytes();
  const ScanPosition from = command.from.value_or(ScanPosition{});
  for (const uint32_t number : routing.OwnersOf(memory, command.partitions)) {
    if (number < from.shard) continue;
    for (const PartitionId partition : PartitionsOn(*shards[number], memory, command.partitions)) {
      if (number == from.shard && partition < from.partition) continue;
      const bool resumed = command.from.has_value() && number == from.shard && partition == from.partition;
      size_t visited = 0;
      absl::Status limit;
      RETURN_IF_ERROR(shards[number]->store().ScanRows(
          {memory.number, partition}, resumed ? from.row : 0, std::numeric_limits<Row>::max(),
          [&](Row row, const EntryView& stored) {
            if (++visited % kCheckRows == 0) limit = command.limits.Check();
            if (!limit.ok()) return false;
            if (!command.filter.Accepts(stored.id, stored.attributes)) return true;
            const size_t bytes = page.entries.keys.size() + page.entries.values.bytes.size();
            if (page.entries.count >= command.page_size || bytes >= command.page_bytes) {
              page.next = ScanPosition{memory.number, number, partition, row};
              return false;
            }
            EntryView entry = stored;
            if (!command.with_keys) entry.key = {};
            page.entries.Append(entry);
            page.partitions.push_back(partition);
            return true;
          }));
      RETURN_IF_ERROR(limit);
      if (page.next.has_value()) return page;
    }
  }
  return page;
}

}  // namespace mneme
