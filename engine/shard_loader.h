// ShardLoader: reads a shard's partitions when it opens, and repairs the index files that it finds missing or damaged.
#ifndef MNEME_ENGINE_SHARD_LOADER_H_
#define MNEME_ENGINE_SHARD_LOADER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/index_files.h"
#include "engine/write_group.h"
#include "storage/entry_store.h"

namespace mneme {

// The partitions of `memories`. Entries of other memories below `next_number` are removed from the store: their drop was
// not finished. A memory at or above it cannot be known to this catalogue, so the catalogue is lost: DATA_LOSS. Every
// index file is verified; one that is missing or damaged is rebuilt from the store (I2). Files that no record names are
// removed. DATA_LOSS when the store itself is damaged.
absl::StatusOr<PartitionMap> LoadPartitions(EntryStore& store, IndexFiles& files,
                                            const std::vector<MemoryHandle>& memories, MemoryNumber next_number,
                                            const EventSink& events);

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_LOADER_H_
