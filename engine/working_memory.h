// WorkingMemory: exact, ordered, durable state of sessions, over all shards of a deployment. What a front end calls.
//
// A session and its forks live on one shard, by hash of their root. Writes go through the shard's log like all others;
// a batch that only reads is answered from the store, which holds everything that was acknowledged: reads and writes of
// one session are linearizable.
#ifndef MNEME_ENGINE_WORKING_MEMORY_H_
#define MNEME_ENGINE_WORKING_MEMORY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "engine/commands.h"
#include "engine/state_commands.h"

namespace mneme {

class Routing;
class ShardPort;

struct StateWriteOptions {
  std::string request_id;  // empty: no exactly-once
  Durability durability = Durability::kSync;
};

struct JoinedStates {
  StateOutcome outcome;
  bool replayed = false;
};

// Thread-safe. Borrows everything it is given; shards are ordered by number.
class WorkingMemory {
 public:
  WorkingMemory(std::vector<ShardPort*> shards, const Routing* routing, const Clock* clock)
      : shards_(std::move(shards)), routing_(routing), clock_(clock) {}

  // `done` is called exactly once, on a shard's thread unless it fails at once. When some shards fail, the error of the
  // first is answered; the others' parts stay applied, and a retry with the same request id completes them exactly
  // once. What an operation is refused for stands in its answer. Other errors as of Deployment::Insert.
  void Apply(MemoryHandle memory, ApplyStates apply, StateWriteOptions options,
             std::function<void(absl::StatusOr<JoinedStates>)> done) const;
  void Reset(MemoryHandle memory, ResetSessions reset, StateWriteOptions options,
             std::function<void(absl::StatusOr<JoinedStates>)> done) const;

  // Both sessions must be of one root (RootOfSession). Errors as of ForkSession and PutSession.
  void Fork(MemoryHandle memory, ForkSession fork, StateWriteOptions options,
            std::function<void(absl::StatusOr<JoinedStates>)> done) const;
  void Put(MemoryHandle memory, PutSession put, StateWriteOptions options,
           std::function<void(absl::StatusOr<JoinedStates>)> done) const;
  // A whole session as bytes (session_bytes.h); blocks. NOT_FOUND.
  absl::StatusOr<std::string> Get(const MemoryHandle& memory, const std::string& session,
                                  const CallLimits& limits) const;

  // For commands that only read; blocks.
  absl::StatusOr<StateOutcome> Read(const MemoryHandle& memory, const ApplyStates& apply,
                                    const CallLimits& limits) const;
  // Sessions whose names begin with `prefix`, after `after`, by name; at most `limit`. A page may be short.
  absl::StatusOr<SessionPage> List(const MemoryHandle& memory, const std::string& prefix, const std::string& after,
                                   size_t limit, const CallLimits& limits) const;

 private:
  // A part of a request, and which commands of the whole are in it.
  struct Part {
    ApplyStates apply;
    std::vector<size_t> positions;
  };

  // One request for the shard of `session`.
  void Submit(const MemoryHandle& memory, const std::string& session, StateRequest request,
              const StateWriteOptions& options, std::function<void(absl::StatusOr<JoinedStates>)> done) const;

  std::vector<ShardPort*> shards_;
  const Routing* routing_;
  const Clock* clock_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_WORKING_MEMORY_H_
