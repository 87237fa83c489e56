// Each tile holds kAccumulators running sums: `width` queries times as many keys as fill it. A vector holds consecutive
// components of one pair; at the end of the tile all vectors are reduced together, log2(lanes) levels of pairwise sums,
// which leaves the sum of accumulator a in lane a: costs come out in the order [key][query].
#include "index/kernels/scan_distance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/vector_codec.h"
#include "index/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/scan_distance.cc"
// Under TSan, which makes this file slow to compile, the widest and the plain one suffice.
#if defined(__SANITIZE_THREAD__)
#define HWY_DISABLED_TARGETS (MNEME_NOT_SCANNED_WITH | HWY_SSE4 | HWY_AVX2)
#else
#define HWY_DISABLED_TARGETS MNEME_NOT_SCANNED_WITH
#endif
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "index/kernels/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;
constexpr size_t kLanes = hn::MaxLanes(Tag());
constexpr size_t kAccumulators = kLanes > kScanQueries ? kLanes : kScanQueries;

HWY_INLINE V LoadComponents(const float* p) { return hn::LoadU(Tag(), p); }
HWY_INLINE V LoadComponents(const hwy::float16_t* p) {
  return hn::PromoteTo(Tag(), hn::LoadU(hn::Rebind<hwy::float16_t, Tag>(), p));
}

// Reduces kAccumulators vectors to their sums, in order.
HWY_INLINE void StoreSums(V* sums, float* out) {
  MNEME_UNROLL(8)
  for (size_t first = 0; first < kAccumulators; first += kLanes) {
#if HWY_TARGET != HWY_SCALAR  // whose vectors are sums already
    MNEME_UNROLL(8)
    for (size_t live = kLanes / 2; live >= 1; live /= 2) {
      MNEME_UNROLL(16)
      for (size_t i = 0; i < live; ++i) {
        const V low = sums[first + 2 * i];
        const V high = sums[first + 2 * i + 1];
        sums[first + i] = hn::Add(hn::ConcatEven(Tag(), high, low), hn::ConcatOdd(Tag(), high, low));
      }
    }
#endif
    hn::StoreU(sums[first], Tag(), out + first);
  }
}

template <bool kL2>
HWY_INLINE V AddTerm(V query, V key, V sum) {
  if constexpr (kL2) {
    const V difference = hn::Sub(query, key);
    return hn::MulAdd(difference, difference, sum);
  } else {
    return hn::NegMulAdd(query, key, sum);
  }
}

// One tile: kKeys keys against kQueries queries; writes kAccumulators costs. dimension >= kLanes.
template <bool kL2, size_t kQueries, typename T>
HWY_INLINE void Tile(const float* const* queries, const T* const* keys, size_t dimension, float* out) {
  constexpr size_t kKeys = kAccumulators / kQueries;
  V sums[kAccumulators];
  MNEME_UNROLL(16)
  for (size_t a = 0; a < kAccumulators; ++a) sums[a] = hn::Zero(Tag());
  size_t c = 0;
  for (; c + kLanes <= dimension; c += kLanes) {
    V query[kQueries];
    MNEME_UNROLL(8)
    for (size_t q = 0; q < kQueries; ++q) query[q] = LoadComponents(queries[q] + c);
    MNEME_UNROLL(16)
    for (size_t k = 0; k < kKeys; ++k) {
      const V key = LoadComponents(keys[k] + c);
      MNEME_UNROLL(8)
      for (size_t q = 0; q < kQueries; ++q) {
        sums[k * kQueries + q] = AddTerm<kL2>(query[q], key, sums[k * kQueries + q]);
      }
    }
  }
  if (c < dimension) {
    // The last vector overlaps the one before; its repeated components count as zero.
    const auto repeated = hn::FirstN(Tag(), kLanes - (dimension - c));
    c = dimension - kLanes;
    MNEME_UNROLL(16)
    for (size_t k = 0; k < kKeys; ++k) {
      const V key = hn::IfThenZeroElse(repeated, LoadComponents(keys[k] + c));
      MNEME_UNROLL(8)
      for (size_t q = 0; q < kQueries; ++q) {
        const V query = hn::IfThenZeroElse(repeated, LoadComponents(queries[q] + c));
        sums[k * kQueries + q] = AddTerm<kL2>(query, key, sums[k * kQueries + q]);
      }
    }
  }
  StoreSums(sums, out);
}

template <bool kL2, size_t kQueries, typename T>
void ScanTiles(const float* const* queries, const T* keys, size_t count, size_t dimension, float* costs) {
  constexpr size_t kKeys = kAccumulators / kQueries;
  const T* tile_keys[kKeys];
  size_t i = 0;
  for (; i + kKeys <= count; i += kKeys) {
    for (size_t k = 0; k < kKeys; ++k) tile_keys[k] = keys + (i + k) * dimension;
    Tile<kL2, kQueries>(queries, tile_keys, dimension, costs + i * kQueries);
  }
  if (i == count) return;
  // The last keys: fill the tile with repetitions of the last one and keep what is asked for.
  float last[kAccumulators];
  for (size_t k = 0; k < kKeys; ++k) tile_keys[k] = keys + std::min(i + k, count - 1) * dimension;
  Tile<kL2, kQueries>(queries, tile_keys, dimension, last);
  std::memcpy(costs + i * kQueries, last, (count - i) * kQueries * sizeof(float));
}

template <bool kL2, typename T>
void ScanWidths(const float* const* queries, size_t width, const T* keys, size_t count, size_t dimension,
                float* costs) {
  switch (width) {
    case 1: return ScanTiles<kL2, 1>(queries, keys, count, dimension, costs);
    case 2: return ScanTiles<kL2, 2>(queries, keys, count, dimension, costs);
    case 4: return ScanTiles<kL2, 4>(queries, keys, count, dimension, costs);
    default: return ScanTiles<kL2, 8>(queries, keys, count, dimension, costs);
  }
}

// Dimensions below one vector.
template <bool kL2>
void ScanNarrow(Dtype dtype, const float* const* queries, size_t width, const char* keys, size_t count,
                size_t dimension, float* costs) {
  float key[kLanes];
  for (size_t i = 0; i < count; ++i) {
    DecodeVector(dtype, keys + i * dimension * DtypeBytes(dtype), dimension, key);
    for (size_t q = 0; q < width; ++q) {
      float sum = 0.0F;
      for (size_t c = 0; c < dimension; ++c) {
        const float difference = queries[q][c] - key[c];
        sum += kL2 ? difference * difference : -(queries[q][c] * key[c]);
      }
      costs[i * width + q] = sum;
    }
  }
}

template <bool kL2>
void ScanDtypes(const KeyShape& shape, const float* const* queries, size_t width, const char* keys, size_t count,
                float* costs) {
  if (shape.dimension < kLanes) {
    ScanNarrow<kL2>(shape.dtype, queries, width, keys, count, shape.dimension, costs);
  } else if (shape.dtype == Dtype::kF16) {
    ScanWidths<kL2>(queries, width, reinterpret_cast<const hwy::float16_t*>(keys), count, shape.dimension, costs);
  } else {
    ScanWidths<kL2>(queries, width, reinterpret_cast<const float*>(keys), count, shape.dimension, costs);
  }
}

void Scan(const KeyShape& shape, const float* const* queries, size_t width, const char* keys, size_t count,
          float* costs) {
  if (shape.metric == Metric::kL2) {
    ScanDtypes<true>(shape, queries, width, keys, count, costs);
  } else {
    ScanDtypes<false>(shape, queries, width, keys, count, costs);
  }
}

size_t Select(const float* costs, size_t count, const float* cuts, uint32_t* selected) {
  const hn::CappedTag<float, kScanQueries> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  size_t found = 0;
  for (size_t i = 0; i < count; i += lanes) {
    const auto cost = hn::LoadU(d, costs + i);
    const auto cut = hn::LoadU(d, cuts + i % kScanQueries);
    // Beyond the cut and finite: certainly not among the k best. Everything else, NaN too, stays.
    const auto beyond = hn::And(hn::Gt(cost, cut), hn::Le(cost, largest));
    if (hn::AllTrue(d, beyond)) continue;
    for (size_t j = 0; j < lanes; ++j) {
      const float c = costs[i + j];
      if (!(c > cuts[(i + j) % kScanQueries] && c <= std::numeric_limits<float>::max())) {
        selected[found++] = static_cast<uint32_t>(i + j);
      }
    }
  }
  return found;
}

void Least(const float* costs, const float* offsets, size_t count, uint32_t first, float* least, uint32_t* nearest) {
  const hn::CappedTag<float, kScanQueries> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  for (size_t q = 0; q < kScanQueries; q += hn::Lanes(d)) {
    auto best = hn::LoadU(d, least + q);
    auto at = hn::LoadU(du, nearest + q);
    for (size_t i = 0; i < count; ++i) {
      const auto cost = hn::Add(hn::LoadU(d, costs + i * kScanQueries + q), hn::Set(d, offsets[i]));
      const auto less = hn::Lt(cost, best);
      best = hn::IfThenElse(less, cost, best);
      at = hn::IfThenElse(hn::RebindMask(du, less), hn::Set(du, first + static_cast<uint32_t>(i)), at);
    }
    hn::StoreU(best, d, least + q);
    hn::StoreU(at, du, nearest + q);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {

HWY_EXPORT(Scan);
HWY_EXPORT(Select);
HWY_EXPORT(Least);

void ScanCosts(const KeyShape& shape, const float* const* queries, size_t width, const char* keys, size_t count,
               const float* inverse_norms, float* costs) {
  if (count == 0) return;
  HWY_DYNAMIC_DISPATCH(Scan)(shape, queries, width, keys, count, costs);
  if (shape.metric != Metric::kCosine) return;
  for (size_t i = 0; i < count; ++i) {
    for (size_t q = 0; q < width; ++q) costs[i * width + q] *= inverse_norms[i];
  }
}

double ScanRelativeError(size_t dimension) { return 1.01 * (static_cast<double>(dimension) + 4.0) * 0x1p-24; }

// Each product and each difference may lose a subnormal; some libraries switch those off for a whole process.
double ScanUnderflow(size_t dimension) { return (static_cast<double>(dimension) + 4.0) * 0x1p-125; }

size_t SelectWithin(const float* costs, size_t count, const float* cuts, uint32_t* selected) {
  return HWY_DYNAMIC_DISPATCH(Select)(costs, count, cuts, selected);
}

void KeepLeast(const float* costs, const float* offsets, size_t count, uint32_t first, float* least,
               uint32_t* nearest) {
  HWY_DYNAMIC_DISPATCH(Least)(costs, offsets, count, first, least, nearest);
}

}  // namespace mneme
#endif  // HWY_ONCE
