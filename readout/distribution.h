// Distribution: kNN-LM's read-out, p_kNN(y | x), over the k nearest neighbours.
//
// Khandelwal et al. 2020, eq. 2: p_kNN(y) is proportional to the sum over neighbours i with v_i = y of
// w_i exp(s_i / T), where s_i = -squared L2 distance (or the similarity), T the temperature and w_i the entry's weight
// (ln w_i stands outside the division by T). Eq. 3: p = lambda p_kNN + (1 - lambda) p_LM, computed in log space.
//
// A read-out over the top k: defined on the global top k in the order of I4, so the answer is the same to the byte for
// any number of shards. Pure: no I/O, double accumulators, deterministic order of summation (neighbours of a token in
// their order, then tokens in the order of their nearest neighbour). Every function is thread-safe.
#ifndef MNEME_READOUT_DISTRIBUTION_H_
#define MNEME_READOUT_DISTRIBUTION_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"
#include "common/types.h"

namespace mneme {

// The neighbours of one query, nearest first.
struct ScoredTokens {
  absl::Span<const double> scores;   // finite, descending
  absl::Span<const Token> tokens;    // as long as scores
  absl::Span<const float> weights;   // > 0, as long as scores, or empty: all 1
};

struct DistributionOptions {
  double temperature = 1.0;  // > 0
  uint32_t k = 0;            // use the first min(k, found) neighbours
  uint32_t top_m = 0;        // keep the m most likely tokens; 0: all
  // Ascending without repeats: only these tokens may appear, and the rest is renormalised away. Null: all tokens.
  const std::vector<Token>* allowed = nullptr;
};

// A sparse distribution: tokens by probability descending, then token ascending.
struct TokenDistribution {
  std::vector<Token> tokens;
  std::vector<double> log_probs;  // finite; far below ln of the smallest double where the temperature makes it so
  double left_out = 0.0;          // probability of the tokens that top_m cut: 1 - left_out is what is here
  double log_total_mass = -std::numeric_limits<double>::infinity();  // ln sum of w exp(s / T), before normalising
};

// Empty tokens when there is no neighbour (or none is allowed): the model then uses p_LM alone.
TokenDistribution Distribution(const ScoredTokens& neighbours, const DistributionOptions& options);

// ln p_kNN(target) without building the distribution; -infinity when no (allowed) neighbour has it.
// For several k at once, in one pass over the neighbours: out[j] is for ks[j]; ks ascend. `log_total_masses` is empty
// or as long as ks: ln of the mass of the (allowed) neighbours, -infinity when there are none, which is where the
// caller uses p_LM alone instead of mixing.
void TargetLogProbs(const ScoredTokens& neighbours, double temperature, absl::Span<const uint32_t> ks, Token target,
                    const std::vector<Token>* allowed, absl::Span<double> out,
                    absl::Span<double> log_total_masses = {});

// ln(lambda exp(log_knn) + (1 - lambda) exp(log_lm)); exact at lambda 0 and 1 and for -infinity on either side.
double MixLogProbs(double log_knn, double log_lm, double knn_weight);

// Mixes a whole distribution (made with top_m = 0) with the model's log-probabilities [vocabulary], which hold no NaN
// and no +infinity: tokens by probability descending, cut to top_m (0: all); tokens of probability 0 do not appear.
// A token of `knn` outside the vocabulary has p_LM = 0. With no neighbours the answer is p_LM alone, whatever lambda
// (MEMORIES 0.3); with p_LM 0 on every allowed token it is p_kNN alone. `allowed` (the same that `knn` was made with)
// renormalises each side before they are mixed, so that lambda keeps its meaning under any mask; without it p_LM
// is taken as given, normalised or not.
TokenDistribution MixDistribution(const TokenDistribution& knn, absl::Span<const float> lm_log_probs,
                                  double knn_weight, uint32_t top_m, const std::vector<Token>* allowed);

// Adaptive kNN-MT features (Zheng et al. 2021): out[i] = number of distinct tokens among the first i + 1 neighbours.
void DistinctCounts(absl::Span<const Token> tokens, absl::Span<uint32_t> out);

}  // namespace mneme

#endif  // MNEME_READOUT_DISTRIBUTION_H_
