// MNEME_UNROLL(times): running sums live in arrays that full unrolling turns into registers. Under sanitizers they stay
// arrays: every unrolled access would be instrumented, which takes the compiler minutes.
#ifndef MNEME_INDEX_KERNELS_UNROLL_H_
#define MNEME_INDEX_KERNELS_UNROLL_H_

#include "hwy/base.h"

#if HWY_IS_TSAN || HWY_IS_ASAN || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MNEME_UNROLL(times)
#else
#define MNEME_UNROLL(times) HWY_UNROLL(times)
#endif

#endif  // MNEME_INDEX_KERNELS_UNROLL_H_
