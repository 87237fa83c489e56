// Select: draws from a pool of scored candidates (Selfmem, Cheng et al. 2023: the selector's argmax, or its p).
//
// Argmax orders by score. Softmax draws without replacement from p(c) proportional to exp(s_c / tau), by Gumbel top-n
// (Kool et al. 2019): the n largest of s_c / tau + g_c, g_c = -ln(-ln u_c), u_c = ((h >> 12) + 1/2) 2^-52,
// h = Mix64(Mix64(seed) ^ id), Mix64 splitmix64's output function. A candidate's noise depends on the seed and its
// id alone: the draw is the same for any order of the pool and any number of shards. Pure and thread-safe.
#ifndef MNEME_READOUT_SELECT_H_
#define MNEME_READOUT_SELECT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/types.h"

namespace mneme {

enum class SelectMode { kArgmax, kSoftmax };

struct SelectOptions {
  SelectMode mode = SelectMode::kArgmax;
  double temperature = 1.0;  // tau of kSoftmax; finite, > 0
  uint64_t seed = 0;         // of kSoftmax
  size_t n = 1;              // draws; the whole pool when it is smaller
};

struct Selected {
  size_t row = 0;            // position in the pool
  EntryId id = 0;
  double probability = 0.0;  // softmax: of being drawn first, p(c); argmax: 1 for the first, 0 for those after it
};

// In the order drawn; ties by score, then by lower id. Empty for an empty pool. `scores` are finite; `ids` are
// distinct and as long as scores.
std::vector<Selected> Select(absl::Span<const double> scores, absl::Span<const EntryId> ids,
                             const SelectOptions& options);

}  // namespace mneme

#endif  // MNEME_READOUT_SELECT_H_
