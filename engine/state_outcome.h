// The outcome of a StateRequest as it is remembered with its request id (docs/formats.md).
#ifndef MNEME_ENGINE_STATE_OUTCOME_H_
#define MNEME_ENGINE_STATE_OUTCOME_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/state_commands.h"

namespace mneme {

// Beyond limits::kMaxRememberedAnswerBytes payloads and messages are left out.
std::string EncodeStateOutcome(const StateOutcome& outcome);

struct RememberedStates {
  StateOutcome outcome;
  bool whole = true;  // false: payloads were left out
};
// DATA_LOSS when the bytes are no outcome.
absl::StatusOr<RememberedStates> DecodeStateOutcome(std::string_view bytes);

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_OUTCOME_H_
