// Evaluation: perplexities of a grid of settings from the log-probabilities of what really came. Pure mathematics.
#ifndef MNEME_CLIENT_CLI_EVALUATION_H_
#define MNEME_CLIENT_CLI_EVALUATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace mneme::cli {

// One point of the grid k x temperature x lambda.
struct Setting {
  uint32_t k = 0;
  double temperature = 1;
  double lambda = 0;
};

// ln(lambda e^knn + (1 - lambda) e^lm), the mix of Khandelwal et al. (2020), without overflow; `knn` may be -infinity.
double MixLogProbs(double lm, double knn, double lambda);

// The best setting by the first half of the tokens, judged on the second.
struct HeldOut {
  Setting setting;
  double perplexity_first_half = 0;
  double perplexity = 0;     // second half, with the memory
  double perplexity_lm = 0;  // second half, without
};

// Collects ln p of each token under every setting of a grid. Settings are in the order k, temperature, lambda, the last
// fastest. Keeps 8 bytes per token and (k, temperature), and none per lambda. Not thread-safe.
class Evaluation {
 public:
  Evaluation(std::vector<uint32_t> ks, std::vector<double> temperatures, std::vector<double> lambdas);

  // The next token: ln p_LM of it; whether any neighbour was found; ln p_kNN of it in the cells of the wire,
  // [temperatures x ks]. Where nothing was found every setting is p_LM alone.
  void Add(double lm_log_prob, bool found, const double* cells);

  size_t tokens() const { return lm_.size(); }
  const std::vector<Setting>& settings() const { return settings_; }
  // exp(-mean ln p); NaN without tokens.
  double PerplexityLm() const { return PerplexityLm(0, tokens()); }
  double Perplexity(size_t setting) const { return Perplexity(setting, 0, tokens()); }
  // The setting of least perplexity over all tokens, the first of equals.
  size_t Best() const { return Best(0, tokens()); }
  // Nothing for fewer than two tokens.
  std::optional<HeldOut> BestOnFirstHalf() const;
  // ln p of every token under a setting.
  std::vector<double> Nats(size_t setting) const;

 private:
  double NatsAt(size_t setting, size_t token) const;
  double PerplexityLm(size_t first, size_t last) const;
  double Perplexity(size_t setting, size_t first, size_t last) const;
  size_t Best(size_t first, size_t last) const;

  size_t ks_;
  size_t temperatures_;
  size_t lambdas_;
  std::vector<Setting> settings_;
  std::vector<double> lm_;
  std::vector<double> knn_;  // [tokens x temperatures x ks]; NaN where nothing was found
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_EVALUATION_H_
