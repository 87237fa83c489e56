// RegisterHistory: what clients asked of one register and were told, and when: does some order of it all explain what
// they were told, in which nothing comes before what had been answered before it was asked? (Wing and Gong 1993.)
#ifndef MNEME_TESTS_ENGINE_REGISTER_HISTORY_H_
#define MNEME_TESTS_ENGINE_REGISTER_HISTORY_H_

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace mneme::testing {

struct RegisterCall {
  enum class Kind { kPut, kSwap, kGet };
  Kind kind = Kind::kGet;
  uint64_t expected_version = 0;  // of a swap
  std::string value;              // that is written
  uint64_t asked = 0;
  uint64_t told = std::numeric_limits<uint64_t>::max();  // never: it may or may not have been done
  // What was told.
  bool done = true;      // false: the swap found another version
  uint64_t version = 0;  // after it
  std::string read;      // of a get
};

// Not thread-safe. A register has version 0 and no value until it is written; every write raises the version.
class RegisterHistory {
 public:
  // Of at most 62 calls; more are not looked at.
  size_t Ask(RegisterCall call) {
    calls_.push_back(std::move(call));
    return calls_.size() - 1;
  }
  RegisterCall& at(size_t call) { return calls_[call]; }
  size_t size() const { return calls_.size(); }

  bool IsLinearizable() const;
  std::string ToString() const;

 private:
  struct State {
    uint64_t version = 0;
    std::string value;
    friend auto operator<=>(const State&, const State&) = default;
  };
  bool CanFollow(uint64_t taken, const State& state, std::set<std::pair<uint64_t, State>>& dead_ends) const;
  // The state after the call; nullopt when it cannot have been told what it was.
  static std::optional<State> After(const RegisterCall& call, const State& before);

  std::vector<RegisterCall> calls_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_REGISTER_HISTORY_H_
