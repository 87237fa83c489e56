#include "readout/mixture.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

constexpr double kTolerance = 1e-12;
constexpr double kNone = -std::numeric_limits<double>::infinity();

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_THAT(got, Pointwise(DoubleNear(kTolerance), want));
}

std::vector<double> Exp(const std::vector<double>& logs) {
  std::vector<double> out;
  for (const double x : logs) out.push_back(std::exp(x));
  return out;
}

// Neighbours of one source that live as long as this.
struct Source {
  std::vector<double> scores;
  std::vector<Token> tokens;
  std::vector<float> weights = {};

  ScoredTokens View() const { return {scores, tokens, weights}; }
};

// p(1) = 2/3, p(2) = 1/3, mass 3/2.
const Source kGlobal = {{0.0, -std::log(2.0)}, {1, 2}};
// p(2) = 1, mass e.
const Source kSession = {{1.0}, {2}};
const Source kEmpty = {{}, {}};

std::vector<TokenDistribution> ReadOut(const std::vector<Source>& sources,
                                       const std::vector<Token>* allowed = nullptr) {
  std::vector<TokenDistribution> out;
  for (const Source& source : sources) out.push_back(Distribution(source.View(), {1.0, 8, 0, allowed}));
  return out;
}

TEST(EffectiveWeightsTest, WeightsAreNormalised) { ExpectNear(EffectiveWeights({1, 3}, {true, true}), {0.25, 0.75}); }

TEST(EffectiveWeightsTest, TheWeightOfAnEmptySourceGoesToTheOthersInProportion) {
  ExpectNear(EffectiveWeights({0.5, 0.3, 0.2}, {true, false, true}), {5.0 / 7, 0, 2.0 / 7});
  ExpectNear(EffectiveWeights({0.5, 0.3, 0.2}, {false, false, true}), {0, 0, 1});
}

TEST(EffectiveWeightsTest, WhereNoSourceHasAnythingAllAreZero) {
  EXPECT_THAT(EffectiveWeights({0.5, 0.5}, {false, false}), ElementsAre(0.0, 0.0));
}

TEST(MixSourcesTest, ProbabilitiesAreAddedByWeight) {
  const TokenDistribution mixed = MixSources(ReadOut({kGlobal, kSession}), {0.25, 0.75}, 0);
  // p(1) = 1/4 2/3, p(2) = 1/4 1/3 + 3/4.
  EXPECT_THAT(mixed.tokens, ElementsAre(2U, 1U));
  ExpectNear(Exp(mixed.log_probs), {5.0 / 6, 1.0 / 6});
  EXPECT_EQ(mixed.left_out, 0.0);
  EXPECT_NEAR(mixed.log_total_mass, std::log(1.5 + std::exp(1.0)), kTolerance);
}

TEST(MixSourcesTest, EqualProbabilitiesAreOrderedByToken) {
  const Source nine = {{0.0}, {9}};
  const Source four = {{-3.0}, {4}};
  const TokenDistribution mixed = MixSources(ReadOut({nine, four}), {0.5, 0.5}, 0);
  EXPECT_THAT(mixed.tokens, ElementsAre(4U, 9U));
  ExpectNear(mixed.log_probs, {std::log(0.5), std::log(0.5)});
}

TEST(MixSourcesTest, WhatTopMCutsIsToldOfTheMixture) {
  const TokenDistribution mixed = MixSources(ReadOut({kGlobal, kSession}), {0.25, 0.75}, 1);
  EXPECT_THAT(mixed.tokens, ElementsAre(2U));
  EXPECT_NEAR(mixed.left_out, 1.0 / 6, kTolerance);
}

TEST(MixSourcesTest, AnEmptySourceLeavesTheOtherAsItIs) {
  const std::vector<TokenDistribution> read = ReadOut({kGlobal, kEmpty});
  const std::vector<bool> present = PresentSources(read);
  EXPECT_THAT(present, ElementsAre(true, false));
  const TokenDistribution mixed = MixSources(read, EffectiveWeights({0.2, 0.8}, present), 0);
  EXPECT_EQ(mixed.tokens, read[0].tokens);
  EXPECT_EQ(mixed.log_probs, read[0].log_probs);
  EXPECT_EQ(mixed.log_total_mass, read[0].log_total_mass);
}

TEST(MixSourcesTest, ASourceOfWhichNothingIsAllowedIsEmpty) {
  const std::vector<Token> allowed = {1};
  const std::vector<TokenDistribution> read = ReadOut({kGlobal, kSession}, &allowed);
  EXPECT_THAT(PresentSources(read), ElementsAre(true, false));
}

TEST(MixSourcesTest, NothingMixedWithNothingIsNothing) {
  const TokenDistribution mixed = MixSources(ReadOut({kEmpty, kEmpty}), {0, 0}, 0);
  EXPECT_TRUE(mixed.tokens.empty());
  EXPECT_EQ(mixed.log_total_mass, kNone);
}

TEST(MixSourcesTest, ATokenFarBelowTheSmallestDoubleKeepsItsLogarithm) {
  const Source far = {{0.0, -5000.0}, {1, 2}};
  const TokenDistribution mixed = MixSources(ReadOut({far, kGlobal}), {0.5, 0.5}, 0);
  ASSERT_THAT(mixed.tokens, ElementsAre(1U, 2U));
  EXPECT_NEAR(mixed.log_probs[1], std::log(1.0 / 6), kTolerance);  // e^-5000 adds nothing
  const TokenDistribution alone = MixSources(ReadOut({far, {{0.0}, {3}}}), {0.5, 0.5}, 0);
  ASSERT_EQ(alone.tokens.back(), 2U);
  EXPECT_NEAR(alone.log_probs.back(), -5000.0 - std::log(2.0), 1e-9);
}

TEST(MixSourcesTest, TheModelIsMixedWithTheMixtureAsWithOneMemory) {
  const TokenDistribution knn = MixSources(ReadOut({kGlobal, kSession}), {0.25, 0.75}, 0);
  const float half = std::log(0.5F);
  const std::vector<float> lm = {half, half, -std::numeric_limits<float>::infinity()};
  const TokenDistribution mixed = MixDistribution(knn, lm, 0.4, 0, nullptr);
  // p(2) = 0.4 5/6, p(1) = 0.4 1/6 + 0.6 1/2, p(0) = 0.6 1/2.
  EXPECT_THAT(mixed.tokens, ElementsAre(1U, 2U, 0U));
  const std::vector<double> p = Exp(mixed.log_probs);
  EXPECT_THAT(p, Pointwise(DoubleNear(1e-7), {0.4 / 6 + 0.3, 2.0 / 6, 0.3}));  // ln 1/2 is an f32
}

TEST(MixTargetsTest, EachKIsMixedByItself) {
  const std::vector<uint32_t> ks = {1, 2};
  const std::vector<Source> sources = {kGlobal, kSession};
  const std::vector<ScoredTokens> views = {sources[0].View(), sources[1].View()};
  const std::vector<MixedTarget> mixed = MixTargets(views, {1, 3}, {1.0, ks, 2, nullptr});
  ASSERT_EQ(mixed.size(), 2U);
  EXPECT_NEAR(std::exp(mixed[0].log_prob), 0.75, kTolerance);  // the first of kGlobal is token 1
  EXPECT_NEAR(std::exp(mixed[1].log_prob), 5.0 / 6, kTolerance);
  EXPECT_NEAR(mixed[0].log_total_mass, std::log(1.0 + std::exp(1.0)), kTolerance);
  EXPECT_NEAR(mixed[1].log_total_mass, std::log(1.5 + std::exp(1.0)), kTolerance);
  ExpectNear(mixed[1].effective, {0.25, 0.75});
}

TEST(MixTargetsTest, AMaskMovesWeightOnlyWhereItLeavesASourceNothing) {
  const std::vector<uint32_t> ks = {1, 2};
  const std::vector<Token> allowed = {2};
  const std::vector<ScoredTokens> views = {kGlobal.View(), kSession.View()};
  const std::vector<MixedTarget> mixed = MixTargets(views, {1, 3}, {1.0, ks, 2, &allowed});
  ExpectNear(mixed[0].effective, {0, 1});  // of the first neighbour of kGlobal nothing is allowed
  ExpectNear(mixed[1].effective, {0.25, 0.75});
  EXPECT_NEAR(mixed[1].log_prob, 0.0, kTolerance);
  const std::vector<MixedTarget> never = MixTargets(views, {1, 3}, {1.0, ks, 7, nullptr});
  EXPECT_EQ(never[1].log_prob, kNone);
  EXPECT_NE(never[1].log_total_mass, kNone);
}

TEST(MixTargetsTest, OneSourceIsTargetLogProbsToTheBit) {
  const std::vector<uint32_t> ks = {2};
  const Source source = {{-0.3, -1.7}, {5, 6}, {2.0F, 0.25F}};
  double log_prob = 0.0;
  double mass = 0.0;
  TargetLogProbs(source.View(), 0.7, ks, 6, nullptr, absl::MakeSpan(&log_prob, 1), absl::MakeSpan(&mass, 1));
  const ScoredTokens view = source.View();
  const MixedTarget mixed = MixTargets({&view, 1}, {17.0}, {0.7, ks, 6, nullptr}).front();
  EXPECT_EQ(mixed.log_prob, log_prob);
  EXPECT_EQ(mixed.log_total_mass, mass);
}

class MixAttentionsTest : public ::testing::Test {
 protected:
  // Weights 2/3 and 1/3 of (3, 0) and (0, 3); weight 1 of (4, 8).
  const std::vector<double> near_ = {0.0, -std::log(2.0)};
  const std::vector<float> near_values_ = {3, 0, 0, 3};
  const std::vector<double> one_ = {0.0};
  const std::vector<float> one_value_ = {4, 8};
  const AttentionOptions options_;
  const Attention first_ = Attend({near_, near_values_, 2, {}}, 2, options_);
  const Attention second_ = Attend({one_, one_value_, 2, {}}, 1, options_);
  const Attention nothing_ = Attend({{}, {}, 2, {}}, 0, options_);
};

TEST_F(MixAttentionsTest, OutputsAndWeightsAreSharesOfTheWhole) {
  const Attention mixed = MixAttentions({first_, second_}, {0.25, 0.75});
  ExpectNear(mixed.out, {0.25 * 2 + 3, 0.25 * 1 + 6});
  ExpectNear(mixed.weights, {1.0 / 6, 1.0 / 12, 0.75});
  EXPECT_THAT(mixed.rows, ElementsAre(0U, 1U, 0U));
  EXPECT_EQ(mixed.used, 3U);
  EXPECT_FALSE(mixed.all_zero);
  const double entropy = std::log(6.0) / 6 + std::log(12.0) / 12 + 0.75 * std::log(4.0 / 3);
  EXPECT_NEAR(mixed.entropy, entropy, 1e-11);  // the definition has 1e-12 in its logarithms
  EXPECT_NEAR(mixed.log_total_mass, std::log(2.5), kTolerance);
}

TEST_F(MixAttentionsTest, AnEmptySourceAddsNothing) {
  const Attention mixed = MixAttentions({nothing_, second_}, {0, 1});
  ExpectNear(mixed.out, {4, 8});
  EXPECT_EQ(mixed.used, 1U);
  EXPECT_FALSE(mixed.all_zero);
}

TEST_F(MixAttentionsTest, WithoutAnythingTheOutputIsZeros) {
  const Attention mixed = MixAttentions({nothing_, nothing_}, {0, 0});
  EXPECT_THAT(mixed.out, ElementsAre(0.0, 0.0));
  EXPECT_TRUE(mixed.all_zero);
  EXPECT_EQ(mixed.log_total_mass, kNone);
}

TEST(MixSparseOutputsTest, WhatASourceDoesNotListIsItsElsewhere) {
  const SparseOutput first = {{1, 4}, {0.5, 0.3}, 0.1};
  const SparseOutput second = {{2, 4}, {0.8, 0.4}, -0.2};
  const SparseOutput mixed = MixSparseOutputs({first, second}, {0.25, 0.75});
  EXPECT_THAT(mixed.tokens, ElementsAre(1U, 2U, 4U));
  ExpectNear(mixed.values, {0.125 - 0.15, 0.025 + 0.6, 0.075 + 0.3});
  EXPECT_NEAR(mixed.elsewhere, 0.025 - 0.15, kTolerance);
}

TEST(MixSparseOutputsTest, ASourceWithoutWeightListsNothing) {
  const SparseOutput first = {{1}, {0.5}, 0.1};
  const SparseOutput second = {{2}, {0.8}, 0.0};
  const SparseOutput mixed = MixSparseOutputs({first, second}, {0, 1});
  EXPECT_THAT(mixed.tokens, ElementsAre(2U));
  EXPECT_EQ(mixed.elsewhere, 0.0);
}

}  // namespace
}  // namespace mneme
