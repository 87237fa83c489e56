// PruneMemory: merging redundant entries, guarded by queries with targets, with progress.
#ifndef MNEME_SERVER_PRUNE_MEMORY_H_
#define MNEME_SERVER_PRUNE_MEMORY_H_

#include "mneme/v1/admin.pb.h"
#include "server/progress_stream.h"

namespace mneme {

absl::Status HandlePruneMemory(const CallContext& call, const v1::PruneMemoryRequest& request,
                               const Tell<v1::PruneMemoryResponse>& tell);

}  // namespace mneme

#endif  // MNEME_SERVER_PRUNE_MEMORY_H_
