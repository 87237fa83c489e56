#include "engine/routing.h"

#include <algorithm>
#include <numeric>

namespace mneme {

std::vector<uint32_t> Routing::OwnersOf(const MemoryRecord& memory, const PartitionSelection& selection) const {
  std::vector<uint32_t> owners;
  const std::vector<PartitionId> defaults = {0};
  const auto& partitions = selection.partitions.empty() ? defaults : selection.partitions;
  bool everywhere = selection.all && memory.spec.spread != Spread::kOne;
  for (size_t i = 0; i < partitions.size() && !everywhere; ++i) {
    const auto owner = OwnerOfPartition(memory, partitions[i]);
    everywhere = !owner.has_value();
    if (owner.has_value()) owners.push_back(*owner);
  }
  if (everywhere) {
    owners.resize(shards_);
    std::iota(owners.begin(), owners.end(), 0U);
  }
  std::sort(owners.begin(), owners.end());
  owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
  std::erase_if(owners, [this](uint32_t owner) { return !Hosts(owner); });
  return owners;
}

Placement PlacementOn(uint32_t shards) {
  const Routing routing(shards);
  Placement placement;
  placement.shards = shards;
  placement.of_partition = [routing](const MemoryRecord& memory, PartitionId partition) {
    return routing.OwnerOfPartition(memory, partition);
  };
  placement.of_id = [routing](EntryId id) { return routing.OwnerOfMapped(id); };
  placement.of_session = [routing](const MemoryRecord& memory, std::string_view session) {
    return routing.OwnerOfSession(memory, session);
  };
  return placement;
}

}  // namespace mneme
