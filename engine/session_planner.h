// SessionPlanner: plans what operations do to sessions, each seeing the effects of those before it. The engine's side
// of working memory: a shard's writer has one for each group of writes, a pure read one of its own.
#ifndef MNEME_ENGINE_SESSION_PLANNER_H_
#define MNEME_ENGINE_SESSION_PLANNER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/session_states.h"
#include "engine/state_commands.h"
#include "engine/state_overlay.h"
#include "storage/states.h"

namespace mneme {

// When and for what memory a request is applied.
struct StateMoment {
  MemoryNumber memory = 0;
  uint64_t sequence = 0;  // of the request on its shard; 0: it only reads
  int64_t stamp_ms = 0;
};

// Not thread-safe.
class SessionPlanner {
 public:
  explicit SessionPlanner(std::unique_ptr<StateReader> reader) : overlay_(std::move(reader)) {}

  // Operations of one session are atomic: when one fails, none is applied, and each of their answers says so. Errors
  // are the store's, those of ForkSession, and RESOURCE_EXHAUSTED of a session that is put and too large; a plan that
  // fails leaves the planner as it was.
  absl::StatusOr<StateOutcome> Plan(const StateMoment& moment, const StateRequest& request);
  // Fills in the payloads of a remembered outcome that was kept without them, from what is there now.
  absl::Status Reread(const StateMoment& moment, const ApplyStates& apply, StateOutcome& outcome);

  // Removes the session or the state that `due` names, if it is still there and expires then; at `stamp_ms` at most.
  // Counts what went. Errors are the store's; nothing is planned for one that fails.
  absl::Status Expire(const StateExpiry& due, int64_t stamp_ms, ExpiredStates& counts);

  // A whole session, by name of its states, each whole in its payload; NOT_FOUND.
  absl::StatusOr<std::map<std::string, StatePtr>> ReadSession(const StateMoment& moment, const std::string& session);

  uint64_t bytes() const { return overlay_.bytes(); }
  StateWrites TakeWrites() { return overlay_.TakeWrites(); }

 private:
  // As Expire(), of which what was planned is taken back when it fails.
  absl::Status PlanExpiry(const StateExpiry& due, int64_t stamp_ms, ExpiredStates& counts);
  absl::StatusOr<StateOutcome> Run(const StateMoment& moment, const ApplyStates& apply);
  absl::StatusOr<StateOutcome> Run(const StateMoment& moment, const ResetSessions& reset);
  absl::StatusOr<StateOutcome> Run(const StateMoment& moment, const ForkSession& fork);
  absl::StatusOr<StateOutcome> Run(const StateMoment& moment, const PutSession& put);
  // Commands `which` are all of one session.
  absl::Status RunSession(const StateMoment& moment, const ApplyStates& apply, const std::vector<size_t>& which,
                          SpaceNumbers& numbers, uint64_t& payload_bytes, StateOutcome& outcome);

  StateOverlay overlay_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SESSION_PLANNER_H_
