// What is told of a replica of a shard, to who looks after a deployment.
#ifndef MNEME_ENGINE_REPLICA_DESCRIPTION_H_
#define MNEME_ENGINE_REPLICA_DESCRIPTION_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/types.h"
#include "engine/commands.h"
#include "engine/shard_log.h"
#include "storage/shard_digest.h"

namespace mneme {

// Between processes as a number: do not renumber.
enum class ReplicaState : uint8_t {
  kServing = 1,    // it answers
  kReplaying = 2,  // it was started, and applies what its log has before it answers
  kLost = 3,       // it answers, and cannot reach its log
  kFailed = 4,     // it applies no more, or takes no writes
  kAway = 5,       // it does not answer
};

struct ReplicaDescription {
  uint32_t shard = 0;
  uint32_t replica = 0;
  // Where who asks reaches it; as it says it, where it knows itself to be. Empty: it is in the process that is asked.
  std::string address = {};
  ReplicaState state = ReplicaState::kServing;
  std::string detail = {};  // why, where it is not serving, or has no digest that was asked for
  Sequence applied = 0;  // up to which every record of its log had its outcome
  // One beyond the last record of the log; of a shard without one, what it has applied.
  LogOffset log_end = 0;
  uint64_t entries = 0;
  std::optional<ShardDigest> digest = {};
};

struct ReplicaQuestion {
  // With the digests of all replicas of a shard at one offset of its log: each reads all that it has.
  bool digests = false;
  CallLimits limits = {};
};
// Its error ends the telling.
using ReplicaSink = std::function<absl::Status(const ReplicaDescription&)>;

// Which processes are replicas of a shard from now on. Either address may be empty, and not both.
struct ReplicaChange {
  std::string add = {};    // is one
  std::string drain = {};  // is none
  uint32_t shard = 0;      // of what is added where nothing is drained; else it is the shard of that
};
struct ReplicaChangeStep {
  const char* stage = "";  // "waiting" for what is added until it serves; "adding", "draining"
  // While it waits, what that says of itself; then the address alone, with what is to be known of the list as detail.
  ReplicaDescription replica = {};
};
// False ends it.
using ReplicaChangeSink = std::function<bool(const ReplicaChangeStep&)>;
struct ReplicaChangeOutcome {
  uint32_t shard = 0;
  std::vector<std::string> replicas = {};  // by number, "" where there is none
};

}  // namespace mneme

#endif  // MNEME_ENGINE_REPLICA_DESCRIPTION_H_
