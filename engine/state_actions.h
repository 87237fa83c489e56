// StateActions: what each operation makes of the state it names. Pure.
#ifndef MNEME_ENGINE_STATE_ACTIONS_H_
#define MNEME_ENGINE_STATE_ACTIONS_H_

#include <optional>

#include "absl/status/statusor.h"
#include "engine/state_change.h"
#include "engine/state_commands.h"
#include "storage/states.h"

namespace mneme {

// `current` is null when there is no such state; `read` reads its pieces. ABORTED when a version is not the expected
// one; FAILED_PRECONDITION when the state is of another kind or shape, or a block is not the next; RESOURCE_EXHAUSTED
// when it would be too large; DATA_LOSS when its payload is damaged.
absl::StatusOr<StateChange> Act(const StateAction& action, const StateRecord* current, const PieceReader& read);

// The action that only reads what `action` answers beside its version, for a replayed answer that was not remembered;
// nullopt when it answers nothing else. What it would write is to be dropped.
std::optional<StateAction> RereadOf(const StateAction& action);

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_ACTIONS_H_
