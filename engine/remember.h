// Remember: the learned write, one atomic read-modify-write of a partition in its shard's order.
#ifndef MNEME_ENGINE_REMEMBER_H_
#define MNEME_ENGINE_REMEMBER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/routing.h"
#include "engine/shard_port.h"
#include "engine/slot_table.h"

namespace mneme {

struct RememberCommand {
  PartitionId partition = 0;
  SlotBatch batch;
  std::string request_id;  // empty: no exactly-once
  Durability durability = Durability::kSync;
};

struct RememberOutcome {
  std::shared_ptr<const SlotAnswers> answers;  // of a replay: without the mask
  Version version;
  bool replayed = false;
};

// For a memory with a capacity, which lives on one shard. `done` is called exactly once; errors as of an insert, and as
// SlotTable says.
void SubmitRemember(const std::vector<ShardPort*>& shards, const Routing& routing, const MemoryHandle& memory,
                    RememberCommand command, int64_t stamp_ms,
                    std::function<void(absl::StatusOr<RememberOutcome>)> done);

}  // namespace mneme

#endif  // MNEME_ENGINE_REMEMBER_H_
