// ShardPort: one shard as those see it who split writes and read sessions, whether it is in this process or in another.
#ifndef MNEME_ENGINE_SHARD_PORT_H_
#define MNEME_ENGINE_SHARD_PORT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/state_commands.h"
#include "engine/write_operations.h"
#include "storage/states.h"

namespace mneme {

// Thread-safe. Reads block.
class ShardPort {
 public:
  virtual ~ShardPort() = default;

  virtual uint32_t number() const = 0;
  // Hands over a write of a client; its callbacks are called on threads of the port's. Not OK: none will be called.
  virtual absl::Status Submit(WriteOperation operation) = 0;

  // For commands that only read.
  virtual absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply,
                                                  int64_t stamp_ms, const CallLimits& limits) const = 0;
  // A whole session as bytes (session_bytes.h). NOT_FOUND.
  virtual absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session,
                                                  int64_t stamp_ms, const CallLimits& limits) const = 0;
  // At most `limit` sessions that begin with `prefix` and come after `after`, by name.
  virtual absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                                 const std::string& after, size_t limit,
                                                                 const CallLimits& limits) const = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_PORT_H_
