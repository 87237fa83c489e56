// What happens to the working memory of sessions.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

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
  if (known.has_value() && !known->earlier.empty()) return PlanRestOfStates(operation, moment, *known);
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

absl::StatusOr<WriteResult> WriteGroup::PlanRestOfStates(const StateOperation& operation, const StateMoment& moment,
                                                         const RememberedRequest& known) {
  const RestOfStates rest = RestOf(known.earlier, *operation.ticket.memory, operation.request);
  WriteResult result;
  result.sequence = known.sequence;
  result.replayed = true;
  ASSIGN_OR_RETURN(result.earlier, EarlierStates(known.earlier));
  // The answers of before are put in by who has the whole request; those that were too large to be remembered are read.
  StateOutcome covered;
  covered.answers.resize(rest.covered_positions.size());
  const auto& parts = result.earlier->states;
  const bool whole = std::all_of(parts.begin(), parts.end(), [](const auto& part) { return part.remembered.whole; });
  if (!whole) RETURN_IF_ERROR(states_->Reread(moment, rest.covered, covered));
  StateOutcome outcome;
  if (rest.request.has_value() && known.result.empty()) {
    ASSIGN_OR_RETURN(outcome, states_->Plan(moment, *rest.request));
    result.sequence = Take(operation.ticket.position);
    result.replayed = false;
    RememberBytes(operation.ticket, result.sequence, EncodeStateOutcome(outcome), known.earlier);
  } else if (rest.request.has_value()) {
    ASSIGN_OR_RETURN(RememberedStates since, DecodeStateOutcome(known.result));
    outcome = std::move(since.outcome);
    if (outcome.answers.size() != rest.rest_positions.size()) {
      return absl::DataLossError("what is remembered of a request does not have an answer for each of its operations");
    }
    const auto* apply = std::get_if<ApplyStates>(&*rest.request);
    if (!since.whole && apply != nullptr) RETURN_IF_ERROR(states_->Reread(moment, *apply, outcome));
  }
  const size_t commands = rest.rest_positions.size() + rest.covered_positions.size();
  if (commands != 0) {
    std::vector<StateAnswer> answers(commands);
    for (size_t i = 0; i < rest.rest_positions.size(); ++i) {
      answers[rest.rest_positions[i]] = std::move(outcome.answers[i]);
    }
    for (size_t i = 0; i < rest.covered_positions.size(); ++i) {
      answers[rest.covered_positions[i]] = std::move(covered.answers[i]);
    }
    outcome.answers = std::move(answers);
  }
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
