// Scan: reads entries in stored order, page by page, straight from the stores.
#ifndef MNEME_ENGINE_SCAN_H_
#define MNEME_ENGINE_SCAN_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/routing.h"
#include "engine/shard.h"

namespace mneme {

// One page, in the order (shard, partition, row). Entries written during a scan may or may not appear; those that were
// there from beginning to end appear once.
absl::StatusOr<ScanPage> ScanEntries(const std::vector<Shard*>& shards, const Routing& routing,
                                     const MemoryRecord& memory, const ScanCommand& command);

}  // namespace mneme

#endif  // MNEME_ENGINE_SCAN_H_
