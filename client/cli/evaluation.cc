#include "client/cli/evaluation.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mneme::cli {

double MixLogProbs(double lm, double knn, double lambda) {
  // ln 0 is -infinity, which either end of the mix takes as it is.
  const double from_lm = lm + std::log1p(-lambda);
  const double from_knn = knn + std::log(lambda);
  const double high = std::max(from_lm, from_knn);
  if (std::isinf(high)) return high;
  return high + std::log1p(std::exp(std::min(from_lm, from_knn) - high));
}

Evaluation::Evaluation(std::vector<uint32_t> ks, std::vector<double> temperatures, std::vector<double> lambdas)
    : ks_(ks.size()), temperatures_(temperatures.size()), lambdas_(lambdas.size()) {
  for (const uint32_t k : ks) {
    for (const double temperature : temperatures) {
      for (const double lambda : lambdas) settings_.push_back({k, temperature, lambda});
    }
  }
}

void Evaluation::Add(double lm_log_prob, bool found, const double* cells) {
  lm_.push_back(lm_log_prob);
  for (size_t cell = 0; cell < ks_ * temperatures_; ++cell) {
    knn_.push_back(found ? cells[cell] : std::numeric_limits<double>::quiet_NaN());
  }
}

double Evaluation::NatsAt(size_t setting, size_t token) const {
  const size_t temperature = setting / lambdas_ % temperatures_;
  const size_t k = setting / lambdas_ / temperatures_;
  const double knn = knn_[(token * temperatures_ + temperature) * ks_ + k];
  return std::isnan(knn) ? lm_[token] : MixLogProbs(lm_[token], knn, settings_[setting].lambda);
}

double Evaluation::PerplexityLm(size_t first, size_t last) const {
  double sum = 0;
  for (size_t token = first; token < last; ++token) sum += lm_[token];
  return std::exp(-sum / static_cast<double>(last - first));
}

double Evaluation::Perplexity(size_t setting, size_t first, size_t last) const {
  double sum = 0;
  for (size_t token = first; token < last; ++token) sum += NatsAt(setting, token);
  return std::exp(-sum / static_cast<double>(last - first));
}

size_t Evaluation::Best(size_t first, size_t last) const {
  size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t setting = 0; setting < settings_.size(); ++setting) {
    const double perplexity = Perplexity(setting, first, last);
    if (perplexity < least) {
      least = perplexity;
      best = setting;
    }
  }
  return best;
}

std::optional<HeldOut> Evaluation::BestOnFirstHalf() const {
  const size_t half = tokens() / 2;
  if (half == 0) return std::nullopt;
  const size_t best = Best(0, half);
  return HeldOut{settings_[best], Perplexity(best, 0, half), Perplexity(best, half, tokens()),
                 PerplexityLm(half, tokens())};
}

std::vector<double> Evaluation::Nats(size_t setting) const {
  std::vector<double> nats(tokens());
  for (size_t token = 0; token < nats.size(); ++token) nats[token] = NatsAt(setting, token);
  return nats;
}

}  // namespace mneme::cli
