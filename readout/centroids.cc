#include "readout/centroids.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mneme {

namespace {

// sum + lost grows by x: Knuth's TwoSum, exact but for what `lost` itself rounds.
inline void Accumulate(double x, double& sum, double& lost) {
  const double next = sum + x;
  const double taken = next - sum;
  lost += (sum - (next - taken)) + (x - taken);
  sum = next;
}

}  // namespace

void KeySum::Add(absl::Span<const float> key) {
  for (size_t i = 0; i < sum_.size(); ++i) Accumulate(static_cast<double>(key[i]), sum_[i], lost_[i]);
  ++count_;
}

void KeySum::Subtract(absl::Span<const float> key) {
  for (size_t i = 0; i < sum_.size(); ++i) Accumulate(-static_cast<double>(key[i]), sum_[i], lost_[i]);
  if (--count_ != 0) return;
  std::fill(sum_.begin(), sum_.end(), 0.0);
  std::fill(lost_.begin(), lost_.end(), 0.0);
}

void KeySum::Merge(const KeySum& other) {
  for (size_t i = 0; i < sum_.size(); ++i) {
    Accumulate(other.sum_[i], sum_[i], lost_[i]);
    lost_[i] += other.lost_[i];
  }
  count_ += other.count_;
}

std::vector<double> KeySum::sum() const {
  std::vector<double> total = sum_;
  for (size_t i = 0; i < total.size(); ++i) total[i] += lost_[i];
  return total;
}

Centroid KeySum::Unit() const {
  std::vector<double> total = sum();
  double squares = 0.0;
  for (const double x : total) squares += x * x;
  Centroid centroid{std::move(total), count_, squares == 0.0};
  if (centroid.zero) return centroid;
  const double norm = std::sqrt(squares);
  for (double& x : centroid.row) x /= norm;
  return centroid;
}

Centroid KeySum::Mean() const {
  std::vector<double> total = sum();
  const bool zero = std::all_of(total.begin(), total.end(), [](double x) { return x == 0.0; });
  Centroid centroid{std::move(total), count_, zero};
  if (centroid.zero) return centroid;
  for (double& x : centroid.row) x /= static_cast<double>(count_);
  return centroid;
}

std::vector<double> MixRows(absl::Span<const float> given, absl::Span<const double> centroid, double alpha) {
  std::vector<double> mixed(given.size());
  for (size_t i = 0; i < given.size(); ++i) {
    mixed[i] = alpha * static_cast<double>(given[i]) + (1.0 - alpha) * centroid[i];
  }
  return mixed;
}

}  // namespace mneme
