#include "index/kernels/scan_distance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "index/key_norms.h"
#include "tests/index/kernels/targets.h"
#include "tests/index/random_keys.h"

namespace mneme {
namespace {

using testing::Encode;
using testing::OnEveryTarget;
using testing::RandomKeys;

constexpr uint64_t kSeed = 2;

struct Case {
  KeyShape shape;
  std::vector<float> queries;
  std::string keys;
  size_t count = 0;
  std::vector<float> inverse_norms;

  Case(const KeyShape& s, size_t rows, uint64_t seed) : shape(s), count(rows) {
    RandomKeys random(seed);
    queries = random.Normal(kScanQueries * s.dimension);
    keys = Encode(s.dtype, random.Adversarial(rows, s.dimension, s.dtype));
    for (size_t i = 0; i < rows; ++i) inverse_norms.push_back(InverseNorm(ExactNorm(s, Key(i))));
  }
  const char* Key(size_t i) const { return keys.data() + i * shape.KeyBytes(); }
  std::vector<float> Scan(size_t width) const {
    const float* pointers[kScanQueries];
    for (size_t q = 0; q < width; ++q) pointers[q] = queries.data() + q * shape.dimension;
    // Room behind the costs shows writes past their end.
    std::vector<float> costs(count * width + 16, -12345.0F);
    ScanCosts(shape, pointers, width, keys.data(), count, inverse_norms.data(), costs.data());
    for (size_t i = 0; i < 16; ++i) EXPECT_EQ(costs[count * width + i], -12345.0F);
    return costs;
  }
  // The proven bound of the header, for query q and key i.
  double Bound(size_t q, size_t i, double truth) const {
    const size_t d = shape.dimension;
    if (shape.metric == Metric::kL2) return ScanRelativeError(d) * truth + ScanUnderflow(d);
    const KeyShape f32{shape.metric, Dtype::kF32, d};
    const double query = ExactNorm(f32, reinterpret_cast<const char*>(queries.data() + q * d));
    if (shape.metric == Metric::kCosine) return (ScanRelativeError(d + 8) + ScanUnderflow(d) * 0x1p60) * query;
    return ScanRelativeError(d) * query * ExactNorm(shape, Key(i)) + ScanUnderflow(d);
  }
  double Truth(size_t q, size_t i) const {
    const float* query = queries.data() + q * shape.dimension;
    KeyShape metric = shape;
    if (shape.metric == Metric::kCosine) metric.metric = Metric::kInnerProduct;
    const double score = ExactScoreScalar(metric, query, Key(i));
    return shape.metric == Metric::kCosine ? -score / ExactNorm(shape, Key(i)) : -score;
  }
};

class ScanDistance : public ::testing::TestWithParam<std::tuple<Metric, Dtype>> {};

TEST_P(ScanDistance, StaysWithinItsProvenBoundForEveryWidthAndShape) {
  OnEveryTarget([&](const char*) {
    for (const size_t dimension : {1, 3, 7, 8, 15, 16, 17, 20, 31, 32, 33, 100, 128, 130}) {
      for (const size_t count : {1, 2, 3, 15, 16, 17, 37}) {
        const Case c({std::get<0>(GetParam()), std::get<1>(GetParam()), dimension}, count, kSeed + dimension);
        for (const size_t width : {1, 2, 4, 8}) {
          const std::vector<float> costs = c.Scan(width);
          for (size_t i = 0; i < count; ++i) {
            for (size_t q = 0; q < width; ++q) {
              const float cost = costs[i * width + q];
              if (!std::isfinite(cost)) {
                // Only a key whose norm has no inverse may say nothing.
                ASSERT_TRUE(std::isnan(c.inverse_norms[i]) && c.shape.metric == Metric::kCosine);
                continue;
              }
              const double truth = c.Truth(q, i);
              ASSERT_LE(std::fabs(cost - truth), c.Bound(q, i, truth))
                  << "dimension " << dimension << " count " << count << " width " << width << " key " << i << " query "
                  << q << " seed " << kSeed;
            }
          }
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(AllMetricsAndTypes, ScanDistance,
                         ::testing::Combine(::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine),
                                            ::testing::Values(Dtype::kF32, Dtype::kF16)));

TEST(SelectWithin, KeepsWhatTheCutAllowsAndWhateverIsNotFinite) {
  OnEveryTarget([&](const char*) {
    RandomKeys random(kSeed);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float odd[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(),
                         std::numeric_limits<float>::max()};
    for (int round = 0; round < 200; ++round) {
      const size_t count = 8 * random.Below(20);
      std::vector<float> costs = random.Normal(count);
      for (float& cost : costs) {
        if (random.Below(10) == 0) cost = odd[random.Below(4)];
      }
      std::vector<float> cuts = random.Normal(8, 2.0);
      if (random.Below(3) == 0) cuts[random.Below(8)] = random.Below(2) == 0 ? kInfinity : -kInfinity;
      std::vector<uint32_t> expected;
      for (size_t i = 0; i < count; ++i) {
        if (costs[i] <= cuts[i % 8] || !std::isfinite(costs[i])) expected.push_back(static_cast<uint32_t>(i));
      }
      std::vector<uint32_t> selected(count + 1);
      selected.resize(SelectWithin(costs.data(), count, cuts.data(), selected.data()));
      ASSERT_EQ(selected, expected) << "round " << round << " seed " << kSeed;
    }
  });
}

TEST(ScanWidth, IsTheLeastWidthOfTheKernelThatHoldsTheQueries) {
  EXPECT_EQ(ScanWidth(1), 1U);
  EXPECT_EQ(ScanWidth(3), 4U);
  EXPECT_EQ(ScanWidth(5), 8U);
  EXPECT_EQ(ScanWidth(8), 8U);
}

}  // namespace
}  // namespace mneme
