// What happens to the working memory of sessions.
#include <algorithm>
#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "engine/expiry_queue.h"
#include "engine/state_outcome.h"
#include "engine/write_group.h"

namespace mneme {

absl::StatusOr<WriteResult> WriteGroup::PlanStates(const StateOperation& operation) {
  if (states_ == nullptr) states_ = std::make_unique<SessionPlanner>(store_.ReadStates());
  const WriteTicket& ticket = operation.ticket;
  const StateMoment moment{ticket.memory->number, SequenceFor(ticket.position), ticket.stamp_ms};
  WriteResult result;
  ASSIGN_OR_RETURN(const auto known, FindRemembered(ticket));
  if (known.has_value()) {
    absl::StatusOr<RememberedStates> remembered = DecodeStateOutcome(known->result);
    if (!remembered.ok()) return NotDecoded(ticket, remembered.status());
    const auto* apply = std::get_if<ApplyStates>(&operation.request);
    if (!remembered->whole && apply != nullptr) {
      RETURN_IF_ERROR(states_->Reread(moment, *apply, remembered->outcome));
    }
    result.states = std::make_shared<const StateOutcome>(std::move(remembered->outcome));
    result.sequence = known->sequence;
    result.replayed = true;
    return result;
  }
  ASSIGN_OR_RETURN(StateOutcome outcome, states_->Plan(moment, operation.request));
  result.sequence = Take(ticket.position);
  if (ticket.request.has_value()) RememberBytes(ticket, result.sequence, EncodeStateOutcome(outcome));
  result.states = std::make_shared<const StateOutcome>(std::move(outcome));
  return result;
}

absl::StatusOr<StateExpiryPlan> WriteGroup::PlanStateExpiry(const ExpireStatesOperation& operation) {
  states_ = std::make_unique<SessionPlanner>(store_.ReadStates());
  StateExpiryPlan plan;
  for (const StateExpiry& due : operation.due) {
    if (due.expiry_ms > operation.stamp_ms) continue;
    const absl::Status expired = states_->Expire(due, operation.stamp_ms, plan.removed);
    // One that is damaged may not keep the others here for good; in a log they may not go without it.
    if (absl::IsDataLoss(expired) && operation.position == 0) {
      plan.damaged.Update(expired);
    } else {
      RETURN_IF_ERROR(expired);
    }
  }
  Take(operation.position);
  return plan;
}

int64_t WriteGroup::least_state_expiry_ms() const {
  int64_t least = kNeverExpires;
  for (const StateExpiry& expiry : batch_.states.added_expiries) least = std::min(least, expiry.expiry_ms);
  return least;
}

}  // namespace mneme
