// StateChange: what an action makes of a state, and what all kinds of actions have in common. Pure.
#ifndef MNEME_ENGINE_STATE_CHANGE_H_
#define MNEME_ENGINE_STATE_CHANGE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "engine/state_commands.h"
#include "storage/states.h"

namespace mneme {

// Pieces of a state by their number: what to write of them, nullopt for those that go.
using StatePieces = std::map<uint32_t, std::optional<std::string>>;
// Reads a piece of the state that is acted on. DATA_LOSS when it is not there; store errors.
using PieceReader = std::function<absl::StatusOr<std::string>(uint32_t number)>;

struct StateChange {
  StateAnswer answer;
  std::optional<StateRecord> next = {};  // what to write
  StatePieces pieces = {};               // and with it
  bool remove = false;
};

// FAILED_PRECONDITION when `current` is of another kind; null is of every kind, and counters are of one kind.
absl::Status CheckKind(const StateRecord* current, StateKind kind);

inline uint64_t VersionOf(const StateRecord* current) { return current == nullptr ? 0 : current->version; }

// What every answer says; `written` when the action writes.
inline StateAnswer AnswerOf(const StateRecord* current, bool written) {
  StateAnswer answer;
  answer.found = current != nullptr;
  answer.version = VersionOf(current) + (written ? 1 : 0);
  return answer;
}

// Expires when `current` does.
inline StateRecord NextOf(const StateRecord* current, StateKind kind, std::string payload) {
  StateRecord next;
  next.kind = kind;
  next.version = VersionOf(current) + 1;
  if (current != nullptr) next.expiry_ms = current->expiry_ms;
  next.payload = std::move(payload);
  return next;
}

// A column of T as it travels.
template <typename Items>
std::string Packed(const Items& items) {
  return std::string(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(*items.data()));
}

// DATA_LOSS when the payload of a linear or a feedback memory is damaged.
absl::Status CheckVectorPayload(const StateRecord& state);

// The actions of each kind; `current` is null when there is no such state. Errors as of Act().
absl::StatusOr<StateChange> ActLinear(const LinearApply& action, const StateRecord* current);
absl::StatusOr<StateChange> ActLinear(const LinearGet& action, const StateRecord* current);
absl::StatusOr<StateChange> ActFeedback(const FeedbackAttend& action, const StateRecord* current);
absl::StatusOr<StateChange> ActFeedback(const FeedbackGet& action, const StateRecord* current);
absl::StatusOr<StateChange> ActCounters(const CountersAdd& action, const StateRecord* current, const PieceReader& read);
absl::StatusOr<StateChange> ActCounters(const CountersGet& action, const StateRecord* current, const PieceReader& read);

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_CHANGE_H_
