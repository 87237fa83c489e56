#include "engine/remembered_result.h"

#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/state_outcome.h"

namespace mneme {

WriteResult ResultOf(const RememberedOutcome& outcome, Sequence sequence, uint32_t shard) {
  WriteResult result;
  result.count = outcome.count;
  result.other = outcome.other;
  result.sequence = sequence;
  result.replayed = true;
  if (outcome.gave_ids) {
    for (uint64_t i = 0; i < outcome.count; ++i) result.given_ids.push_back(ServerId(outcome.first_row + i, shard));
  }
  return result;
}

absl::StatusOr<WriteResult> ResultOf(const RememberedRequest& request, uint32_t shard) {
  // The three formats differ in their first byte or in their length (docs/formats.md).
  if (const auto outcome = DecodeOutcome(request.result); outcome.ok()) {
    return ResultOf(*outcome, request.sequence, shard);
  }
  WriteResult result;
  result.sequence = request.sequence;
  result.replayed = true;
  if (auto states = DecodeStateOutcome(request.result); states.ok()) {
    if (!states->whole) {
      return absl::UnavailableError("the answer was too large to be remembered whole; ask again with the request id");
    }
    result.states = std::make_shared<const StateOutcome>(std::move(states->outcome));
    return result;
  }
  ASSIGN_OR_RETURN(SlotAnswers answers, DecodeSlotAnswers(request.result));
  result.slots = std::make_shared<const SlotAnswers>(std::move(answers));
  return result;
}

}  // namespace mneme
