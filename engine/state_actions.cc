#include "engine/state_actions.h"

#include <utility>

#include "common/status_macros.h"

namespace mneme {
namespace {

const char* NameOf(StateKind kind) {
  switch (kind) {
    case StateKind::kRegister: return "register";
    case StateKind::kLinear: return "linear memory";
    case StateKind::kFeedback: return "feedback memory";
    case StateKind::kCounters:
    case StateKind::kCounterMatrix: return "counter matrix";
    case StateKind::kRemoved:
    case StateKind::kExpired:
    case StateKind::kPiece: break;
  }
  return "removed state";
}

struct Actor {
  const StateRecord* current;
  const PieceReader& read;

  absl::StatusOr<StateChange> operator()(const RegisterPut& put) const { return Write(put.value, put.expiry_ms); }

  absl::StatusOr<StateChange> operator()(const RegisterGet&) const {
    RETURN_IF_ERROR(CheckKind(current, StateKind::kRegister));
    StateChange change{.answer = AnswerOf(current, false)};
    if (current == nullptr) return change;
    change.answer.value = current->payload;
    change.answer.expiry_ms = current->expiry_ms;
    return change;
  }

  absl::StatusOr<StateChange> operator()(const RegisterCas& cas) const {
    RETURN_IF_ERROR(CheckKind(current, StateKind::kRegister));
    if (VersionOf(current) != cas.expected_version) {
      return WithReason(absl::AbortedError(absl::StrCat("expected_version is ", cas.expected_version,
                                                        ", but the version is ", VersionOf(current))),
                        reason::kVersionMismatch);
    }
    return Write(cas.value, cas.expiry_ms);
  }

  absl::StatusOr<StateChange> operator()(const RemoveState&) const {
    StateChange change{.answer = AnswerOf(current, false)};
    change.answer.version = 0;
    change.remove = true;
    return change;
  }

  absl::StatusOr<StateChange> operator()(const LinearApply& action) const { return ActLinear(action, current); }
  absl::StatusOr<StateChange> operator()(const LinearGet& action) const { return ActLinear(action, current); }
  absl::StatusOr<StateChange> operator()(const FeedbackAttend& action) const { return ActFeedback(action, current); }
  absl::StatusOr<StateChange> operator()(const FeedbackGet& action) const { return ActFeedback(action, current); }
  absl::StatusOr<StateChange> operator()(const CountersAdd& action) const { return ActCounters(action, current, read); }
  absl::StatusOr<StateChange> operator()(const CountersGet& action) const { return ActCounters(action, current, read); }

  absl::StatusOr<StateChange> Write(const std::string& value, int64_t expiry_ms) const {
    RETURN_IF_ERROR(CheckKind(current, StateKind::kRegister));
    StateChange change{.answer = AnswerOf(current, true), .next = NextOf(current, StateKind::kRegister, value)};
    change.next->expiry_ms = expiry_ms;
    return change;
  }
};

}  // namespace

absl::Status CheckKind(const StateRecord* current, StateKind kind) {
  if (current == nullptr || current->kind == kind) return absl::OkStatus();
  if (kind == StateKind::kCounters && current->kind == StateKind::kCounterMatrix) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(absl::StrCat("the state is a ", NameOf(current->kind), ", not a ",
                                                               NameOf(kind), "; remove it first")),
                    reason::kStateKindMismatch);
}

absl::StatusOr<StateChange> Act(const StateAction& action, const StateRecord* current, const PieceReader& read) {
  return std::visit(Actor{current, read}, action);
}

std::optional<StateAction> RereadOf(const StateAction& action) {
  if (const auto* linear = std::get_if<LinearApply>(&action)) {
    LinearApply read = *linear;
    read.keys.items.clear();
    read.values.items.clear();
    return read;
  }
  // A block that was attended answers again what it answered.
  if (IsRead(action) || std::holds_alternative<FeedbackAttend>(action)) return action;
  return std::nullopt;
}

}  // namespace mneme
