#include "index/kernels/kth_smallest.h"

#include <bit>
#include <cstdint>
#include <limits>

#include "index/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/kth_smallest.cc"
#define HWY_DISABLED_TARGETS MNEME_NOT_SCANNED_WITH
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef MNEME_FLOAT_ORDINALS
#define MNEME_FLOAT_ORDINALS
namespace mneme {
namespace {
// Integers in the order of the floats.
uint32_t OrdinalOf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
float FloatOf(uint32_t ordinal) {
  return std::bit_cast<float>((ordinal & 0x80000000U) != 0 ? ordinal & 0x7FFFFFFFU : ~ordinal);
}

}  // namespace
}  // namespace mneme
#endif  // MNEME_FLOAT_ORDINALS

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;

size_t CountAtMost(const float* values, size_t count, float bound) {
  const Tag d;
  const auto limit = hn::Set(d, bound);
  size_t found = 0;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    found += hn::CountTrue(d, hn::Le(hn::LoadU(d, values + i), limit));
  }
  for (; i < count; ++i) found += values[i] <= bound ? 1 : 0;
  return found;
}

float LargestAtMost(const float* values, size_t count, float bound) {
  const Tag d;
  const auto limit = hn::Set(d, bound);
  const auto none = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto largest = none;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, values + i);
    largest = hn::Max(largest, hn::IfThenElse(hn::Le(v, limit), v, none));
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) {
    if (values[i] <= bound && values[i] > result) result = values[i];
  }
  return result;
}

void MinMax(const float* values, size_t count, float* least, float* largest) {
  const Tag d;
  auto low = hn::Set(d, values[0]);
  auto high = low;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, values + i);
    low = hn::Min(low, v);
    high = hn::Max(high, v);
  }
  *least = hn::GetLane(hn::MinOfLanes(d, low));
  *largest = hn::GetLane(hn::MaxOfLanes(d, high));
  for (; i < count; ++i) {
    if (values[i] < *least) *least = values[i];
    if (values[i] > *largest) *largest = values[i];
  }
}

float Select(const float* values, size_t count, size_t k) {
  float least = 0.0F;
  float largest = 0.0F;
  MinMax(values, count, &least, &largest);
  if (CountAtMost(values, count, least) >= k) return least;
  // Fewer than k are at most FloatOf(low); at least k are at most FloatOf(high).
  uint32_t low = OrdinalOf(least);
  uint32_t high = OrdinalOf(largest);
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const size_t below = CountAtMost(values, count, FloatOf(middle));
    if (below == k) return LargestAtMost(values, count, FloatOf(middle));
    (below < k ? low : high) = middle;
  }
  return FloatOf(high);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {

HWY_EXPORT(Select);

float KthSmallest(const float* values, size_t count, size_t k) {
  return HWY_DYNAMIC_DISPATCH(Select)(values, count, k);
}

}  // namespace mneme
#endif  // HWY_ONCE
