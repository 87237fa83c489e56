// A whole session as bytes that a client gives back, and the states in it: what was taken can be read and written to.
// With an even first byte the checksum is set right.
#include <memory>
#include <utility>

#include "common/checksum.h"
#include "engine/counter_cells.h"
#include "engine/session_bytes.h"
#include "engine/state_change.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

absl::StatusOr<std::string> NoPiece(uint32_t) { return absl::DataLossError("a piece is not there"); }

// OK, or a refusal that a client may be told.
template <typename T>
void ExpectAnswer(const absl::StatusOr<T>& change) {
  if (change.ok()) return;
  const StatusCode code = change.status().code();
  Expect(code == StatusCode::kResourceExhausted || code == StatusCode::kInvalidArgument ||
             code == StatusCode::kFailedPrecondition,
         change.status().ToString());
}

StateRows Rows(uint32_t columns) { return {std::vector<float>(columns, 0.5F), columns}; }

void ActOnLinear(const StateRecord& state) {
  const auto got = ActLinear(LinearGet{}, &state);
  ExpectAnswer(got);
  if (!got.ok() || got->answer.key_dimension > 16 || got->answer.value_dimension > 16) return;
  const StateRows keys = Rows(got->answer.key_dimension);
  for (const LinearRule rule : {LinearRule::kLinear, LinearRule::kDelta}) {
    const auto next = ActLinear(LinearApply{keys, Rows(got->answer.value_dimension), keys, rule}, &state);
    ExpectAnswer(next);
    if (next.ok() && next->next.has_value()) {
      Expect(CheckVectorPayload(*next->next).ok(), "what is written can be read");
    }
  }
}

void ActOnFeedback(const StateRecord& state) {
  const auto got = ActFeedback(FeedbackGet{}, &state);
  ExpectAnswer(got);
  if (!got.ok() || got->answer.key_dimension > 16 || got->answer.value_dimension > 16) return;
  const StateRows keys = Rows(got->answer.key_dimension);
  const StateRows values = Rows(got->answer.value_dimension);
  if (keys.columns == 0 || values.columns == 0) return;
  const FeedbackAttend block{got->answer.last_block + 1, 0.5, 3, true, keys, keys, values, keys, keys, values};
  const auto next = ActFeedback(block, &state);
  ExpectAnswer(next);
  if (next.ok() && next->next.has_value()) {
    Expect(CheckVectorPayload(*next->next).ok(), "what is written can be read");
  }
}

void ActOn(const StateRecord& state) {
  switch (state.kind) {
    case StateKind::kLinear: return ActOnLinear(state);
    case StateKind::kFeedback: return ActOnFeedback(state);
    case StateKind::kCounters:
      ExpectAnswer(ActCounters(CountersGet{}, &state, NoPiece));
      return ExpectAnswer(ActCounters(CountersAdd{{1, 1}, {2, 3}, {}}, &state, NoPiece));
    default: return;
  }
}

bool Run(std::string_view input) {
  Input in(input);
  const bool sum = in.Byte() % 2 == 0;
  std::string bytes(in.Rest());
  if (sum) {
    const uint64_t checksum = Checksum64(bytes);
    bytes.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  }
  absl::StatusOr<NamedStates> states;
  {
    const AllocationBound bound(16 * 1024 + 16 * bytes.size());
    states = DecodeSessionBytes(bytes);
  }
  if (states.ok()) {
    for (const auto& [name, state] : *states) ActOn(*state);
  }
  return Through(states, bytes, EncodeSessionBytes, {StatusCode::kInvalidArgument}, {"content"});
}

std::string Seed(const NamedStates& states) {
  const std::string bytes = EncodeSessionBytes(states);
  return '\0' + bytes.substr(0, bytes.size() - sizeof(uint64_t));
}

StatePtr Kept(absl::StatusOr<StateChange> change) {
  Expect(change.ok() && change->next.has_value(), "a seed can be made");
  return std::make_shared<const StateRecord>(*std::move(change->next));
}

std::vector<std::string> Seeds() {
  const StateRows rows{{1.0F, 2.0F, 3.0F, 4.0F}, 2};
  NamedStates states;
  states["draft"] = std::make_shared<const StateRecord>(StateRecord{StateKind::kRegister, 3, 77, "text"});
  states["linear"] = Kept(ActLinear(LinearApply{rows, rows, rows}, nullptr));
  states["feedback"] = Kept(ActFeedback(FeedbackAttend{0, 0.5, 2, true, rows, rows, rows, rows, rows, rows}, nullptr));
  states["counts"] = std::make_shared<const StateRecord>(
      StateRecord{StateKind::kCounters, 1, 0, EncodeCells(std::vector<CounterCell>{{{0, 1}, -2}, {{300, 4}, 5}})});
  return {Seed({}), Seed({{"draft", states["draft"]}}), Seed({{"linear", states["linear"]}}),
          Seed({{"feedback", states["feedback"]}}), Seed({{"counts", states["counts"]}}), Seed(states)};
}

const Registration kTarget({"session", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
