// Rotation: a fixed pseudo-random rotation of vectors in O(d log d), by which RaBitQ makes every component tell about
// the same (signs and Walsh-Hadamard transforms in turn, as in the FFHT of Andoni et al. 2015; a Kac step joins what
// does not fill a power of two).
#ifndef MNEME_INDEX_ROTATION_H_
#define MNEME_INDEX_ROTATION_H_

#include <cstddef>
#include <vector>

namespace mneme {

// The same for the same dimension, on every machine. Thread-safe (immutable).
class Rotation {
 public:
  explicit Rotation(size_t dimension);
  // Rotates `vector` [dimension] in place; keeps norms and products but for f32 rounding.
  void Apply(float* vector) const;

 private:
  const size_t dimension_;
  size_t power_;              // the largest power of two that is not above the dimension
  std::vector<float> signs_;  // [rounds x dimension]
};

}  // namespace mneme

#endif  // MNEME_INDEX_ROTATION_H_
