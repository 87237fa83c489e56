// The whole experiment from raw text, in one process: keys, search, read-out, mixture, perplexity.
#include "tests/readout/shakespeare.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "gtest/gtest.h"
#include "readout/distribution.h"

namespace mneme {
namespace {

class ShakespeareTest : public ::testing::Test {
 protected:
  static std::string ReadText() {
    std::ifstream file(std::string(std::getenv("MNEME_TEST_DATA")) + "/shakespeare/tinyshakespeare.txt",
                       std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  const std::string text_ = ReadText();
  const Shakespeare experiment_{text_};
};

TEST_F(ShakespeareTest, TheTextAndTheEmbeddingAreTheExpectedOnes) {
  ASSERT_EQ(text_.size(), 1'115'394U);
  EXPECT_EQ(experiment_.vocabulary_size(), 65U);
  EXPECT_NEAR(experiment_.EmbeddingAt(0, 0), 0.3319568975, 5e-11);
  EXPECT_NEAR(experiment_.EmbeddingAt(0, 1), 0.0576440150, 5e-11);
  EXPECT_NEAR(experiment_.EmbeddingAt(0, 2), 0.0789726264, 5e-11);
}

TEST_F(ShakespeareTest, TabulatedDistancesAreThoseOfTheKeys) {
  const std::vector<float> store = experiment_.StoreKeys();
  const std::vector<float> queries = experiment_.QueryKeys();
  for (const size_t query : {size_t{0}, size_t{77}, size_t{1999}}) {
    for (const Shakespeare::Neighbour& neighbour : experiment_.Nearest(query, 2000)) {
      double distance = 0.0;
      for (size_t j = 0; j < Shakespeare::kDimension; ++j) {
        const double difference = static_cast<double>(store[neighbour.entry * Shakespeare::kDimension + j]) -
                                  queries[query * Shakespeare::kDimension + j];
        distance += difference * difference;
      }
      ASSERT_NEAR(neighbour.distance, distance, 1e-12 * (1.0 + distance)) << query << ", " << neighbour.entry;
    }
  }
}

struct Cell {
  double temperature;
  uint32_t k;
  double perplexity[3];  // at lambda .25, .5, .75
};
constexpr double kLambdas[] = {0.25, 0.5, 0.75};

// Runs the experiment with the 1,024 nearest of each query; expects every cell's perplexity to the third decimal.
void ExpectPerplexities(const Shakespeare& experiment, Shakespeare::Ties ties, const std::vector<Cell>& cells) {
  const std::vector<Token> values = experiment.StoreValues();
  const std::vector<Token> targets = experiment.QueryTargets();
  const std::vector<double> lm = experiment.QueryLmLogProbs();
  double nats_lm = 0.0;
  std::vector<std::array<double, 3>> nats(cells.size());
  for (size_t query = 0; query < Shakespeare::kQueries; ++query) {
    std::vector<double> scores;
    std::vector<Token> tokens;
    for (const Shakespeare::Neighbour& neighbour : experiment.Nearest(query, 1024, ties)) {
      scores.push_back(-neighbour.distance);
      tokens.push_back(values[neighbour.entry]);
    }
    nats_lm -= lm[query];
    for (size_t i = 0; i < cells.size(); ++i) {
      double log_knn = 0.0;
      TargetLogProbs({scores, tokens, {}}, cells[i].temperature, {cells[i].k}, targets[query], nullptr,
                     absl::MakeSpan(&log_knn, 1));
      for (size_t j = 0; j < 3; ++j) nats[i][j] -= MixLogProbs(log_knn, lm[query], kLambdas[j]);
    }
  }
  EXPECT_NEAR(std::exp(nats_lm / Shakespeare::kQueries), 16.2551, 5e-5);
  for (size_t i = 0; i < cells.size(); ++i) {
    for (size_t j = 0; j < 3; ++j) {
      EXPECT_NEAR(std::exp(nats[i][j] / Shakespeare::kQueries), cells[i].perplexity[j], 5.1e-4)
          << "T " << cells[i].temperature << ", k " << cells[i].k << ", lambda " << kLambdas[j];
    }
  }
}

TEST_F(ShakespeareTest, PerplexitiesUpTo64NeighboursAreThePublishedOnes) {
  ExpectPerplexities(experiment_, Shakespeare::Ties::kEarlierFirst,
                     {{0.3, 1, {12.535, 13.340, 17.846}},
                      {0.3, 8, {11.294, 10.396, 11.198}},
                      {0.3, 64, {11.509, 10.102, 9.826}}});
}

// The published figures for 1,024 neighbours keep the later of the entries that tie for the last place.
TEST_F(ShakespeareTest, PerplexitiesAt1024NeighboursAreThePublishedOnesWhereLaterEntriesWinTies) {
  ExpectPerplexities(experiment_, Shakespeare::Ties::kLaterFirst,
                     {{0.3, 1024, {11.574, 9.988, 9.267}}, {1.0, 1024, {13.573, 12.610, 12.207}}});
}

// In the order of I4; checked against an independent computation of the experiment.
TEST_F(ShakespeareTest, PerplexitiesAt1024NeighboursWhereEarlierEntriesWinTiesDifferInTheFourthDigit) {
  ExpectPerplexities(experiment_, Shakespeare::Ties::kEarlierFirst,
                     {{0.3, 1024, {11.5760, 9.9905, 9.2687}}, {1.0, 1024, {13.5763, 12.6135, 12.2106}}});
}

}  // namespace
}  // namespace mneme
