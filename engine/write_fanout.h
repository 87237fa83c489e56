// WriteFanout: splits a write over the shards that own its entries and joins their answers into one.
#ifndef MNEME_ENGINE_WRITE_FANOUT_H_
#define MNEME_ENGINE_WRITE_FANOUT_H_

#include <atomic>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/routing.h"
#include "engine/shard_port.h"

namespace mneme {

// Thread-compatible. Borrows the shards, which are ordered by number.
class WriteFanout {
 public:
  WriteFanout(std::vector<ShardPort*> shards, const Routing* routing) : shards_(std::move(shards)), routing_(routing) {}

  // `done` once every shard has answered; `visible` (may be null) once every shard has published. When some shards
  // fail, the error of the first is answered: the others' parts stay applied, and a retry with the same request id
  // completes the write exactly once.
  void Insert(MemoryHandle memory, InsertCommand command, int64_t stamp_ms, std::function<void()> visible,
              std::function<void(absl::StatusOr<InsertOutcome>)> done) const;
  void Delete(MemoryHandle memory, DeleteCommand command, int64_t stamp_ms,
              std::function<void(absl::StatusOr<DeleteOutcome>)> done) const;

 private:
  std::vector<ShardPort*> shards_;
  const Routing* routing_;
  mutable std::atomic<uint64_t> batches_{0};  // spreads batches without ids and request ids
};

}  // namespace mneme

#endif  // MNEME_ENGINE_WRITE_FANOUT_H_
