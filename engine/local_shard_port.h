// LocalShardPort: a shard of this process.
#ifndef MNEME_ENGINE_LOCAL_SHARD_PORT_H_
#define MNEME_ENGINE_LOCAL_SHARD_PORT_H_

#include <string>
#include <vector>

#include "engine/shard.h"
#include "engine/shard_port.h"

namespace mneme {

// Thread-safe. Borrows the shard.
class LocalShardPort final : public ShardPort {
 public:
  explicit LocalShardPort(Shard* shard) : shard_(shard) {}

  uint32_t number() const override { return shard_->number(); }
  absl::Status Submit(WriteOperation operation) override { return shard_->Submit(std::move(operation)); }
  absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session, int64_t stamp_ms,
                                          const CallLimits& limits) const override;
  absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                         const std::string& after, size_t limit,
                                                         const CallLimits& limits) const override;

 private:
  Shard* const shard_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LOCAL_SHARD_PORT_H_
