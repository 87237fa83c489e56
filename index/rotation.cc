#include "index/rotation.h"

#include <bit>
#include <cmath>
#include <cstdint>

#include "common/types.h"
#include "common/checksum.h"

namespace mneme {
namespace {

constexpr size_t kRounds = 4;

void Hadamard(float* v, size_t count) {
  for (size_t half = 1; half < count; half *= 2) {
    for (size_t start = 0; start < count; start += 2 * half) {
      float* a = v + start;
      float* b = a + half;
      for (size_t i = 0; i < half; ++i) {
        const float sum = a[i] + b[i];
        b[i] = a[i] - b[i];
        a[i] = sum;
      }
    }
  }
  const float scale = 1.0F / std::sqrt(static_cast<float>(count));
  for (size_t i = 0; i < count; ++i) v[i] *= scale;
}

}  // namespace

Rotation::Rotation(size_t dimension)
    : dimension_(dimension), power_(std::bit_floor(dimension)), signs_(kRounds * dimension) {
  for (size_t i = 0; i < signs_.size(); ++i) signs_[i] = (Mix64(i + 1) & 1) != 0 ? 1.0F : -1.0F;
}

void Rotation::Apply(float* vector) const {
  const bool whole = power_ == dimension_;
  for (size_t round = 0; round < kRounds; ++round) {
    const float* signs = signs_.data() + round * dimension_;
    for (size_t i = 0; i < dimension_; ++i) vector[i] *= signs[i];
    // The head and the tail in turn; they overlap unless they are the whole.
    Hadamard(round % 2 == 0 ? vector : vector + (dimension_ - power_), power_);
    if (whole) continue;
    const size_t half = dimension_ / 2;
    const float scale = std::sqrt(0.5F);
    for (size_t i = 0; i < half; ++i) {
      const float a = vector[i];
      const float b = vector[dimension_ - half + i];
      vector[i] = (a + b) * scale;
      vector[dimension_ - half + i] = (a - b) * scale;
    }
  }
}

}  // namespace mneme
