// Visit: looks at the live entries of a selection, of one immutable version of each shard. What read-outs that are not
// of the nearest (centroids, match, select) stand on.
#ifndef MNEME_ENGINE_VISIT_H_
#define MNEME_ENGINE_VISIT_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/label_sums.h"
#include "engine/query_execution.h"
#include "engine/routing.h"
#include "engine/shard.h"

namespace mneme {

// As Deployment::Visit, which has waited for the version.
absl::StatusOr<Version> VisitEntries(const std::vector<Shard*>& shards, const Routing& routing,
                                     const MemoryRecord& memory, const VisitCommand& command,
                                     const std::function<absl::Status(PartitionId, const EntryView&)>& visit);

// As Deployment::SumByLabel, which has waited for the version. Partitions are added shard by shard, each in the order
// of its snapshot.
absl::StatusOr<Version> SumByLabel(const QueryContext& context, const MemoryRecord& memory,
                                   const VisitCommand& command, LabelSums& sums);

}  // namespace mneme

#endif  // MNEME_ENGINE_VISIT_H_
