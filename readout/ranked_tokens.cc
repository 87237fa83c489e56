#include "readout/ranked_tokens.h"

#include <cstddef>
#include <utility>

namespace mneme {

std::vector<TokenLogProb> ByToken(const TokenDistribution& distribution) {
  std::vector<TokenLogProb> items(distribution.tokens.size());
  for (size_t i = 0; i < items.size(); ++i) items[i] = {distribution.log_probs[i], distribution.tokens[i]};
  std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  return items;
}

void OrderAndCut(std::vector<TokenLogProb> ranked, uint32_t top_m, TokenDistribution& out) {
  if (top_m != 0 && top_m < ranked.size()) {
    std::vector<TokenLogProb> kept(top_m);
    std::partial_sort_copy(ranked.begin(), ranked.end(), kept.begin(), kept.end(), MoreLikely);
    for (const TokenLogProb& item : ranked) {
      if (MoreLikely(kept.back(), item)) out.left_out += std::exp(item.log_prob);
    }
    ranked = std::move(kept);
  } else {
    std::sort(ranked.begin(), ranked.end(), MoreLikely);
  }
  out.tokens.reserve(ranked.size());
  out.log_probs.reserve(ranked.size());
  for (const TokenLogProb& item : ranked) {
    out.tokens.push_back(item.token);
    out.log_probs.push_back(item.log_prob);
  }
}

}  // namespace mneme
