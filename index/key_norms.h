// The norms that the fast pass needs of stored keys, computed once when a row is added to a tail or a segment.
#ifndef MNEME_INDEX_KEY_NORMS_H_
#define MNEME_INDEX_KEY_NORMS_H_

#include <limits>

namespace mneme {

// Norms below this have no inverse in the fast pass: the products of such a key may lose all their bits in f32.
inline constexpr double kMinScannedNorm = 0x1p-60;

inline float InverseNorm(double norm) {
  return norm >= kMinScannedNorm ? static_cast<float>(1.0 / norm) : std::numeric_limits<float>::quiet_NaN();
}

// An upper bound of a norm that was computed in f64 by ExactNorm.
inline double NormBound(double norm) { return norm * (1.0 + 0x1p-30); }

}  // namespace mneme

#endif  // MNEME_INDEX_KEY_NORMS_H_
