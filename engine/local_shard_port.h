// LocalShardPort: a shard of this process.
#ifndef MNEME_ENGINE_LOCAL_SHARD_PORT_H_
#define MNEME_ENGINE_LOCAL_SHARD_PORT_H_

#include <string>
#include <vector>

#include "engine/disk_room.h"
#include "engine/shard.h"
#include "engine/shard_port.h"

namespace mneme {

// Thread-safe. Borrows the shard, and the disk that it fills.
class LocalShardPort final : public ShardPort {
 public:
  LocalShardPort(Shard* shard, const DiskRoom* disk) : shard_(shard), disk_(disk) {}

  uint32_t number() const override { return shard_->number(); }
  // As Shard::Submit(); RESOURCE_EXHAUSTED (STORAGE_LOW), too, for what fills a disk that has no room.
  absl::Status Submit(WriteOperation operation) override;
  absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                         const std::string& after, size_t limit,
                                                         const CallLimits& limits) const override;

 private:
  Shard* const shard_;
  const DiskRoom* const disk_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LOCAL_SHARD_PORT_H_
