#include "engine/state_actions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

const char* NameOf(StateKind kind) {
  switch (kind) {
    case StateKind::kRegister: return "register";
    case StateKind::kLinear: return "linear memory";
    case StateKind::kFeedback: return "feedback memory";
    case StateKind::kCounters: return "counter matrix";
    case StateKind::kRemoved: break;
  }
  return "removed state";
}

absl::Status CheckKind(const StateRecord* current, StateKind kind) {
  if (current == nullptr || current->kind == kind) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(absl::StrCat("the state is a ", NameOf(current->kind), ", not a ",
                                                               NameOf(kind), "; remove it first")),
                    reason::kStateKindMismatch);
}

uint64_t VersionOf(const StateRecord* current) { return current == nullptr ? 0 : current->version; }

// What every answer says; `written` when the action wrote.
StateAnswer AnswerOf(const StateRecord* current, bool written) {
  StateAnswer answer;
  answer.found = current != nullptr;
  answer.version = VersionOf(current) + (written ? 1 : 0);
  return answer;
}

StateRecord NextOf(const StateRecord* current, StateKind kind) {
  return {.kind = kind, .version = VersionOf(current) + 1};
}

struct Actor {
  const StateRecord* current;

  absl::StatusOr<StateChange> operator()(const RegisterPut& put) const {
    return Write(put.value, put.expiry_ms);
  }

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
    StateChange change{.answer = AnswerOf(current, false), .next = {}, .remove = true};
    change.answer.version = 0;
    return change;
  }

 private:
  absl::StatusOr<StateChange> Write(const std::string& value, int64_t expiry_ms) const {
    RETURN_IF_ERROR(CheckKind(current, StateKind::kRegister));
    StateChange change{.answer = AnswerOf(current, true), .next = NextOf(current, StateKind::kRegister)};
    change.next->expiry_ms = expiry_ms;
    change.next->payload = value;
    return change;
  }
};

}  // namespace

absl::StatusOr<StateChange> Act(const StateAction& action, const StateRecord* current) {
  return std::visit(Actor{current}, action);
}

std::optional<StateAction> RereadOf(const StateAction& action) {
  if (std::holds_alternative<RegisterGet>(action)) return action;
  return std::nullopt;
}

}  // namespace mneme
