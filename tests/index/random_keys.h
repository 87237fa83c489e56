// Seeded random keys, ordinary and adversarial. The seed is printed with every failure.
#ifndef MNEME_TESTS_INDEX_RANDOM_KEYS_H_
#define MNEME_TESTS_INDEX_RANDOM_KEYS_H_

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "common/types.h"
#include "common/vector_codec.h"

namespace mneme::testing {

class RandomKeys {
 public:
  explicit RandomKeys(uint64_t seed) : random_(seed) {}

  std::mt19937_64& random() { return random_; }
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  double Unit() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

  std::vector<float> Normal(size_t count, double scale = 1.0) {
    std::normal_distribution<double> normal(0.0, scale);
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(normal(random_));
    return values;
  }

  // `count` keys around a few centres, with 30 % copies of earlier keys, near copies, and (f32) huge and tiny norms.
  std::vector<float> Adversarial(size_t count, size_t dimension, Dtype dtype) {
    std::vector<float> keys;
    for (size_t i = 0; i < count; ++i) {
      std::vector<float> key = Normal(dimension);
      const uint64_t kind = Below(100);
      if (i > 0 && kind < 40) {
        const size_t copied = Below(i);
        key.assign(keys.begin() + static_cast<ptrdiff_t>(copied * dimension),
                   keys.begin() + static_cast<ptrdiff_t>((copied + 1) * dimension));
        if (kind >= 30) key[Below(dimension)] *= 1.0F + 0x1p-10F;
      } else if (kind < 45) {
        const float scale = dtype == Dtype::kF16 ? 1000.0F : 1e12F;
        for (float& value : key) value *= scale;
      } else if (kind < 50) {
        const float scale = dtype == Dtype::kF16 ? 1e-4F : 1e-25F;
        for (float& value : key) value *= scale;
      }
      keys.insert(keys.end(), key.begin(), key.end());
    }
    return keys;
  }

 private:
  std::mt19937_64 random_;
};

inline std::string Encode(Dtype dtype, const std::vector<float>& values) {
  std::string packed(values.size() * DtypeBytes(dtype), '\0');
  EncodeVector(dtype, values.data(), values.size(), packed.data());
  return packed;
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_INDEX_RANDOM_KEYS_H_
