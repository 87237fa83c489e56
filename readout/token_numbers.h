// TokenNumbers: dense numbers for the distinct tokens among the neighbours of one query, in order of first appearance.
#ifndef MNEME_READOUT_TOKEN_NUMBERS_H_
#define MNEME_READOUT_TOKEN_NUMBERS_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/types.h"

namespace mneme {

// An open-addressing table at most half full, made for one pass over at most `tokens` tokens. Not thread-safe.
// A table because k = 1024 neighbours hold about 300 distinct tokens: sorting them would cost ten times the lookups.
class TokenNumbers {
 public:
  explicit TokenNumbers(size_t tokens)
      : shift_(32 - std::countr_zero(std::bit_ceil(2 * tokens + 2))), slots_(std::bit_ceil(2 * tokens + 2)) {}

  // The number of `token`; a token not seen before gets number size() - 1 after the call.
  uint32_t NumberOf(Token token) {
    const size_t mask = slots_.size() - 1;
    // Fibonacci hashing: the product's high bits depend on all bits of the token.
    size_t slot = static_cast<uint32_t>(token * 0x9E3779B1U) >> shift_;
    while (slots_[slot].number_plus_1 != 0) {
      if (slots_[slot].token == token) return slots_[slot].number_plus_1 - 1;
      slot = (slot + 1) & mask;
    }
    slots_[slot] = {token, ++size_};
    return size_ - 1;
  }
  uint32_t size() const { return size_; }

 private:
  struct Slot {
    Token token = 0;
    uint32_t number_plus_1 = 0;  // 0: free
  };
  int shift_;
  uint32_t size_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace mneme

#endif  // MNEME_READOUT_TOKEN_NUMBERS_H_
