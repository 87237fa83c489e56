#include "index/kernels/int8_scan.h"

#include <algorithm>

#include "index/kernels/int8_scan_vnni.h"
#include "index/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/int8_scan.cc"
#define HWY_DISABLED_TARGETS MNEME_NOT_SCANNED_WITH
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "index/kernels/emit_hits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {

constexpr size_t kHalfRows = 16;
// One vector: four components of kVectorRows rows.
using Components = hn::CappedTag<float, 16>;
constexpr size_t kLanes = hn::MaxLanes(Components());
constexpr size_t kVectors = kHalfRows * 4 / kLanes;

HWY_INLINE hn::Vec<Components> LoadCodes(const uint8_t* codes) {
  const hn::Rebind<int32_t, Components> di;
  return hn::ConvertTo(Components(), hn::PromoteTo(di, hn::LoadU(hn::Rebind<uint8_t, Components>(), codes)));
}

// The four components of a query, repeated to the width of a vector; on machines of one lane a single component.
HWY_INLINE hn::Vec<Components> LoadQuery(const float* values, size_t vector) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(Components(), values[vector % 4]);
#else
  (void)vector;
  return hn::LoadDup128(Components(), values);
#endif
}

void HalfCosts(const Int8Query& query, size_t groups, const uint8_t* codes, const float* terms, float* costs) {
  hn::Vec<Components> sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Zero(Components());
  for (size_t g = 0; g < groups; ++g) {
    for (size_t v = 0; v < kVectors; ++v) {
      const auto factor = LoadQuery(query.values + 4 * g, v);
      sums[v] = hn::MulAdd(LoadCodes(codes + g * kHalfRows * 4 + v * kLanes), factor, sums[v]);
    }
  }
  HWY_ALIGN float lanes[kHalfRows * 4];
  for (size_t v = 0; v < kVectors; ++v) hn::Store(sums[v], Components(), lanes + v * kLanes);
  for (size_t row = 0; row < kHalfRows; ++row) {
    const float* sum = lanes + 4 * row;
    costs[row] = query.base + terms[row] + query.scale * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

void Scan(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows, const float* cuts,
          CodeHits* hits) {
  const size_t groups = Int8Groups(dimension);
  for (size_t first = 0; first < rows; first += kCodeBlockRows, blocks += Int8BlockBytes(dimension)) {
    const uint8_t* codes = reinterpret_cast<const uint8_t*>(blocks);
    const float* terms = reinterpret_cast<const float*>(blocks + kCodeBlockRows * 4 * groups);
    for (size_t q = 0; q < count; ++q) {
      float costs[kCodeBlockRows];
      HalfCosts(queries[q], groups, codes, terms, costs);
      HalfCosts(queries[q], groups, codes + kHalfRows * 4 * groups, terms + kHalfRows, costs + kHalfRows);
      EmitHits(costs, first, std::min(kCodeBlockRows, rows - first), cuts[q], hits[q]);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {

HWY_EXPORT(Scan);

void ScanInt8(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows,
              const float* cuts, CodeHits* hits) {
  for (size_t q = 0; q < count; ++q) hits[q].count = 0;
  if (ScanInt8Vnni(queries, count, Int8Groups(dimension), blocks, rows, cuts, hits)) return;
  HWY_DYNAMIC_DISPATCH(Scan)(queries, count, dimension, blocks, rows, cuts, hits);
}

void ScanInt8Generic(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows,
                     const float* cuts, CodeHits* hits) {
  for (size_t q = 0; q < count; ++q) hits[q].count = 0;
  HWY_DYNAMIC_DISPATCH(Scan)(queries, count, dimension, blocks, rows, cuts, hits);
}

void ScanInt8Scalar(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows,
                    const float* cuts, CodeHits* hits) {
  for (size_t q = 0; q < count; ++q) {
    hits[q].count = 0;
    for (size_t row = 0; row < rows; ++row) {
      const char* block = blocks + row / kCodeBlockRows * Int8BlockBytes(dimension);
      const uint8_t* codes = reinterpret_cast<const uint8_t*>(block);
      int32_t sum = 0;
      for (size_t i = 0; i < dimension; ++i) {
        sum += int32_t{codes[Int8Offset(dimension, row % kCodeBlockRows, i)]} * queries[q].codes[i];
      }
      const float term = FloatAt(block + Int8TermOffset(dimension, row % kCodeBlockRows));
      KeepWithin(queries[q].base + term + queries[q].scale * static_cast<float>(sum), row, cuts[q], hits[q]);
    }
  }
}

}  // namespace mneme
#endif  // HWY_ONCE
