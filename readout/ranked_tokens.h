// Sparse distributions in log space: added, ordered and cut. What read-outs of tokens share. Pure; thread-safe.
#ifndef MNEME_READOUT_RANKED_TOKENS_H_
#define MNEME_READOUT_RANKED_TOKENS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/types.h"
#include "readout/distribution.h"

namespace mneme {

inline constexpr double kNever = -std::numeric_limits<double>::infinity();  // ln 0

struct TokenLogProb {
  double log_prob = 0.0;
  Token token = 0;
};

inline bool MoreLikely(const TokenLogProb& a, const TokenLogProb& b) {
  return a.log_prob > b.log_prob || (a.log_prob == b.log_prob && a.token < b.token);
}

// ln(exp(a) + exp(b)); exact where either is -infinity, which is how weights 0 and 1 need no case of their own.
inline double LogAdd(double a, double b) {
  const double greater = std::max(a, b);
  if (greater == kNever) return kNever;
  return greater + std::log1p(std::exp(std::min(a, b) - greater));
}

// The tokens of `distribution` by token ascending, so that a walk over the vocabulary meets them in passing.
std::vector<TokenLogProb> ByToken(const TokenDistribution& distribution);

// Moves the most likely into `out`, all with top_m 0; what is cut is summed into left_out, in the order of `ranked`
// before it was ordered.
void OrderAndCut(std::vector<TokenLogProb> ranked, uint32_t top_m, TokenDistribution& out);

}  // namespace mneme

#endif  // MNEME_READOUT_RANKED_TOKENS_H_
