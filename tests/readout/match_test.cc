#include "readout/match.h"


#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

const std::vector<double> kS = {.9, .8, .1, .85, .2, .3, .4, .5, .6};  // MEMORIES 4
const std::vector<double> kIdentity = {1, 0, 0, 0, 1, 0, 0, 0, 1};
const std::vector<double> kTransposed = {.9, .85, .4, .8, .2, .5, .1, .3, .6};

TEST(MatchTest, CslsGoldenInBothForms) {
  const MatrixMatch match = *MatchMatrices({kS, 3, 3}, {kIdentity, 3, 3}, 2, CslsForm::kHalf);
  const std::vector<double> want = {.0375, .05, -.55, .125, -.4125, -.2125, -.3125, -.1, .1};
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const double similarity = kS[3 * i + j];
      const double half = Csls(similarity, match.column_means[j], match.row_means[i], CslsForm::kHalf);
      EXPECT_NEAR(half, want[3 * i + j], 1e-9);
      EXPECT_NEAR(Csls(similarity, match.column_means[j], match.row_means[i], CslsForm::kMuse), 2 * half, 1e-12);
    }
  }
  EXPECT_THAT(match.best_column, ElementsAre(1, 0, 2));  // row 0 moved from column 0
  EXPECT_THAT(match.best_row, ElementsAre(1, 0, 2));
  EXPECT_THAT(match.mutual, ElementsAre(true, true, true));
  EXPECT_THAT(match.best_score, Pointwise(DoubleNear(1e-9), std::vector<double>{.05, .125, .1}));
}

TEST(MatchTest, BothDirectionsAgree) {
  const MatrixMatch forward = *MatchMatrices({kS, 3, 3}, {kIdentity, 3, 3}, 2, CslsForm::kMuse);
  const MatrixMatch reverse = *MatchMatrices({kTransposed, 3, 3}, {kIdentity, 3, 3}, 2, CslsForm::kMuse);
  EXPECT_EQ(forward.best_row, reverse.best_column);
  EXPECT_EQ(forward.row_means, reverse.column_means);
}

TEST(MatchTest, ClampsTheNumberOfNeighboursAndSaysSo) {
  EXPECT_EQ(MeanOfLargest({3.0, 1.0}, 10).used, 2U);
  EXPECT_EQ(MeanOfLargest({3.0, 1.0}, 10).mean, 2.0);
  EXPECT_EQ(MeanOfLargest({}, 10).used, 0U);
  const MatrixMatch match = *MatchMatrices({kS, 3, 3}, {kIdentity, 3, 3}, 10, CslsForm::kHalf);
  EXPECT_EQ(match.row_k, 3U);
  EXPECT_EQ(match.column_k, 3U);
  EXPECT_TRUE(MatchMatrices({{}, 0, 3}, {kIdentity, 3, 3}, 2, CslsForm::kHalf)->best_row.empty());
}

TEST(MatchTest, TiesGoToTheLowerIndexAndTheLowerId) {
  EXPECT_EQ(ArgMax({1.0, 2.0, 2.0}), 1U);
  const std::vector<double> zeros(6, 0.0);
  const MatrixMatch match = *MatchMatrices({zeros, 2, 3}, {zeros, 2, 3}, 1, CslsForm::kHalf);
  EXPECT_THAT(match.best_column, ElementsAre(0, 0));
  EXPECT_THAT(match.best_row, ElementsAre(0, 0));
  EXPECT_THAT(match.mutual, ElementsAre(true, false));
  std::vector<MatchCandidate> candidates = {{9, .5, .25}, {4, .5, .25}, {1, .9, .9}};
  EXPECT_THAT(RankByCsls(candidates, 0.0, CslsForm::kMuse),
              Pointwise(DoubleNear(1e-12), std::vector<double>{0.9, 0.75, 0.75}));
  EXPECT_EQ(candidates[1].id, 4U);
}

TEST(MatchTest, NormalisesSortsAndPicks) {
  std::vector<double> rows = {3, 4, 0, 0, 4, 3};
  UnitRows(absl::MakeSpan(rows), 2);
  EXPECT_THAT(rows, Pointwise(DoubleNear(1e-12), std::vector<double>{.6, .8, 0, 0, .8, .6}));
  std::vector<double> pair = {1, 0, 0, 1};
  UnitCenterUnit(absl::MakeSpan(pair), 2);
  const double half = 0.70710678118654757;
  EXPECT_THAT(pair, Pointwise(DoubleNear(1e-12), std::vector<double>{half, -half, -half, half}));
  std::vector<double> unsorted = {3, 1, 2, 0};
  SortRows(absl::MakeSpan(unsorted), 2);
  EXPECT_THAT(unsorted, ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(PickColumns({unsorted, 2, 2}, {1, 1, 0}), ElementsAre(3, 3, 1, 2, 2, 0));
}

}  // namespace
}  // namespace mneme
