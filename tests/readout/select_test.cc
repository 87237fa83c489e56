#include "readout/select.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "gtest/gtest.h"

namespace mneme {
namespace {

SelectOptions Softmax(double temperature, uint64_t seed, size_t n = 1) {
  return {SelectMode::kSoftmax, temperature, seed, n};
}

TEST(SelectTest, ArgmaxOrdersByScoreThenLowerId) {
  const std::vector<Selected> drawn = Select({1.0, 3.0, 3.0, 2.0}, {4, 9, 7, 1}, {SelectMode::kArgmax, 1.0, 0, 3});
  ASSERT_EQ(drawn.size(), 3U);
  EXPECT_EQ(drawn[0].id, 7U);
  EXPECT_EQ(drawn[0].row, 2U);
  EXPECT_EQ(drawn[0].probability, 1.0);
  EXPECT_EQ(drawn[1].id, 9U);
  EXPECT_EQ(drawn[1].probability, 0.0);
  EXPECT_EQ(drawn[2].id, 1U);
}

TEST(SelectTest, AnEmptyPoolGivesNone) {
  EXPECT_TRUE(Select({}, {}, {}).empty());
  EXPECT_TRUE(Select({}, {}, Softmax(1.0, 1)).empty());
}

TEST(SelectTest, DrawsWithoutReplacementTheSameForAnyOrderOfThePool) {
  const std::vector<double> scores = {0.5, 0.1, 0.9, 0.3};
  const std::vector<Selected> all = Select(scores, {1, 2, 3, 4}, Softmax(0.5, 7, 10));
  const std::vector<Selected> turned = Select({0.3, 0.9, 0.1, 0.5}, {4, 3, 2, 1}, Softmax(0.5, 7, 10));
  ASSERT_EQ(all.size(), 4U);
  std::set<EntryId> ids;
  double total = 0.0;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(all[i].id, turned[i].id);
    EXPECT_EQ(all[i].probability, turned[i].probability);
    ids.insert(all[i].id);
    total += all[i].probability;
  }
  EXPECT_EQ(ids.size(), 4U);
  EXPECT_NEAR(total, 1.0, 1e-12);
}

TEST(SelectTest, FrequenciesAreTheProbabilities) {
  const std::vector<double> scores = {0.0, std::log(2.0), std::log(5.0)};
  std::vector<double> count(3, 0.0);
  constexpr int kDraws = 20000;
  for (int seed = 0; seed < kDraws; ++seed) count[Select(scores, {10, 11, 12}, Softmax(1.0, seed))[0].row] += 1;
  EXPECT_NEAR(count[0] / kDraws, 0.125, 0.015);
  EXPECT_NEAR(count[1] / kDraws, 0.25, 0.015);
  EXPECT_NEAR(count[2] / kDraws, 0.625, 0.015);
}

TEST(SelectTest, ExtremeScoresStayFinite) {
  const std::vector<Selected> drawn = Select({1e300, -1e300, 0.0}, {1, 2, 3}, Softmax(1e-10, 3, 3));
  EXPECT_EQ(drawn[0].id, 1U);
  EXPECT_EQ(drawn[0].probability, 1.0);
  EXPECT_EQ(drawn[1].id, 3U);
  EXPECT_EQ(drawn[2].id, 2U);
}

}  // namespace
}  // namespace mneme
