#include "readout/centroids.h"

#include <algorithm>
#include <cmath>

namespace mneme {

void KeySum::Add(absl::Span<const float> key) {
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<double>(key[i]);
  ++count_;
}

void KeySum::Subtract(absl::Span<const float> key) {
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] -= static_cast<double>(key[i]);
  if (--count_ == 0) std::fill(sum_.begin(), sum_.end(), 0.0);
}

void KeySum::Merge(const KeySum& other) {
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += other.sum_[i];
  count_ += other.count_;
}

Centroid KeySum::Unit() const {
  double squares = 0.0;
  for (const double x : sum_) squares += x * x;
  Centroid centroid{sum_, count_, squares == 0.0};
  if (centroid.zero) return centroid;
  const double norm = std::sqrt(squares);
  for (double& x : centroid.row) x /= norm;
  return centroid;
}

Centroid KeySum::Mean() const {
  Centroid centroid{sum_, count_, std::all_of(sum_.begin(), sum_.end(), [](double x) { return x == 0.0; })};
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
