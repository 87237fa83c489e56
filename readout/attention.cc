#include "readout/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mneme {
namespace {

constexpr double kEpsilon = 1e-12;  // of MemAE: in the shrinkage, the L1 norm and the entropy

// What is divided by the scale: the score, or minus the distance.
double Affinity(AttentionKernel kernel, double score) {
  return kernel == AttentionKernel::kSoftmax ? score : -std::sqrt(std::max(-score, 0.0));
}

double Shrunk(double weight, double lambda) {
  if (lambda == 0.0) return weight;
  return std::max(weight - lambda, 0.0) * weight / (std::abs(weight - lambda) + kEpsilon);
}

double Dot(absl::Span<const double> a, absl::Span<const double> b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double Score(Metric metric, absl::Span<const double> a, absl::Span<const double> b) {
  switch (metric) {
    case Metric::kInnerProduct:
      return Dot(a, b);
    case Metric::kCosine: {
      const double norms = std::sqrt(Dot(a, a)) * std::sqrt(Dot(b, b));
      return norms == 0.0 ? 0.0 : Dot(a, b) / norms;
    }
    case Metric::kL2:
      break;
  }
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return -sum;
}

}  // namespace

void AttentionMass::Add(double score, double weight) {
  const double affinity = Affinity(options_.kernel, score);
  if (count_ == 0) {
    nearest_ = affinity;
  } else if (affinity > nearest_) {
    sum_ *= std::exp((nearest_ - affinity) / options_.scale);
    nearest_ = affinity;
  }
  sum_ += weight * std::exp((affinity - nearest_) / options_.scale);
  ++count_;
}

void AttentionMass::Merge(const AttentionMass& other) {
  if (other.count_ == 0) return;
  if (count_ == 0) {
    *this = other;
    return;
  }
  const double nearest = std::max(nearest_, other.nearest_);
  sum_ = sum_ * std::exp((nearest_ - nearest) / options_.scale) +
         other.sum_ * std::exp((other.nearest_ - nearest) / options_.scale);
  nearest_ = nearest;
  count_ += other.count_;
}

double AttentionMass::Log() const {
  if (count_ == 0) return -std::numeric_limits<double>::infinity();
  return nearest_ / options_.scale + std::log(sum_);
}

double AttentionMass::Share(double score, double weight) const {
  return weight * std::exp((Affinity(options_.kernel, score) - nearest_) / options_.scale) / sum_;
}

double AttentionWeights::Add(double score, double weight) {
  const double shrunk = Shrunk(mass_.Share(score, weight), mass_.options().shrink);
  if (shrunk == 0.0) return 0.0;
  ++active_;
  sum_ += shrunk;
  log_sum_ += shrunk * std::log(shrunk + kEpsilon);
  epsilon_sum_ += shrunk / (shrunk + kEpsilon);
  return shrunk;
}

void AttentionWeights::Merge(const AttentionWeights& other) {
  active_ += other.active_;
  sum_ += other.sum_;
  log_sum_ += other.log_sum_;
  epsilon_sum_ += other.epsilon_sum_;
}

double AttentionWeights::Divisor() const {
  return mass_.options().shrink == 0.0 ? 1.0 : std::max(sum_, kEpsilon);
}

double AttentionWeights::Entropy() const {
  const double divisor = Divisor();
  // sum (v/D) ln(v/D + e) = (sum v ln(v + e D) - sum v ln D) / D, and
  // v ln(v + e D) = v ln(v + e) - e (1 - D) v / (v + e).
  return (sum_ * std::log(divisor) - log_sum_ + kEpsilon * (1.0 - divisor) * epsilon_sum_) / divisor;
}

void DenseSum::Add(double weight, absl::Span<const float> value) {
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += weight * static_cast<double>(value[i]);
}

void DenseSum::Merge(const DenseSum& other) {
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += other.sum_[i];
}

std::vector<double> DenseSum::Divided(double divisor) const {
  std::vector<double> out = sum_;
  for (double& x : out) x /= divisor;
  return out;
}

void SparseSum::Add(double weight, const SparseValue& value) {
  if (weight == 0.0) return;
  const uint64_t others = vocabulary_ - value.tokens.size();
  const double share = others == 0 ? 0.0 : value.remainder / static_cast<double>(others);
  everywhere_ += weight * share;
  for (size_t i = 0; i < value.tokens.size(); ++i) {
    above_[value.tokens[i]] += weight * (static_cast<double>(value.values[i]) - share);
  }
}

void SparseSum::Merge(const SparseSum& other) {
  everywhere_ += other.everywhere_;
  for (const auto& [token, sum] : other.above_) above_[token] += sum;
}

SparseOutput SparseSum::Divided(double divisor) const {
  SparseOutput out;
  out.elsewhere = everywhere_ / divisor;
  for (const auto& [token, sum] : above_) out.tokens.push_back(token);
  std::sort(out.tokens.begin(), out.tokens.end());
  for (const Token token : out.tokens) out.values.push_back((everywhere_ + above_.at(token)) / divisor);
  return out;
}

size_t TopCount(absl::Span<const double> scores, size_t k, bool keep_ties) {
  size_t count = std::min(k, scores.size());
  if (!keep_ties || count == 0) return count;
  while (count < scores.size() && scores[count] == scores[k - 1]) ++count;
  return count;
}

Attention Attend(const ScoredVectors& entries, size_t used, const AttentionOptions& options) {
  const auto weight = [&](size_t i) { return entries.weights.empty() ? 1.0 : static_cast<double>(entries.weights[i]); };
  AttentionMass mass(options);
  for (size_t i = 0; i < used; ++i) mass.Add(entries.scores[i], weight(i));
  AttentionWeights weights(mass);
  DenseSum sum(entries.width);
  Attention out;
  for (size_t i = 0; i < used; ++i) {
    const double shrunk = weights.Add(entries.scores[i], weight(i));
    if (shrunk == 0.0) continue;
    sum.Add(shrunk, entries.values.subspan(i * entries.width, entries.width));
    out.rows.push_back(static_cast<uint32_t>(i));
    out.weights.push_back(shrunk);
  }
  for (double& w : out.weights) w /= weights.Divisor();
  out.out = sum.Divided(weights.Divisor());
  out.used = used;
  out.entropy = weights.Entropy();
  out.log_total_mass = mass.Log();
  out.all_zero = weights.all_zero();
  return out;
}

Combined CombineGroup(absl::Span<const double> vectors, absl::Span<const double> context, Metric metric,
                      double temperature) {
  const size_t width = context.size();
  const size_t rows = width == 0 ? 0 : vectors.size() / width;
  AttentionMass mass({AttentionKernel::kSoftmax, temperature, 0.0});
  std::vector<double> scores(rows);
  for (size_t i = 0; i < rows; ++i) {
    scores[i] = Score(metric, context, vectors.subspan(i * width, width));
    mass.Add(scores[i]);
  }
  Combined combined{{}, std::vector<double>(width, 0.0)};
  for (size_t i = 0; i < rows; ++i) {
    combined.weights.push_back(mass.Share(scores[i]));
    for (size_t j = 0; j < width; ++j) combined.out[j] += combined.weights[i] * vectors[i * width + j];
  }
  return combined;
}

}  // namespace mneme
