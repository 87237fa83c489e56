// Selection among costs without moving them.
#ifndef MNEME_INDEX_KERNELS_KTH_SMALLEST_H_
#define MNEME_INDEX_KERNELS_KTH_SMALLEST_H_

#include <cstddef>

namespace mneme {

// The `k`-th smallest (from 1, k <= count) of `values`, none of which is NaN. By bisection of the value: each step
// counts the values below, 16 at a time, which is several times faster than a partition that moves them.
float KthSmallest(const float* values, size_t count, size_t k);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_KTH_SMALLEST_H_
