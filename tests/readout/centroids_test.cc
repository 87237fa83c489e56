#include "readout/centroids.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::Pointwise;

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_THAT(got, Pointwise(DoubleNear(1e-9), want));
}

// MEMORIES 1: (1,0) -> 0, (0,1) -> 1, (.6,.8) -> 0, three classes, alpha .7.
TEST(CentroidsTest, NeuralPrimingGolden) {
  KeySum zero(2), one(2), two(2);
  zero.Add({1.0F, 0.0F});
  zero.Add({0.6F, 0.8F});
  one.Add({0.0F, 1.0F});
  // .6 and .8 are rounded to f32: 1e-7, not 1e-9.
  EXPECT_THAT(zero.Unit().row, Pointwise(DoubleNear(1e-7), std::vector<double>{0.894427191, 0.447213595}));
  EXPECT_EQ(zero.Unit().count, 2U);
  ExpectNear(one.Unit().row, {0, 1});
  ExpectNear(two.Unit().row, {0, 0});
  EXPECT_TRUE(two.Unit().zero);
  EXPECT_FALSE(one.Unit().zero);
  EXPECT_THAT(MixRows({1.0F, 0.0F}, zero.Unit().row, 0.7),
              Pointwise(DoubleNear(1e-7), std::vector<double>{0.968328157, 0.134164079}));
  ExpectNear(MixRows({0.0F, 1.0F}, one.Unit().row, 0.7), {0, 1});
  ExpectNear(MixRows({-1.0F, 0.0F}, two.Unit().row, 0.7), {-0.7, 0});
}

// The same with keys that f32 holds exactly: (3,4) / 5 in place of (.6,.8), so to 1e-9.
TEST(CentroidsTest, UnitAndMeanOfExactKeys) {
  KeySum sum(2);
  sum.Add({5.0F, 0.0F});
  sum.Add({3.0F, 4.0F});
  ExpectNear(sum.Unit().row, {0.894427191, 0.447213595499958});
  ExpectNear(sum.Mean().row, {4, 2});
}

TEST(CentroidsTest, DeletesAndShardsGiveTheSumOfWhatIsThere) {
  KeySum whole(2), left(2), right(2);
  for (int i = 0; i < 100; ++i) {
    const std::vector<float> key = {0.1F * static_cast<float>(i), 1.0F / static_cast<float>(i + 1)};
    (i % 3 == 0 ? left : right).Add(key);
    if (i % 2 == 0) whole.Add(key);
  }
  left.Merge(right);
  for (int i = 1; i < 100; i += 2) {
    left.Subtract(std::vector<float>{0.1F * static_cast<float>(i), 1.0F / static_cast<float>(i + 1)});
  }
  EXPECT_EQ(left.count(), whole.count());
  EXPECT_THAT(left.Unit().row, Pointwise(DoubleNear(1e-12), whole.Unit().row));
}

TEST(CentroidsTest, WithTheLastKeyGoneTheSumIsExactlyZero) {
  KeySum sum(1);
  sum.Add({1e30F});
  sum.Add({0.1F});
  sum.Subtract({1e30F});
  sum.Subtract({0.1F});
  EXPECT_THAT(sum.sum(), Each(0.0));
  EXPECT_TRUE(sum.Unit().zero);
  EXPECT_TRUE(sum.Mean().zero);
}

TEST(CentroidsTest, KeysThatCancelHaveNoDirection) {
  KeySum sum(1);
  sum.Add({2.0F});
  sum.Add({-2.0F});
  EXPECT_TRUE(sum.Unit().zero);
  EXPECT_EQ(sum.Unit().count, 2U);
}

}  // namespace
}  // namespace mneme
