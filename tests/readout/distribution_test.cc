#include "readout/distribution.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Neighbours that own their columns.
struct Neighbours {
  std::vector<double> scores;
  std::vector<Token> tokens;
  std::vector<float> weights;

  operator ScoredTokens() const { return {scores, tokens, weights}; }  // NOLINT: reads as the argument it is
};

DistributionOptions Options(double temperature, uint32_t k = 4096, uint32_t top_m = 0,
                            const std::vector<Token>* allowed = nullptr) {
  return {temperature, k, top_m, allowed};
}

std::map<Token, double> Probabilities(const TokenDistribution& distribution) {
  std::map<Token, double> probabilities;
  for (size_t i = 0; i < distribution.tokens.size(); ++i) {
    probabilities[distribution.tokens[i]] = std::exp(distribution.log_probs[i]);
  }
  return probabilities;
}

// The definition, in long double and without any care for speed: the oracle of the property tests.
std::map<Token, long double> BruteForce(const Neighbours& neighbours, size_t k, double temperature,
                                        const std::vector<Token>* allowed) {
  std::map<Token, long double> mass;
  long double total = 0;
  for (size_t i = 0; i < std::min(k, neighbours.scores.size()); ++i) {
    const Token token = neighbours.tokens[i];
    if (allowed != nullptr && std::find(allowed->begin(), allowed->end(), token) == allowed->end()) continue;
    const long double weight = neighbours.weights.empty() ? 1.0F : neighbours.weights[i];
    const long double term = weight * std::exp((static_cast<long double>(neighbours.scores[i])) / temperature);
    mass[token] += term;
    total += term;
  }
  for (auto& [token, value] : mass) value /= total;
  return mass;
}

Neighbours RandomNeighbours(std::mt19937& random, size_t count, uint32_t vocabulary, bool weighted) {
  Neighbours out;
  std::exponential_distribution<double> step(1.0);
  double score = -std::uniform_real_distribution<double>(0.0, 50.0)(random);
  for (size_t i = 0; i < count; ++i) {
    out.scores.push_back(score);
    out.tokens.push_back(random() % vocabulary * 2654435761U);
    if (weighted) out.weights.push_back(std::exp(std::uniform_real_distribution<float>(-5.0F, 5.0F)(random)));
    if (random() % 3 != 0) score -= step(random);  // a third are ties
  }
  return out;
}

// Equal to 1e-12, or both -infinity.
void ExpectSame(double actual, double expected) {
  if (actual == expected) return;
  EXPECT_NEAR(actual, expected, 1e-12 * (1.0 + std::abs(expected)));
}

const Neighbours kGolden = {{0, -1, -1, -4}, {7, 7, 3, 9}, {}};

TEST(DistributionTest, MatchesTheGoldenNumbersAtTemperatureOne) {
  const TokenDistribution answer = Distribution(kGolden, Options(1.0));
  EXPECT_THAT(answer.tokens, ElementsAre(7, 3, 9));
  const auto p = Probabilities(answer);
  EXPECT_NEAR(p.at(7), .779829719, 1e-9);
  EXPECT_NEAR(p.at(3), .209728513, 1e-9);
  EXPECT_NEAR(p.at(9), .010441768, 1e-9);
  EXPECT_EQ(answer.left_out, 0.0);
  EXPECT_NEAR(answer.log_total_mass, std::log(1 + 2 * std::exp(-1.0) + std::exp(-4.0)), 1e-15);
}

TEST(DistributionTest, MatchesTheGoldenNumbersAtTemperatureTen) {
  const auto p = Probabilities(Distribution(kGolden, Options(10.0)));
  EXPECT_NEAR(p.at(7), .547367879, 1e-9);
  EXPECT_NEAR(p.at(3), .260011135, 1e-9);
  EXPECT_NEAR(p.at(9), .192620986, 1e-9);
}

TEST(DistributionTest, MatchesTheGoldenNumbersWithWeights) {
  Neighbours weighted = kGolden;
  weighted.weights = {1, 2, 1, 5};
  const auto p = Probabilities(Distribution(weighted, Options(1.0)));
  EXPECT_NEAR(p.at(7), .790700538, 1e-9);
  EXPECT_NEAR(p.at(3), .167582304, 1e-9);
  EXPECT_NEAR(p.at(9), .041717158, 1e-9);
}

TEST(DistributionTest, AWeightIsSoManyCopiesOfTheEntryAtEveryTemperature) {
  const Neighbours copies = {{-1, -2, -2, -2}, {5, 6, 6, 6}, {}};
  const Neighbours weighted = {{-1, -2}, {5, 6}, {1, 3}};
  for (const double temperature : {0.1, 1.0, 7.0, 1000.0}) {
    const auto expected = Probabilities(Distribution(copies, Options(temperature)));
    const auto actual = Probabilities(Distribution(weighted, Options(temperature)));
    EXPECT_NEAR(actual.at(5), expected.at(5), 1e-15) << temperature;
    EXPECT_NEAR(actual.at(6), expected.at(6), 1e-15) << temperature;
  }
}

TEST(DistributionTest, NoNeighboursAreAnEmptyDistributionWithoutMass) {
  for (const uint32_t k : {0U, 10U}) {
    const TokenDistribution answer = Distribution(k == 0 ? ScoredTokens(kGolden) : ScoredTokens(), Options(1.0, k));
    EXPECT_THAT(answer.tokens, IsEmpty());
    EXPECT_THAT(answer.log_probs, IsEmpty());
    EXPECT_EQ(answer.left_out, 0.0);
    EXPECT_EQ(answer.log_total_mass, kNever);
  }
}

TEST(DistributionTest, AtATinyTemperatureTheNearestShareAllAndTheOthersStayFiniteInTheLog) {
  const Neighbours tied = {{-2, -2, -2, -3, -1e30}, {4, 8, 4, 1, 2}, {}};
  const TokenDistribution answer = Distribution(tied, Options(1e-9));
  EXPECT_THAT(answer.tokens, ElementsAre(4, 8, 1, 2));
  EXPECT_NEAR(std::exp(answer.log_probs[0]), 2.0 / 3.0, 1e-15);
  EXPECT_NEAR(std::exp(answer.log_probs[1]), 1.0 / 3.0, 1e-15);
  EXPECT_NEAR(answer.log_probs[2], -1e9, 10.0);
  EXPECT_TRUE(std::isfinite(answer.log_probs[3]));
}

TEST(DistributionTest, TokensTooFarForADoubleKeepTheirLogarithms) {
  const Neighbours far = {{0, -499, -1000, -1000, -1001, -1002}, {1, 4, 2, 3, 2, 1}, {1, 1, 1, 4, 1, 1}};
  const TokenDistribution answer = Distribution(far, Options(1.0));
  EXPECT_THAT(answer.tokens, ElementsAre(1, 4, 3, 2));
  EXPECT_NEAR(answer.log_probs[0], 0.0, 1e-15);
  EXPECT_NEAR(answer.log_probs[1], -499.0, 1e-12);
  EXPECT_NEAR(answer.log_probs[2], -1000.0 + std::log(4.0), 1e-12);
  EXPECT_NEAR(answer.log_probs[3], -1000.0 + std::log1p(std::exp(-1.0)), 1e-12);
}

TEST(DistributionTest, LargeNearlyEqualScoresKeepTheirDifferences) {
  const Neighbours far = {{-1e12, -1e12 - 1.0}, {1, 2}, {}};
  const auto p = Probabilities(Distribution(far, Options(3.0)));
  EXPECT_NEAR(p.at(1), 1.0 / (1.0 + std::exp(-1.0 / 3.0)), 1e-15);
}

TEST(DistributionTest, EqualDistancesCountVotesAndTiedTokensComeInAscendingOrder) {
  const Neighbours equal = {{-5, -5, -5, -5, -5, -5}, {9, 2, 7, 2, 9, 4}, {}};
  const TokenDistribution answer = Distribution(equal, Options(1.0));
  EXPECT_THAT(answer.tokens, ElementsAre(2, 9, 4, 7));
  EXPECT_EQ(answer.log_probs[0], answer.log_probs[1]);
  EXPECT_EQ(answer.log_probs[2], answer.log_probs[3]);
  EXPECT_NEAR(std::exp(answer.log_probs[0]), 1.0 / 3.0, 1e-15);
}

TEST(DistributionTest, ExtremeWeightsNeitherOverflowNorVanish) {
  const Neighbours extreme = {{0, -100}, {1, 2}, {1.4e-45F, 3.4e38F}};
  const TokenDistribution answer = Distribution(extreme, Options(1.0));
  EXPECT_THAT(answer.tokens, ElementsAre(2, 1));
  const double log_ratio = std::log(static_cast<double>(3.4e38F)) - std::log(static_cast<double>(1.4e-45F)) - 100.0;
  EXPECT_NEAR(answer.log_probs[0] - answer.log_probs[1], log_ratio, 1e-9);
  EXPECT_NEAR(answer.log_probs[0], 0.0, 1e-9);
}

TEST(DistributionTest, OnlyAllowedTokensAppearAndTheyShareAllMass) {
  const std::vector<Token> allowed = {3, 5, 9};
  const TokenDistribution answer = Distribution(kGolden, Options(1.0, 4, 0, &allowed));
  EXPECT_THAT(answer.tokens, ElementsAre(3, 9));
  const auto p = Probabilities(answer);
  EXPECT_NEAR(p.at(3), 1.0 / (1.0 + std::exp(-3.0)), 1e-15);
  EXPECT_NEAR(p.at(3) + p.at(9), 1.0, 1e-15);
  EXPECT_NEAR(answer.log_total_mass, std::log(std::exp(-1.0) + std::exp(-4.0)), 1e-15);
  const std::vector<Token> none = {1};
  EXPECT_THAT(Distribution(kGolden, Options(1.0, 4, 0, &none)).tokens, IsEmpty());
}

TEST(DistributionTest, TopMKeepsTheHeadAndSaysWhatItLeftOut) {
  std::mt19937 random(7);
  const Neighbours neighbours = RandomNeighbours(random, 500, 90, true);
  const TokenDistribution whole = Distribution(neighbours, Options(5.0));
  for (uint32_t m = 1; m <= whole.tokens.size() + 2; ++m) {
    const TokenDistribution cut = Distribution(neighbours, Options(5.0, 4096, m));
    const size_t kept = std::min<size_t>(m, whole.tokens.size());
    ASSERT_EQ(cut.tokens, std::vector<Token>(whole.tokens.begin(), whole.tokens.begin() + kept));
    ASSERT_EQ(cut.log_probs, std::vector<double>(whole.log_probs.begin(), whole.log_probs.begin() + kept));
    double head = 0.0;
    for (const double log_prob : cut.log_probs) head += std::exp(log_prob);
    ASSERT_NEAR(head + cut.left_out, 1.0, 1e-14);
    ASSERT_EQ(cut.left_out == 0.0, kept == whole.tokens.size());
    ASSERT_EQ(cut.log_total_mass, whole.log_total_mass);
  }
}

TEST(DistributionTest, AgreesWithTheDefinitionOnRandomNeighbours) {
  const uint32_t seed = 20201;
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const Neighbours neighbours = RandomNeighbours(random, random() % 200, 1 + random() % 100, round % 2 == 0);
    const double temperature = std::exp(std::uniform_real_distribution<double>(-1.0, 6.0)(random));
    const uint32_t k = random() % 220;
    std::vector<Token> mask;
    for (uint32_t i = 0; i < 100; i += 1 + random() % 3) mask.push_back(i * 2654435761U);
    std::sort(mask.begin(), mask.end());
    const std::vector<Token>* allowed = round % 3 == 0 ? &mask : nullptr;
    const TokenDistribution answer = Distribution(neighbours, Options(temperature, k, 0, allowed));
    const auto expected = BruteForce(neighbours, k, temperature, allowed);
    ASSERT_EQ(answer.tokens.size(), expected.size()) << "seed " << seed << ", round " << round;
    for (size_t i = 0; i < answer.tokens.size(); ++i) {
      const double p = static_cast<double>(expected.at(answer.tokens[i]));
      ASSERT_NEAR(answer.log_probs[i], std::log(p), 1e-12 * (1.0 - std::log(p))) << "seed " << seed << ", " << round;
      if (i == 0) continue;
      ASSERT_TRUE(answer.log_probs[i - 1] > answer.log_probs[i] ||
                  (answer.log_probs[i - 1] == answer.log_probs[i] && answer.tokens[i - 1] < answer.tokens[i]));
    }
  }
}

TEST(TargetLogProbsTest, EveryKAgreesWithTheWholeDistributionOfThatK) {
  const uint32_t seed = 31;
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    const Neighbours neighbours = RandomNeighbours(random, random() % 120, 12, round % 2 == 0);
    const Token target = random() % 12 * 2654435761U;
    std::vector<Token> mask = {0, 2654435761U, target};
    std::sort(mask.begin(), mask.end());
    mask.erase(std::unique(mask.begin(), mask.end()), mask.end());
    const std::vector<Token>* allowed = round % 3 == 0 ? &mask : nullptr;
    const std::vector<uint32_t> ks = {0, 1, 2, 2, 8, 64, 1000};
    std::vector<double> log_probs(ks.size());
    std::vector<double> masses(ks.size());
    TargetLogProbs(neighbours, 0.7, ks, target, allowed, absl::MakeSpan(log_probs), absl::MakeSpan(masses));
    for (size_t j = 0; j < ks.size(); ++j) {
      const TokenDistribution whole = Distribution(neighbours, Options(0.7, ks[j], 0, allowed));
      const auto found = std::find(whole.tokens.begin(), whole.tokens.end(), target);
      const double expected = found == whole.tokens.end() ? kNever : whole.log_probs[found - whole.tokens.begin()];
      ExpectSame(log_probs[j], expected);
      ExpectSame(masses[j], whole.log_total_mass);
      ASSERT_FALSE(HasFailure()) << "seed " << seed << ", round " << round << ", k " << ks[j];
    }
  }
}

TEST(TargetLogProbsTest, ATargetThatIsNotAllowedOrAbsentHasNoProbability) {
  const std::vector<Token> allowed = {3, 9};
  double log_prob = 0.0;
  TargetLogProbs(kGolden, 1.0, {4}, 7, &allowed, absl::MakeSpan(&log_prob, 1));
  EXPECT_EQ(log_prob, kNever);
  TargetLogProbs(kGolden, 1.0, {4}, 8, nullptr, absl::MakeSpan(&log_prob, 1));
  EXPECT_EQ(log_prob, kNever);
  TargetLogProbs(kGolden, 1e-9, {4}, 9, nullptr, absl::MakeSpan(&log_prob, 1));
  EXPECT_NEAR(log_prob, -4e9, 1.0);
}

TEST(MixLogProbsTest, IsExactAtTheEndsAndForImpossibleSides) {
  EXPECT_EQ(MixLogProbs(-1.5, -2.5, 0.0), -2.5);
  EXPECT_EQ(MixLogProbs(-1.5, -2.5, 1.0), -1.5);
  EXPECT_EQ(MixLogProbs(kNever, -2.5, 0.0), -2.5);
  EXPECT_EQ(MixLogProbs(-1.5, kNever, 1.0), -1.5);
  EXPECT_EQ(MixLogProbs(kNever, -2.5, 1.0), kNever);
  EXPECT_EQ(MixLogProbs(-1.5, kNever, 0.0), kNever);
  EXPECT_EQ(MixLogProbs(kNever, kNever, 0.3), kNever);
  EXPECT_DOUBLE_EQ(MixLogProbs(kNever, -2.5, 0.25), -2.5 + std::log(0.75));
  EXPECT_DOUBLE_EQ(MixLogProbs(-1.5, kNever, 0.25), -1.5 + std::log(0.25));
  EXPECT_NEAR(MixLogProbs(std::log(0.2), std::log(0.6), 0.3), std::log(0.3 * 0.2 + 0.7 * 0.6), 1e-15);
  EXPECT_NEAR(MixLogProbs(-5000.0, -5000.0, 0.5), -5000.0, 1e-11);
}

class MixDistributionTest : public ::testing::Test {
 protected:
  // p_LM over ten tokens; token 4 is impossible.
  static std::vector<float> Lm() {
    std::vector<float> lm;
    for (const double p : {.30, .20, .10, .10, .0, .05, .05, .10, .05, .05}) {
      lm.push_back(static_cast<float>(std::log(p)));
    }
    return lm;
  }
  const std::vector<float> lm_ = Lm();
  const TokenDistribution knn_ = Distribution(kGolden, Options(1.0));
};

TEST_F(MixDistributionTest, EveryTokenIsMixedAndOrdered) {
  const TokenDistribution mixed = MixDistribution(knn_, lm_, 0.3, 0, nullptr);
  const auto p = Probabilities(mixed);
  const auto knn = Probabilities(knn_);
  ASSERT_EQ(mixed.tokens.size(), 9U);
  EXPECT_EQ(p.count(4), 0U);
  for (const auto& [token, probability] : p) {
    const double p_knn = knn.count(token) != 0 ? knn.at(token) : 0.0;
    const double expected = 0.3 * p_knn + 0.7 * std::exp(static_cast<double>(lm_[token]));
    EXPECT_NEAR(probability, expected, 1e-15) << token;
  }
  EXPECT_THAT(mixed.tokens, ElementsAre(7, 0, 1, 3, 2, 9, 5, 6, 8));
  EXPECT_EQ(mixed.log_total_mass, knn_.log_total_mass);
}

TEST_F(MixDistributionTest, TopMSaysWhatItLeftOut) {
  const TokenDistribution whole = MixDistribution(knn_, lm_, 0.3, 0, nullptr);
  for (uint32_t m = 1; m <= 12; ++m) {
    const TokenDistribution cut = MixDistribution(knn_, lm_, 0.3, m, nullptr);
    const size_t kept = std::min<size_t>(m, 9);
    EXPECT_EQ(cut.tokens, std::vector<Token>(whole.tokens.begin(), whole.tokens.begin() + kept));
    double rest = 0.0;
    for (size_t i = kept; i < 9; ++i) rest += std::exp(whole.log_probs[i]);
    EXPECT_NEAR(cut.left_out, rest, 1e-15);
  }
}

TEST_F(MixDistributionTest, TheEndsOfLambdaAreEachSideAlone) {
  const auto model = Probabilities(MixDistribution(knn_, lm_, 0.0, 0, nullptr));
  ASSERT_EQ(model.size(), 9U);
  for (const auto& [token, p] : model) EXPECT_DOUBLE_EQ(p, std::exp(static_cast<double>(lm_[token])));
  const TokenDistribution memory = MixDistribution(knn_, lm_, 1.0, 0, nullptr);
  EXPECT_EQ(memory.tokens, knn_.tokens);
  EXPECT_EQ(memory.log_probs, knn_.log_probs);
}

TEST_F(MixDistributionTest, WithoutNeighboursTheModelStandsAloneWhateverLambda) {
  for (const double lambda : {0.0, 0.3, 1.0}) {
    const auto p = Probabilities(MixDistribution({}, lm_, lambda, 0, nullptr));
    ASSERT_EQ(p.size(), 9U) << lambda;
    for (const auto& [token, probability] : p) {
      EXPECT_DOUBLE_EQ(probability, std::exp(static_cast<double>(lm_[token])));
    }
  }
}

TEST_F(MixDistributionTest, AMaskRenormalisesEachSideBeforeTheyAreMixed) {
  const std::vector<Token> allowed = {1, 3, 4, 99};
  const TokenDistribution knn = Distribution(kGolden, Options(1.0, 4, 0, &allowed));
  const auto p = Probabilities(MixDistribution(knn, lm_, 0.25, 0, &allowed));
  ASSERT_EQ(p.size(), 2U);
  EXPECT_NEAR(p.at(1), 0.75 * 0.2 / 0.3, 1e-7);
  EXPECT_NEAR(p.at(3), 0.25 + 0.75 * 0.1 / 0.3, 1e-7);
  EXPECT_NEAR(p.at(1) + p.at(3), 1.0, 1e-15);
}

TEST_F(MixDistributionTest, AModelWithoutMassOnTheAllowedTokensLeavesTheMemoryAlone) {
  const std::vector<Token> allowed = {4};
  const Neighbours four = {{-1}, {4}, {}};
  const TokenDistribution knn = Distribution(four, Options(1.0, 1, 0, &allowed));
  const TokenDistribution mixed = MixDistribution(knn, lm_, 0.25, 0, &allowed);
  EXPECT_THAT(mixed.tokens, ElementsAre(4));
  EXPECT_EQ(mixed.log_probs[0], 0.0);
  EXPECT_THAT(MixDistribution({}, lm_, 0.25, 0, &allowed).tokens, IsEmpty());
}

TEST_F(MixDistributionTest, ATokenOutsideTheVocabularyComesFromTheMemoryOnly) {
  const Neighbours outside = {{-1, -1}, {12, 0}, {}};
  const auto p = Probabilities(MixDistribution(Distribution(outside, Options(1.0)), lm_, 0.5, 0, nullptr));
  EXPECT_NEAR(p.at(12), 0.25, 1e-15);
  EXPECT_NEAR(p.at(0), 0.25 + 0.5 * 0.3, 1e-7);
}

TEST_F(MixDistributionTest, AgreesWithTheDefinitionOnRandomInput) {
  const uint32_t seed = 4242;
  std::mt19937 random(seed);
  for (int round = 0; round < 100; ++round) {
    const uint32_t vocabulary = 1 + random() % 300;
    Neighbours neighbours = RandomNeighbours(random, random() % 80, 1, false);
    for (Token& token : neighbours.tokens) token = random() % vocabulary;
    std::vector<float> lm(vocabulary);
    for (float& log_prob : lm) log_prob = -std::uniform_real_distribution<float>(0.0F, 20.0F)(random);
    const uint32_t m = 1 + random() % 40;
    const TokenDistribution mixed = MixDistribution(Distribution(neighbours, Options(2.0)), lm, 0.4, m, nullptr);
    const auto knn = BruteForce(neighbours, 4096, 2.0, nullptr);
    std::vector<std::pair<long double, Token>> expected;
    for (Token token = 0; token < vocabulary; ++token) {
      const long double p_knn = knn.count(token) != 0 ? knn.at(token) : 0.0L;
      const long double p_lm = std::exp(static_cast<long double>(lm[token]));
      expected.emplace_back(-(knn.empty() ? p_lm : 0.4L * p_knn + 0.6L * p_lm), token);
    }
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(mixed.tokens.size(), std::min<size_t>(m, vocabulary)) << "seed " << seed << ", round " << round;
    long double rest = 0.0L;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (i >= mixed.tokens.size()) {
        rest -= expected[i].first;
        continue;
      }
      ASSERT_NEAR(std::exp(mixed.log_probs[i]), static_cast<double>(-expected[i].first), 1e-12) << "seed " << seed;
    }
    ASSERT_NEAR(mixed.left_out, static_cast<double>(rest), 1e-11) << "seed " << seed << ", round " << round;
  }
}

TEST(DistinctCountsTest, CountsDistinctTokensOfEveryPrefix) {
  const std::vector<Token> tokens = {5, 5, 0, 5, 0xFFFFFFFFU, 0, 7};
  std::vector<uint32_t> counts(tokens.size());
  DistinctCounts(tokens, absl::MakeSpan(counts));
  EXPECT_THAT(counts, ElementsAre(1, 1, 2, 2, 3, 3, 4));
  std::mt19937 random(5);
  std::vector<Token> many(4096);
  for (Token& token : many) token = random() % 3 == 0 ? random() % 700 : (random() % 700) << 20;
  counts.resize(many.size());
  DistinctCounts(many, absl::MakeSpan(counts));
  std::set<Token> seen;
  for (size_t i = 0; i < many.size(); ++i) {
    seen.insert(many[i]);
    ASSERT_EQ(counts[i], seen.size());
  }
}

}  // namespace
}  // namespace mneme
