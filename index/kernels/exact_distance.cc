#include "index/kernels/exact_distance.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/vector_codec.h"
#include "index/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/exact_distance.cc"
#define HWY_DISABLED_TARGETS MNEME_UNKNOWN_LENGTHS
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef MNEME_EXACT_LANES
#define MNEME_EXACT_LANES
namespace mneme {
namespace {
constexpr size_t kVirtualLanes = 8;

// The order in which lanes are combined; part of the definition of an exact score.
inline double CombineLanes(const double* lanes) {
  const double t0 = lanes[0] + lanes[4];
  const double t1 = lanes[1] + lanes[5];
  const double t2 = lanes[2] + lanes[6];
  const double t3 = lanes[3] + lanes[7];
  return (t0 + t2) + (t1 + t3);
}

// A zero norm has no direction: such a key is as far from everything as an orthogonal one.
inline double CosineOf(double dot, double query_squared, double key_squared) {
  if (query_squared == 0.0 || key_squared == 0.0) return 0.0;
  return dot / (std::sqrt(query_squared) * std::sqrt(key_squared));
}
}  // namespace
}  // namespace mneme
#endif  // MNEME_EXACT_LANES

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::CappedTag<double, kVirtualLanes>;
using LanesV = hn::Vec<Lanes>;
constexpr size_t kWidth = hn::MaxLanes(Lanes());
constexpr size_t kVectors = kVirtualLanes / kWidth;

// The virtual lanes, in as many registers as this instruction set needs.
struct Accumulator {
  LanesV v[kVectors];

  void Clear() {
    for (size_t j = 0; j < kVectors; ++j) v[j] = hn::Zero(Lanes());
  }
  void Add(size_t j, LanesV a, LanesV b) { v[j] = hn::Add(v[j], hn::Mul(a, b)); }
  double Sum() const {
    alignas(64) double lanes[kVirtualLanes];
    for (size_t j = 0; j < kVectors; ++j) hn::Store(v[j], Lanes(), lanes + j * kWidth);
    return CombineLanes(lanes);
  }
};

HWY_INLINE LanesV LoadComponents(const float* p) {
  return hn::PromoteTo(Lanes(), hn::LoadU(hn::Rebind<float, Lanes>(), p));
}
HWY_INLINE LanesV LoadComponents(const hwy::float16_t* p) {
  const auto half = hn::LoadU(hn::Rebind<hwy::float16_t, Lanes>(), p);
  return hn::PromoteTo(Lanes(), hn::PromoteTo(hn::Rebind<float, Lanes>(), half));
}

struct Sums {
  Accumulator first;   // L2: squared differences; else: products
  Accumulator query;   // cosine: squares of the query
  Accumulator key;     // cosine: squares of the key
};

// Adds eight components. Components of a padded remainder are zero and leave every lane as it is.
template <Metric kMetric, typename T>
HWY_INLINE void AddEight(const float* query, const T* key, Sums& sums) {
  for (size_t j = 0; j < kVectors; ++j) {
    const LanesV q = LoadComponents(query + j * kWidth);
    const LanesV k = LoadComponents(key + j * kWidth);
    if constexpr (kMetric == Metric::kL2) {
      const LanesV difference = hn::Sub(q, k);
      sums.first.Add(j, difference, difference);
    } else {
      sums.first.Add(j, q, k);
    }
    if constexpr (kMetric == Metric::kCosine) {
      sums.query.Add(j, q, q);
      sums.key.Add(j, k, k);
    }
  }
}

template <Metric kMetric, typename T>
HWY_INLINE double Score(const float* query, const char* packed, size_t dimension) {
  const T* key = reinterpret_cast<const T*>(packed);
  Sums sums;
  sums.first.Clear();
  sums.query.Clear();
  sums.key.Clear();
  size_t i = 0;
  for (; i + kVirtualLanes <= dimension; i += kVirtualLanes) AddEight<kMetric>(query + i, key + i, sums);
  if (i < dimension) {
    float last_query[kVirtualLanes] = {};
    T last_key[kVirtualLanes];
    std::memset(last_key, 0, sizeof(last_key));
    std::memcpy(last_query, query + i, (dimension - i) * sizeof(float));
    std::memcpy(last_key, key + i, (dimension - i) * sizeof(T));
    AddEight<kMetric>(last_query, last_key, sums);
  }
  if constexpr (kMetric == Metric::kL2) return -sums.first.Sum();
  if constexpr (kMetric == Metric::kInnerProduct) return sums.first.Sum();
  return CosineOf(sums.first.Sum(), sums.query.Sum(), sums.key.Sum());
}

// Keys asked for ahead of the one being scored.
constexpr size_t kAhead = 6;

template <Metric kMetric, typename T>
void ScoreEach(const float* query, const char* const* keys, size_t count, size_t dimension, double* scores) {
  for (size_t i = 0; i < count; ++i) {
    // Candidates lie anywhere in a large map: ask for one early enough that it is there when its turn comes.
    if (i + kAhead < count) {
      const size_t bytes = dimension * sizeof(T);
      for (size_t b = 0; b < bytes && b < 1024; b += 64) __builtin_prefetch(keys[i + kAhead] + b);
    }
    scores[i] = Score<kMetric, T>(query, keys[i], dimension);
  }
}

template <typename T>
void ScoreMetric(Metric metric, const float* query, const char* const* keys, size_t count, size_t dimension,
                 double* scores) {
  switch (metric) {
    case Metric::kL2: return ScoreEach<Metric::kL2, T>(query, keys, count, dimension, scores);
    case Metric::kInnerProduct: return ScoreEach<Metric::kInnerProduct, T>(query, keys, count, dimension, scores);
    case Metric::kCosine: return ScoreEach<Metric::kCosine, T>(query, keys, count, dimension, scores);
  }
}

void ScoreAll(const KeyShape& shape, const float* query, const char* const* keys, size_t count, double* scores) {
  if (shape.dtype == Dtype::kF16) {
    ScoreMetric<hwy::float16_t>(shape.metric, query, keys, count, shape.dimension, scores);
  } else {
    ScoreMetric<float>(shape.metric, query, keys, count, shape.dimension, scores);
  }
}

template <typename T>
HWY_INLINE double Norm(const char* packed, size_t dimension) {
  const T* key = reinterpret_cast<const T*>(packed);
  Accumulator squares;
  squares.Clear();
  const auto add_eight = [&squares](const T* components) {
    for (size_t j = 0; j < kVectors; ++j) {
      const LanesV k = LoadComponents(components + j * kWidth);
      squares.Add(j, k, k);
    }
  };
  size_t i = 0;
  for (; i + kVirtualLanes <= dimension; i += kVirtualLanes) add_eight(key + i);
  if (i < dimension) {
    T last[kVirtualLanes];
    std::memset(last, 0, sizeof(last));
    std::memcpy(last, key + i, (dimension - i) * sizeof(T));
    add_eight(last);
  }
  return std::sqrt(squares.Sum());
}

double NormOf(const KeyShape& shape, const char* key) {
  return shape.dtype == Dtype::kF16 ? Norm<hwy::float16_t>(key, shape.dimension) : Norm<float>(key, shape.dimension);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {

HWY_EXPORT(ScoreAll);
HWY_EXPORT(NormOf);

void ExactScores(const KeyShape& shape, const float* query, const char* const* keys, size_t count, double* scores) {
  HWY_DYNAMIC_DISPATCH(ScoreAll)(shape, query, keys, count, scores);
}

namespace {

double ComponentAt(Dtype dtype, const char* key, size_t i) {
  float component = 0.0F;
  DecodeVector(dtype, key + i * DtypeBytes(dtype), 1, &component);
  return component;
}

}  // namespace

double ExactScoreScalar(const KeyShape& shape, const float* query, const char* key) {
  double first[kVirtualLanes] = {};
  double query_squares[kVirtualLanes] = {};
  double key_squares[kVirtualLanes] = {};
  for (size_t i = 0; i < shape.dimension; ++i) {
    const size_t lane = i % kVirtualLanes;
    const double q = query[i];
    const double k = ComponentAt(shape.dtype, key, i);
    const double difference = q - k;
    first[lane] += shape.metric == Metric::kL2 ? difference * difference : q * k;
    query_squares[lane] += q * q;
    key_squares[lane] += k * k;
  }
  switch (shape.metric) {
    case Metric::kL2: return -CombineLanes(first);
    case Metric::kInnerProduct: return CombineLanes(first);
    case Metric::kCosine: return CosineOf(CombineLanes(first), CombineLanes(query_squares), CombineLanes(key_squares));
  }
  return 0.0;
}

double ExactNorm(const KeyShape& shape, const char* key) { return HWY_DYNAMIC_DISPATCH(NormOf)(shape, key); }

}  // namespace mneme
#endif  // HWY_ONCE
