// Reads of sessions on a shard of another process.
#ifndef MNEME_CLUSTER_REMOTE_STATES_H_
#define MNEME_CLUSTER_REMOTE_STATES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cluster/shard_channel.h"
#include "engine/commands.h"
#include "engine/state_commands.h"
#include "storage/states.h"

namespace mneme {

// As ShardPort's, once the shard has applied `at_least`. They block. DEADLINE_EXCEEDED (REPLICA_LAGGING) when it has
// not within a moment (Shard::AwaitVisible).
absl::StatusOr<StateOutcome> AskStates(const ShardChannel& shard, const MemoryRecord& memory, const ApplyStates& apply,
                                       int64_t stamp_ms, const Version& at_least, const CallLimits& limits);
absl::StatusOr<std::string> AskSession(const ShardChannel& shard, const MemoryRecord& memory,
                                       const std::string& session, int64_t stamp_ms, const Version& at_least,
                                       const CallLimits& limits);

struct SessionsQuestion {
  std::string prefix;
  std::string after;
  uint64_t limit = 0;
};
absl::StatusOr<std::vector<NamedSession>> AskSessions(const ShardChannel& shard, const MemoryRecord& memory,
                                                      const SessionsQuestion& question, const Version& at_least,
                                                      const CallLimits& limits);

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_STATES_H_
