#include "index/kernels/exact_distance.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/index/kernels/targets.h"
#include "tests/index/random_keys.h"

namespace mneme {
namespace {

using testing::Encode;
using testing::OnEveryTarget;
using testing::RandomKeys;

constexpr uint64_t kSeed = 1;

double Score(const KeyShape& shape, const float* query, const char* key) {
  double score = 0.0;
  ExactScores(shape, query, &key, 1, &score);
  return score;
}

class ExactDistance : public ::testing::TestWithParam<std::tuple<Metric, Dtype>> {
 protected:
  KeyShape Shape(size_t dimension) const { return {std::get<0>(GetParam()), std::get<1>(GetParam()), dimension}; }
};

TEST_P(ExactDistance, HasTheBitsOfItsScalarDefinitionOnEveryInstructionSet) {
  OnEveryTarget([&](const char*) {
    RandomKeys keys(kSeed);
    for (const size_t dimension : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 128, 257, 1024}) {
      const KeyShape shape = Shape(dimension);
      const std::vector<float> query = keys.Normal(dimension, 3.0);
      const std::string packed = Encode(shape.dtype, keys.Adversarial(20, dimension, shape.dtype));
      std::vector<const char*> pointers;
      for (size_t i = 0; i < 20; ++i) pointers.push_back(packed.data() + i * shape.KeyBytes());
      std::vector<double> scores(20);
      ExactScores(shape, query.data(), pointers.data(), 20, scores.data());
      for (size_t i = 0; i < 20; ++i) {
        const double expected = ExactScoreScalar(shape, query.data(), pointers[i]);
        ASSERT_EQ(std::bit_cast<uint64_t>(scores[i]), std::bit_cast<uint64_t>(expected))
            << "dimension " << dimension << " key " << i << " seed " << kSeed;
      }
    }
  });
}

TEST_P(ExactDistance, TheNormHasTheBitsOfTheProductOfAKeyWithItselfOnEveryInstructionSet) {
  OnEveryTarget([&](const char*) {
    RandomKeys keys(kSeed);
    for (const size_t dimension : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 128, 257, 1024}) {
      const KeyShape shape = Shape(dimension);
      const std::string packed = Encode(shape.dtype, keys.Adversarial(20, dimension, shape.dtype));
      std::vector<float> query(dimension);
      for (size_t i = 0; i < 20; ++i) {
        const char* key = packed.data() + i * shape.KeyBytes();
        DecodeVector(shape.dtype, key, dimension, query.data());
        const double expected =
            std::sqrt(ExactScoreScalar({Metric::kInnerProduct, shape.dtype, dimension}, query.data(), key));
        ASSERT_EQ(std::bit_cast<uint64_t>(ExactNorm(shape, key)), std::bit_cast<uint64_t>(expected))
            << "dimension " << dimension << " key " << i << " seed " << kSeed;
      }
    }
  });
}

TEST_P(ExactDistance, AgreesWithPlainSummationInHigherPrecision) {
  RandomKeys keys(kSeed);
  const KeyShape shape = Shape(100);
  for (int round = 0; round < 50; ++round) {
    const std::vector<float> query = keys.Normal(100);
    const std::string packed = Encode(shape.dtype, keys.Normal(100));
    std::vector<float> key(100);
    DecodeVector(shape.dtype, packed.data(), 100, key.data());
    long double squares = 0, dot = 0, qq = 0, kk = 0;
    for (size_t i = 0; i < 100; ++i) {
      const long double q = query[i];
      const long double k = key[i];
      squares += (q - k) * (q - k);
      dot += q * k;
      qq += q * q;
      kk += k * k;
    }
    const long double expected = shape.metric == Metric::kL2             ? -squares
                                 : shape.metric == Metric::kInnerProduct ? dot
                                                                         : dot / std::sqrt(qq * kk);
    EXPECT_NEAR(Score(shape, query.data(), packed.data()), static_cast<double>(expected), 1e-12) << "seed " << kSeed;
  }
}

INSTANTIATE_TEST_SUITE_P(AllMetricsAndTypes, ExactDistance,
                         ::testing::Combine(::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine),
                                            ::testing::Values(Dtype::kF32, Dtype::kF16)));

TEST(ExactDistanceOrder, AddsEachComponentToItsLaneAndCombinesLanesPairwise) {
  // With these magnitudes every other order of additions gives another sum.
  const std::vector<float> query(9, 1.0F);
  const std::vector<float> key = {1e16F, 1.0F, -1e16F, 3.0F, 1.0F, 1e8F, 5.0F, -1e8F, 7.0F};
  const std::string packed = Encode(Dtype::kF32, key);
  double lane[8];
  for (size_t i = 0; i < 8; ++i) lane[i] = key[i];
  lane[0] += 7.0;
  const double expected =
      ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  OnEveryTarget([&](const char*) {
    EXPECT_EQ(Score({Metric::kInnerProduct, Dtype::kF32, 9}, query.data(), packed.data()), expected);
  });
}

TEST(ExactDistanceOrder, AZeroKeyHasCosineZero) {
  const std::vector<float> query = {1.0F, 2.0F};
  const std::string zero(8, '\0');
  EXPECT_EQ(Score({Metric::kCosine, Dtype::kF32, 2}, query.data(), zero.data()), 0.0);
}

TEST(ExactDistanceOrder, EveryHalfIsReadExactlyOnEveryInstructionSet) {
  OnEveryTarget([&](const char*) {
    std::vector<float> query(8, 0.0F);
    query[0] = 1.0F;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      uint16_t halves[8] = {static_cast<uint16_t>(bits)};
      const float value = HalfToFloat(halves[0]);
      if (!std::isfinite(value)) continue;
      ASSERT_EQ(Score({Metric::kInnerProduct, Dtype::kF16, 8}, query.data(), reinterpret_cast<const char*>(halves)),
                double{value})
          << bits;
    }
  });
}

}  // namespace
}  // namespace mneme
