// ShardLoader: reads a shard's partitions when it opens, and repairs the index files that it finds missing or damaged.
#ifndef MNEME_ENGINE_SHARD_LOADER_H_
#define MNEME_ENGINE_SHARD_LOADER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/commands.h"
#include "engine/index_files.h"
#include "engine/write_group.h"
#include "storage/entry_store.h"

namespace mneme {

// What a shard opens with: partitions in ram, and those that are read when they are first asked for.
struct LoadedPartitions {
  PartitionMap awake;
  std::vector<std::pair<PartitionHead, IndexSpec>> asleep;
};

// The partitions of `memories`; of those without index files, the ones with fewer than `asleep_below` entries stay
// asleep. Entries of other memories below `next_number` are removed from the store: their drop was not finished. A
// memory at or above it cannot be known to this catalogue, so the catalogue is lost: DATA_LOSS. Every index file is
// verified; one that is missing or damaged is rebuilt from the store (I2). Files that no record names are removed.
// DATA_LOSS when the store itself is damaged.
absl::StatusOr<LoadedPartitions> LoadPartitions(EntryStore& store, IndexFiles& files,
                                                const std::vector<MemoryHandle>& memories, MemoryNumber next_number,
                                                uint64_t asleep_below, const EventSink& events);

// Reads the rows above the last segment of `partition`, and its dead marks, from a store that does not change
// meanwhile. DATA_LOSS when a record is damaged.
absl::Status LoadRows(const EntryStore& store, PartitionIndex& partition);

// The same for many partitions without segments, ascending by key, in one pass over the store. Dead marks stay unread:
// they are for segments, and the rows that died are not in the store.
absl::Status LoadUnsealed(const EntryStore& store, absl::Span<const std::unique_ptr<PartitionIndex>> partitions);

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_LOADER_H_
