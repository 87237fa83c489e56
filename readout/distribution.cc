// How a distribution is made:
//   1. keep the first k neighbours, and of them the allowed ones;
//   2. take w exp((s - nearest) / T) of each, relative to the nearest of all, and sum them into their tokens' masses;
//   3. tokens so far from the nearest that their terms vanish are summed again, relative to their own nearest: their
//      probability is 0 in a double, but its logarithm is not -infinity;
//   4. ln p of a token is ln mass (+ what step 3 took out) - ln total;
//   5. order by ln p descending, then token ascending, and cut to top_m.
// Differences of scores are taken before dividing by T: they are exact where the quotients would have lost digits.
// Weights need no part in choosing the reference: over the whole range of f32 they span e^192 and exp covers e^709.
#include "readout/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "readout/ranked_tokens.h"
#include "readout/token_numbers.h"

namespace mneme {
namespace {

// Below this exponent a term is summed relative to its token's own nearest: e^-500 has all its digits for any weight.
constexpr double kVanishing = -500.0;

// The neighbours of one token.
struct TokenGroup {
  Token token = 0;
  double nearest = 0.0;  // the score of its nearest neighbour
  double mass = 0.0;     // sum of w exp((s - reference) / T); the reference is its own nearest if that vanishes
};

bool IsAllowed(const std::vector<Token>* allowed, Token token) {
  return allowed == nullptr || std::binary_search(allowed->begin(), allowed->end(), token);
}

double WeightOf(const ScoredTokens& neighbours, size_t i) {
  return neighbours.weights.empty() ? 1.0 : static_cast<double>(neighbours.weights[i]);
}

// Step 1, where there is a mask. Owns the columns that are kept.
struct AllowedNeighbours {
  AllowedNeighbours(const ScoredTokens& all, const std::vector<Token>& allowed) {
    for (size_t i = 0; i < all.tokens.size(); ++i) {
      if (!IsAllowed(&allowed, all.tokens[i])) continue;
      scores.push_back(all.scores[i]);
      tokens.push_back(all.tokens[i]);
      if (!all.weights.empty()) weights.push_back(all.weights[i]);
    }
  }
  std::vector<double> scores;
  std::vector<Token> tokens;
  std::vector<float> weights;
};

// Step 3: `group_of` numbers the group of each neighbour; being ordered, the vanishing groups are the last ones.
void SumVanishingGroups(const ScoredTokens& neighbours, double temperature, const std::vector<uint32_t>& group_of,
                        std::vector<TokenGroup>& groups) {
  size_t first = groups.size();
  while (first > 0 && (groups[first - 1].nearest - neighbours.scores[0]) / temperature < kVanishing) --first;
  if (first == groups.size()) return;
  for (size_t g = first; g < groups.size(); ++g) groups[g].mass = 0.0;
  for (size_t i = 0; i < group_of.size(); ++i) {
    if (group_of[i] < first) continue;
    TokenGroup& group = groups[group_of[i]];
    group.mass += WeightOf(neighbours, i) * std::exp((neighbours.scores[i] - group.nearest) / temperature);
  }
}

// Steps 2 and 3: the groups in order of their nearest neighbours. The exponentials have a loop of their own: beside
// the unpredictable branches of the table they take three times as long.
std::vector<TokenGroup> GroupByToken(const ScoredTokens& neighbours, double temperature) {
  const size_t k = neighbours.scores.size();
  std::vector<double> terms(k);
  for (size_t i = 0; i < k; ++i) terms[i] = std::exp((neighbours.scores[i] - neighbours.scores[0]) / temperature);
  if (!neighbours.weights.empty()) {
    for (size_t i = 0; i < k; ++i) terms[i] *= static_cast<double>(neighbours.weights[i]);
  }
  TokenNumbers numbers(k);
  std::vector<TokenGroup> groups;
  groups.reserve(k);
  std::vector<uint32_t> group_of(k);
  for (size_t i = 0; i < k; ++i) {
    const uint32_t number = numbers.NumberOf(neighbours.tokens[i]);
    if (number == groups.size()) groups.push_back({neighbours.tokens[i], neighbours.scores[i], 0.0});
    groups[number].mass += terms[i];
    group_of[i] = number;
  }
  SumVanishingGroups(neighbours, temperature, group_of, groups);
  return groups;
}

// ln of the model's mass on the allowed tokens; 0 without a mask, since p_LM is then taken as given.
double LogMassOfAllowed(absl::Span<const float> lm_log_probs, const std::vector<Token>* allowed) {
  if (allowed == nullptr) return 0.0;
  double greatest = kNever;
  for (const Token token : *allowed) {
    if (token < lm_log_probs.size()) greatest = std::max(greatest, static_cast<double>(lm_log_probs[token]));
  }
  if (greatest == kNever) return kNever;
  double mass = 0.0;
  for (const Token token : *allowed) {
    if (token < lm_log_probs.size()) mass += std::exp(lm_log_probs[token] - greatest);
  }
  return greatest + std::log(mass);
}

}  // namespace

TokenDistribution Distribution(const ScoredTokens& neighbours, const DistributionOptions& options) {
  TokenDistribution out;
  const size_t k = std::min<size_t>(options.k, neighbours.scores.size());
  ScoredTokens used = {neighbours.scores.first(k), neighbours.tokens.first(k),
                       neighbours.weights.empty() ? neighbours.weights : neighbours.weights.first(k)};
  std::optional<AllowedNeighbours> kept;
  if (options.allowed != nullptr) {
    kept.emplace(used, *options.allowed);
    used = {kept->scores, kept->tokens, kept->weights};
  }
  if (used.scores.empty()) return out;
  const std::vector<TokenGroup> groups = GroupByToken(used, options.temperature);
  std::vector<TokenLogProb> ranked;
  ranked.reserve(groups.size());
  double total = 0.0;
  for (const TokenGroup& group : groups) {
    const double shift = (group.nearest - used.scores[0]) / options.temperature;
    const bool vanishing = shift < kVanishing;
    if (!vanishing) total += group.mass;
    ranked.push_back({std::log(group.mass) + (vanishing ? shift : 0.0), group.token});
  }
  const double log_total = std::log(total);
  for (TokenLogProb& item : ranked) item.log_prob -= log_total;  // step 4
  out.log_total_mass = used.scores[0] / options.temperature + log_total;
  OrderAndCut(std::move(ranked), options.top_m, out);
  return out;
}

void TargetLogProbs(const ScoredTokens& neighbours, double temperature, absl::Span<const uint32_t> ks, Token target,
                    const std::vector<Token>* allowed, absl::Span<double> out, absl::Span<double> log_total_masses) {
  const bool target_allowed = IsAllowed(allowed, target);
  size_t i = 0;
  while (i < neighbours.scores.size() && !IsAllowed(allowed, neighbours.tokens[i])) ++i;
  const size_t first = i;
  // Found before the loop: were it chosen inside, each exp would wait for the one before it.
  const double nearest = first < neighbours.scores.size() ? neighbours.scores[first] : 0.0;
  double total = 0.0;           // relative to it
  double target_nearest = 0.0;  // of the neighbours that hold the target
  double target_mass = 0.0;     // relative to it; 0: none yet
  for (size_t j = 0; j < ks.size(); ++j) {
    for (const size_t k = std::min<size_t>(ks[j], neighbours.scores.size()); i < k; ++i) {
      const bool is_target = neighbours.tokens[i] == target;
      if (is_target ? !target_allowed : !IsAllowed(allowed, neighbours.tokens[i])) continue;
      const double score = neighbours.scores[i];
      const double weight = WeightOf(neighbours, i);
      total += weight * std::exp((score - nearest) / temperature);
      if (!is_target) continue;
      if (target_mass == 0.0) target_nearest = score;
      target_mass += weight * std::exp((score - target_nearest) / temperature);
    }
    const double log_total = std::log(total);
    out[j] = target_mass == 0.0 ? kNever : std::log(target_mass) + (target_nearest - nearest) / temperature - log_total;
    if (!log_total_masses.empty()) log_total_masses[j] = total == 0.0 ? kNever : nearest / temperature + log_total;
  }
}

double MixLogProbs(double log_knn, double log_lm, double knn_weight) {
  return LogAdd(log_knn + std::log(knn_weight), log_lm + std::log1p(-knn_weight));
}

TokenDistribution MixDistribution(const TokenDistribution& knn, absl::Span<const float> lm_log_probs,
                                  double knn_weight, uint32_t top_m, const std::vector<Token>* allowed) {
  TokenDistribution out;
  out.log_total_mass = knn.log_total_mass;
  const double lm_mass = LogMassOfAllowed(lm_log_probs, allowed);
  if (lm_mass == kNever && knn.tokens.empty()) return out;
  if (knn.tokens.empty()) knn_weight = 0.0;
  if (lm_mass == kNever) knn_weight = 1.0;
  const double knn_shift = std::log(knn_weight);
  const double lm_shift = lm_mass == kNever ? kNever : std::log1p(-knn_weight) - lm_mass;
  const std::vector<TokenLogProb> neighbours = ByToken(knn);
  std::vector<TokenLogProb> ranked;
  ranked.reserve((allowed == nullptr ? lm_log_probs.size() : allowed->size()) + neighbours.size());
  auto neighbour = neighbours.begin();
  const auto visit = [&](Token token, double log_lm) {
    double mixed = log_lm + lm_shift;
    if (neighbour != neighbours.end() && neighbour->token == token) {
      mixed = LogAdd((neighbour++)->log_prob + knn_shift, mixed);
    }
    if (mixed != kNever) ranked.push_back({mixed, token});
  };
  if (allowed == nullptr) {
    for (Token token = 0; token < lm_log_probs.size(); ++token) visit(token, lm_log_probs[token]);
    while (neighbour != neighbours.end()) visit(neighbour->token, kNever);
  } else {
    for (const Token token : *allowed) visit(token, token < lm_log_probs.size() ? lm_log_probs[token] : kNever);
  }
  OrderAndCut(std::move(ranked), top_m, out);
  return out;
}

void DistinctCounts(absl::Span<const Token> tokens, absl::Span<uint32_t> out) {
  TokenNumbers numbers(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    numbers.NumberOf(tokens[i]);
    out[i] = numbers.size();
  }
}

}  // namespace mneme
