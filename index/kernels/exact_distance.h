// Exact scores in f64 with one fixed order of additions, the same bits on every instruction set: invariant I4 rests on
// this file.
//
// Component i belongs to virtual lane i mod 8. Each lane is one double, starts at +0 and adds its products in ascending
// order of i, a multiplication and then an addition, each rounded once (no fused multiply-add). The lanes are combined
// as t_j = lane_j + lane_{j+4}, u_j = t_j + t_{j+2}, sum = u_0 + u_1. Stored f16 and f32 components and the f32
// components of queries are exact in f64.
#ifndef MNEME_INDEX_KERNELS_EXACT_DISTANCE_H_
#define MNEME_INDEX_KERNELS_EXACT_DISTANCE_H_

#include <cstddef>

#include "common/types.h"

namespace mneme {

// What the keys and the query of a call look like.
struct KeyShape {
  Metric metric = Metric::kL2;
  Dtype dtype = Dtype::kF32;  // of the stored keys; kF32 or kF16
  size_t dimension = 0;

  size_t KeyBytes() const { return dimension * DtypeBytes(dtype); }
};

// scores[i] = the score of `query` [dimension] f32 against the stored key at keys[i]. Any alignment.
// L2: -(sum of squared differences). Inner product: the product. Cosine: product / (|query| |key|), 0 when either is 0.
void ExactScores(const KeyShape& shape, const float* query, const char* const* keys, size_t count, double* scores);

// The same in plain C++: the definition that the vector code is tested against.
double ExactScoreScalar(const KeyShape& shape, const float* query, const char* key);

// The Euclidean norm of `key`, by the same order of additions.
double ExactNorm(const KeyShape& shape, const char* key);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_EXACT_DISTANCE_H_
