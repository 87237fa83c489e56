// Mixture: the read-outs of one query from several memories as one, p = sum over sources s of w_s p_s.
//
// Every source is read out by itself, normalised over its own neighbours, and then mixed, so that its share is its
// weight and not how near or how many its entries are. A source that has nothing for a row (nothing found, nothing of
// it allowed, nothing left by shrinkage) has no p_s: its weight goes to the others in proportion, as p_LM takes that of
// a memory without neighbours (distribution.h). For kNN-LM over a global memory, a tenant's and a session's.
//
// `weights` are > 0, of any sum; the *effective* weights of a row sum to 1 over the sources that have something, and
// are all 0 where none has. Pure: double accumulators, added in the order of the sources. Thread-safe.
#ifndef MNEME_READOUT_MIXTURE_H_
#define MNEME_READOUT_MIXTURE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/types.h"
#include "readout/attention.h"
#include "readout/distribution.h"

namespace mneme {

// `present`, as long as weights: the source has something.
std::vector<double> EffectiveWeights(absl::Span<const double> weights, const std::vector<bool>& present);

// --- Distributions ---

// True where the source has a distribution at all: tokens, and a mass.
std::vector<bool> PresentSources(absl::Span<const TokenDistribution> sources);

// The sources were made with top_m = 0; `effective` is as long. The mass is that of all sources together: ln of the sum
// of their w exp(s / T), -infinity only where none has any.
TokenDistribution MixSources(absl::Span<const TokenDistribution> sources, absl::Span<const double> effective,
                             uint32_t top_m);

// As TargetLogProbs.
struct TargetOptions {
  double temperature = 1.0;
  absl::Span<const uint32_t> ks;  // ascending
  Token target = 0;
  const std::vector<Token>* allowed = nullptr;
};

struct MixedTarget {
  double log_prob = 0.0;          // -infinity when no (allowed) neighbour of any source has the target
  double log_total_mass = 0.0;    // as MixSources'
  std::vector<double> effective;  // weight of each source
};

// One for each k: the first min(k, found) neighbours of each source, which has a weight.
std::vector<MixedTarget> MixTargets(absl::Span<const ScoredTokens> sources, absl::Span<const double> weights,
                                    const TargetOptions& options);

// --- Attention ---

// `rows` and `weights` are those of the sources one after another, the weights as shares of the whole; the entropy is
// that of these. all_zero: no source has an active entry.
Attention MixAttentions(absl::Span<const Attention> sources, absl::Span<const double> effective);
// Over one vocabulary: lists every token that a source of weight > 0 lists.
SparseOutput MixSparseOutputs(absl::Span<const SparseOutput> sources, absl::Span<const double> effective);

}  // namespace mneme

#endif  // MNEME_READOUT_MIXTURE_H_
