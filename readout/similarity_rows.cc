#include "readout/similarity_rows.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "readout/similarity_rows.cc"
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3)
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Eight products at once, of x rows that may repeat. Eight variables, for AddressSanitizer puts an array of vectors
// where it is not aligned.
HWY_INLINE void Tile(const double* a0, const double* a1, const double* a2, const double* a3, const double* b0,
                     const double* b1, size_t width, double* sums) {
  const hn::ScalableTag<double> tag;
  const size_t lanes = hn::Lanes(tag);
  auto s00 = hn::Zero(tag);
  auto s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
  size_t t = 0;
  for (; t + lanes <= width; t += lanes) {
    const auto v0 = hn::LoadU(tag, b0 + t);
    const auto v1 = hn::LoadU(tag, b1 + t);
    const auto u0 = hn::LoadU(tag, a0 + t);
    const auto u1 = hn::LoadU(tag, a1 + t);
    const auto u2 = hn::LoadU(tag, a2 + t);
    const auto u3 = hn::LoadU(tag, a3 + t);
    s00 = hn::MulAdd(u0, v0, s00);
    s01 = hn::MulAdd(u0, v1, s01);
    s10 = hn::MulAdd(u1, v0, s10);
    s11 = hn::MulAdd(u1, v1, s11);
    s20 = hn::MulAdd(u2, v0, s20);
    s21 = hn::MulAdd(u2, v1, s21);
    s30 = hn::MulAdd(u3, v0, s30);
    s31 = hn::MulAdd(u3, v1, s31);
  }
  sums[0] = hn::GetLane(hn::SumOfLanes(tag, s00));
  sums[1] = hn::GetLane(hn::SumOfLanes(tag, s01));
  sums[2] = hn::GetLane(hn::SumOfLanes(tag, s10));
  sums[3] = hn::GetLane(hn::SumOfLanes(tag, s11));
  sums[4] = hn::GetLane(hn::SumOfLanes(tag, s20));
  sums[5] = hn::GetLane(hn::SumOfLanes(tag, s21));
  sums[6] = hn::GetLane(hn::SumOfLanes(tag, s30));
  sums[7] = hn::GetLane(hn::SumOfLanes(tag, s31));
  const double* a[] = {a0, a1, a2, a3};
  for (; t < width; ++t) {
    for (size_t i = 0; i < kSimilarityRows; ++i) {
      sums[2 * i] += a[i][t] * b0[t];
      sums[2 * i + 1] += a[i][t] * b1[t];
    }
  }
}

void Rows(const double* x, size_t count, const double* z, size_t z_rows, size_t width, double* out) {
  const size_t last = count - 1;
  double sums[2 * kSimilarityRows];
  for (size_t j = 0; j < z_rows; j += 2) {
    const size_t second = std::min(j + 1, z_rows - 1);
    Tile(x, x + std::min<size_t>(1, last) * width, x + std::min<size_t>(2, last) * width,
         x + std::min<size_t>(3, last) * width, z + j * width, z + second * width, width, sums);
    for (size_t i = 0; i < count; ++i) {
      out[i * z_rows + j] = sums[2 * i];
      out[i * z_rows + second] = sums[2 * i + 1];
    }
    // An odd last row was computed as both.
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {
namespace {
HWY_EXPORT(Rows);
}  // namespace

void SimilarityRows(const double* x, size_t count, const double* z, size_t z_rows, size_t width, double* out) {
  if (count == 0 || z_rows == 0) return;
  HWY_DYNAMIC_DISPATCH(Rows)(x, count, z, z_rows, width, out);
}

}  // namespace mneme
#endif  // HWY_ONCE
