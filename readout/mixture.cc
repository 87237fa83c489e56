#include "readout/mixture.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "readout/ranked_tokens.h"

namespace mneme {

std::vector<double> EffectiveWeights(absl::Span<const double> weights, const std::vector<bool>& present) {
  double total = 0.0;
  for (size_t s = 0; s < weights.size(); ++s) total += present[s] ? weights[s] : 0.0;
  std::vector<double> effective(weights.size(), 0.0);
  for (size_t s = 0; s < weights.size(); ++s) {
    if (present[s]) effective[s] = weights[s] / total;
  }
  return effective;
}

std::vector<bool> PresentSources(absl::Span<const TokenDistribution> sources) {
  std::vector<bool> present;
  for (const TokenDistribution& source : sources) present.push_back(source.log_total_mass != kNever);
  return present;
}

TokenDistribution MixSources(absl::Span<const TokenDistribution> sources, absl::Span<const double> effective,
                             uint32_t top_m) {
  TokenDistribution out;
  std::vector<TokenLogProb> terms;
  for (size_t s = 0; s < sources.size(); ++s) {
    out.log_total_mass = LogAdd(out.log_total_mass, sources[s].log_total_mass);
    const double log_weight = std::log(effective[s]);
    for (const TokenLogProb& item : ByToken(sources[s])) terms.push_back({item.log_prob + log_weight, item.token});
  }
  // Stable: the terms of a token stay in the order of their sources.
  std::stable_sort(terms.begin(), terms.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  std::vector<TokenLogProb> mixed;
  for (const TokenLogProb& term : terms) {
    if (mixed.empty() || mixed.back().token != term.token) {
      mixed.push_back(term);
    } else {
      mixed.back().log_prob = LogAdd(mixed.back().log_prob, term.log_prob);
    }
  }
  OrderAndCut(std::move(mixed), top_m, out);
  return out;
}

std::vector<MixedTarget> MixTargets(absl::Span<const ScoredTokens> sources, absl::Span<const double> weights,
                                    const TargetOptions& options) {
  const size_t ks = options.ks.size();
  std::vector<double> log_probs(sources.size() * ks);  // [sources x ks]
  std::vector<double> masses(log_probs.size());
  for (size_t s = 0; s < sources.size(); ++s) {
    TargetLogProbs(sources[s], options.temperature, options.ks, options.target, options.allowed,
                   absl::MakeSpan(log_probs).subspan(s * ks, ks), absl::MakeSpan(masses).subspan(s * ks, ks));
  }
  std::vector<MixedTarget> mixed(ks, {kNever, kNever, {}});
  std::vector<bool> present(sources.size());
  for (size_t j = 0; j < ks; ++j) {
    for (size_t s = 0; s < sources.size(); ++s) present[s] = masses[s * ks + j] != kNever;
    mixed[j].effective = EffectiveWeights(weights, present);
    for (size_t s = 0; s < sources.size(); ++s) {
      mixed[j].log_total_mass = LogAdd(mixed[j].log_total_mass, masses[s * ks + j]);
      mixed[j].log_prob = LogAdd(mixed[j].log_prob, log_probs[s * ks + j] + std::log(mixed[j].effective[s]));
    }
  }
  return mixed;
}

Attention MixAttentions(absl::Span<const Attention> sources, absl::Span<const double> effective) {
  constexpr double kEpsilon = 1e-12;  // of the entropy (attention.h)
  Attention mixed;
  mixed.all_zero = true;
  mixed.log_total_mass = kNever;
  for (size_t s = 0; s < sources.size(); ++s) {
    const Attention& source = sources[s];
    mixed.used += source.used;
    mixed.log_total_mass = LogAdd(mixed.log_total_mass, source.log_total_mass);
    mixed.out.resize(source.out.size(), 0.0);
    if (effective[s] == 0.0) continue;
    mixed.all_zero = false;
    for (size_t i = 0; i < source.out.size(); ++i) mixed.out[i] += effective[s] * source.out[i];
    mixed.rows.insert(mixed.rows.end(), source.rows.begin(), source.rows.end());
    for (const double weight : source.weights) {
      const double share = effective[s] * weight;
      mixed.weights.push_back(share);
      mixed.entropy -= share * std::log(share + kEpsilon);
    }
  }
  return mixed;
}

SparseOutput MixSparseOutputs(absl::Span<const SparseOutput> sources, absl::Span<const double> effective) {
  SparseOutput mixed;
  for (size_t s = 0; s < sources.size(); ++s) {
    if (effective[s] == 0.0) continue;
    mixed.tokens.insert(mixed.tokens.end(), sources[s].tokens.begin(), sources[s].tokens.end());
    mixed.elsewhere += effective[s] * sources[s].elsewhere;
  }
  std::sort(mixed.tokens.begin(), mixed.tokens.end());
  mixed.tokens.erase(std::unique(mixed.tokens.begin(), mixed.tokens.end()), mixed.tokens.end());
  mixed.values.assign(mixed.tokens.size(), 0.0);
  for (size_t s = 0; s < sources.size(); ++s) {
    if (effective[s] == 0.0) continue;
    const SparseOutput& source = sources[s];
    size_t at = 0;  // both lists ascend, and the mixed one has every token of the source
    for (size_t i = 0; i < mixed.tokens.size(); ++i) {
      const bool listed = at < source.tokens.size() && source.tokens[at] == mixed.tokens[i];
      mixed.values[i] += effective[s] * (listed ? source.values[at++] : source.elsewhere);
    }
  }
  return mixed;
}

}  // namespace mneme
