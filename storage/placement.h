// Placement: which shard of a deployment has what. The engine's routing says so; storage asks when it restores a backup
// onto another number of shards.
#ifndef MNEME_STORAGE_PLACEMENT_H_
#define MNEME_STORAGE_PLACEMENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "common/types.h"
#include "storage/catalogue_store.h"

namespace mneme {

// Pure functions.
struct Placement {
  uint32_t shards = 0;
  // The shard that has all of a partition; nullopt: its entries are spread over all of them.
  std::function<std::optional<uint32_t>(const MemoryRecord& memory, PartitionId partition)> of_partition;
  // The shard of an entry of a spread partition whose id is mapped, whoever gave it.
  std::function<uint32_t(EntryId id)> of_id;
  std::function<uint32_t(const MemoryRecord& memory, std::string_view session)> of_session;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_PLACEMENT_H_
