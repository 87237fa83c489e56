#include "tests/engine/register_history.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mneme::testing {
namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

}  // namespace

std::optional<RegisterHistory::State> RegisterHistory::After(const RegisterCall& call, const State& before) {
  const bool told = call.told != kNever;
  if (call.kind == RegisterCall::Kind::kGet) {
    if (told && (call.version != before.version || call.read != before.value)) return std::nullopt;
    return before;
  }
  const bool can = call.kind == RegisterCall::Kind::kPut || call.expected_version == before.version;
  if (told && call.done != can) return std::nullopt;
  if (!can) return before;
  if (told && call.version != before.version + 1) return std::nullopt;
  return State{before.version + 1, call.value};
}

bool RegisterHistory::CanFollow(uint64_t taken, const State& state,
                                std::set<std::pair<uint64_t, State>>& dead_ends) const {
  uint64_t first_told = kNever;
  bool all_told_are_taken = true;
  for (size_t i = 0; i < calls_.size(); ++i) {
    if ((taken >> i & 1) != 0 || calls_[i].told == kNever) continue;
    first_told = std::min(first_told, calls_[i].told);
    all_told_are_taken = false;
  }
  if (all_told_are_taken) return true;
  if (dead_ends.contains({taken, state})) return false;
  for (size_t i = 0; i < calls_.size(); ++i) {
    // Whatever was asked after another was told comes after it.
    if ((taken >> i & 1) != 0 || calls_[i].asked > first_told) continue;
    const std::optional<State> after = After(calls_[i], state);
    if (after.has_value() && CanFollow(taken | uint64_t{1} << i, *after, dead_ends)) return true;
  }
  dead_ends.insert({taken, state});
  return false;
}

bool RegisterHistory::IsLinearizable() const {
  std::set<std::pair<uint64_t, State>> dead_ends;
  return calls_.size() > 62 || CanFollow(0, State(), dead_ends);
}

std::string RegisterHistory::ToString() const {
  std::string text;
  for (const RegisterCall& call : calls_) {
    const char* const kind = call.kind == RegisterCall::Kind::kPut    ? "put"
                             : call.kind == RegisterCall::Kind::kSwap ? "swap"
                                                                      : "get";
    absl::StrAppend(&text, "  ", kind, " ", call.value, " expected ", call.expected_version, " asked ", call.asked);
    if (call.told == kNever) {
      absl::StrAppend(&text, " never told\n");
    } else {
      absl::StrAppend(&text, " told ", call.told, call.done ? " done" : " not done", " version ", call.version,
                      " read ", call.read, "\n");
    }
  }
  return text;
}

}  // namespace mneme::testing
