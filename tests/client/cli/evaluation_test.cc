#include "client/cli/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace mneme::cli {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

TEST(MixLogProbs, IsTheLogarithmOfTheWeightedSum) {
  EXPECT_NEAR(MixLogProbs(std::log(0.2), std::log(0.6), 0.25), std::log(0.75 * 0.2 + 0.25 * 0.6), 1e-15);
}

TEST(MixLogProbs, TakesTheEndsAsTheyAre) {
  EXPECT_EQ(MixLogProbs(-3.25, -1.0, 0.0), -3.25);
  EXPECT_EQ(MixLogProbs(-3.25, -1.0, 1.0), -1.0);
  EXPECT_EQ(MixLogProbs(-3.25, kNever, 0.0), -3.25);
  EXPECT_EQ(MixLogProbs(-3.25, kNever, 1.0), kNever);
}

TEST(MixLogProbs, WhereNoNeighbourHasTheTokenOnlyTheModelsShareIsLeft) {
  EXPECT_NEAR(MixLogProbs(-3.0, kNever, 0.3), -3.0 + std::log(0.7), 1e-15);
}

TEST(MixLogProbs, DoesNotUnderflow) {
  EXPECT_NEAR(MixLogProbs(-2000.0, -2001.0, 0.5), -2000.0 + std::log(0.5 + 0.5 * std::exp(-1.0)), 1e-9);
}

TEST(Evaluation, EqualsTheSumWrittenOut) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> probability(1e-4, 0.999);
  const std::vector<uint32_t> ks = {8, 64};
  const std::vector<double> temperatures = {1, 5, 7};
  const std::vector<double> lambdas = {0, 0.25, 0.9};
  constexpr size_t kTokens = 101;
  Evaluation evaluation(ks, temperatures, lambdas);
  std::vector<double> lm(kTokens);
  std::vector<std::vector<double>> knn(kTokens, std::vector<double>(6));
  std::vector<bool> found(kTokens);
  for (size_t token = 0; token < kTokens; ++token) {
    lm[token] = probability(random);
    found[token] = token % 7 != 0;
    std::vector<double> logs(6);
    for (size_t cell = 0; cell < 6; ++cell) {
      knn[token][cell] = token % 5 == 0 ? 0.0 : probability(random);
      logs[cell] = std::log(knn[token][cell]);
    }
    evaluation.Add(std::log(lm[token]), found[token], logs.data());
  }
  ASSERT_EQ(evaluation.settings().size(), 18U);
  for (size_t s = 0; s < 18; ++s) {
    const Setting& setting = evaluation.settings()[s];
    const size_t k = setting.k == 8 ? 0 : 1;
    const size_t t = setting.temperature == 1 ? 0 : setting.temperature == 5 ? 1 : 2;
    double sum = 0;
    for (size_t token = 0; token < kTokens; ++token) {
      const double mixed = (1 - setting.lambda) * lm[token] + setting.lambda * knn[token][t * 2 + k];
      sum += std::log(found[token] ? mixed : lm[token]);
    }
    EXPECT_NEAR(evaluation.Perplexity(s) / std::exp(-sum / kTokens), 1, 1e-12) << s;
  }
}

TEST(Evaluation, TheBestIsChosenOnTheFirstHalfAndJudgedOnTheSecond) {
  Evaluation evaluation({4}, {1}, {0.0, 0.5});
  // The memory helps in the first half and hurts in the second.
  const double helps = std::log(0.9);
  const double hurts = std::log(0.001);
  for (int i = 0; i < 4; ++i) evaluation.Add(std::log(0.1), true, i < 2 ? &helps : &hurts);
  const auto best = evaluation.BestOnFirstHalf();
  ASSERT_TRUE(best.has_value());
  EXPECT_EQ(best->setting.lambda, 0.5);
  EXPECT_NEAR(best->perplexity_first_half, 1 / 0.5, 1e-12);
  EXPECT_NEAR(best->perplexity, 1 / (0.5 * 0.1 + 0.5 * 0.001), 1e-9);
  EXPECT_NEAR(best->perplexity_lm, 10, 1e-12);
}

TEST(Evaluation, OneTokenHasNoFirstHalf) {
  Evaluation evaluation({4}, {1}, {0.5});
  const double log_prob = -1;
  evaluation.Add(-2, true, &log_prob);
  EXPECT_FALSE(evaluation.BestOnFirstHalf().has_value());
}

TEST(Evaluation, NatsAreThoseOfTheSetting) {
  Evaluation evaluation({4}, {1}, {0.0, 1.0});
  const double log_prob = -1;
  evaluation.Add(-2, true, &log_prob);
  evaluation.Add(-3, false, &log_prob);
  EXPECT_EQ(evaluation.Nats(0), (std::vector<double>{-2, -3}));
  EXPECT_EQ(evaluation.Nats(1), (std::vector<double>{-1, -3}));
}

}  // namespace
}  // namespace mneme::cli
