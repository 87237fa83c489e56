// The read-out against golden numbers of a real language model's datastore: tests/data/wiki_golden always, and all 200
// queries where the full data set is at hand (MNEME_SHARED_DATA, or ../shared/data beside the source tree).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>

#include "client/npy/npy_file.h"
#include "gtest/gtest.h"
#include "readout/distribution.h"

namespace mneme {
namespace {

constexpr size_t kK = 1024;

NpyFile OpenArray(const std::string& path) {
  absl::StatusOr<NpyFile> file = NpyFile::Open(path);
  if (!file.ok()) {
    std::fprintf(stderr, "%s\n", file.status().ToString().c_str());
    std::abort();
  }
  return *std::move(file);
}

std::vector<double> Numbers(const NpyFile& file) {
  std::vector<double> numbers(file.rows() * file.row_items());
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = file.NumberAt(i);
  return numbers;
}

// Golden neighbours of `queries` queries, and where their aggregated distributions are.
struct GoldenSet {
  std::string aggregates;  // directory of agg_*.npy
  size_t queries = 0;
  std::vector<double> scores;  // [queries x kK]
  std::vector<Token> tokens;

  ScoredTokens Row(size_t row) const {
    return {absl::MakeConstSpan(scores).subspan(row * kK, kK), absl::MakeConstSpan(tokens).subspan(row * kK, kK), {}};
  }
};

class DistributionWikiTest : public ::testing::Test {
 protected:
  static std::string SliceDirectory() { return std::string(std::getenv("MNEME_TEST_DATA")) + "/wiki_golden/"; }

  static GoldenSet Slice() {
    GoldenSet set;
    set.aggregates = SliceDirectory();
    const NpyFile distances = OpenArray(SliceDirectory() + "top1024_dist.npy");
    const NpyFile values = OpenArray(SliceDirectory() + "top1024_values.npy");
    set.queries = distances.rows();
    set.scores = Numbers(distances);
    for (size_t i = 0; i < set.scores.size(); ++i) set.tokens.push_back(static_cast<Token>(values.IntegerAt(i)));
    for (double& score : set.scores) score = -score;
    return set;
  }

  static std::optional<std::string> SharedDirectory() {
    const char* given = std::getenv("MNEME_SHARED_DATA");
    const std::string beside = std::string(std::getenv("MNEME_SOURCE_DIR")) + "/../shared/data";
    const std::string directory = (given != nullptr ? given : beside) + "/knnlm_wiki/";
    if (std::filesystem::exists(directory + "store_values.npy")) return directory;
    return std::nullopt;
  }

  static GoldenSet Whole(const std::string& directory) {
    GoldenSet set;
    set.aggregates = directory + "dev/";
    const NpyFile ids = OpenArray(directory + "dev/golden_top1024_ids.npy");
    const NpyFile values = OpenArray(directory + "store_values.npy");
    set.queries = ids.rows();
    set.scores = Numbers(OpenArray(directory + "dev/golden_top1024_dist.npy"));
    for (double& score : set.scores) score = -score;
    for (size_t i = 0; i < set.scores.size(); ++i) {
      const auto entry = static_cast<uint64_t>(ids.IntegerAt(i));
      set.tokens.push_back(static_cast<Token>(values.IntegerAt(entry)));
    }
    return set;
  }

  // Every row's distribution equals the aggregate of this name to 1e-9, in its order except where two probabilities
  // are equal to rounding.
  static void ExpectAggregates(const GoldenSet& set, const std::string& name, uint32_t k, double temperature) {
    const NpyFile offsets = OpenArray(set.aggregates + "agg_" + name + "_offsets.npy");
    const NpyFile tokens = OpenArray(set.aggregates + "agg_" + name + "_tokens.npy");
    const NpyFile probs = OpenArray(set.aggregates + "agg_" + name + "_probs.npy");
    ASSERT_EQ(offsets.rows(), set.queries + 1);
    for (size_t row = 0; row < set.queries; ++row) {
      const TokenDistribution answer = Distribution(set.Row(row), {temperature, k, 0, nullptr});
      const auto first = static_cast<uint64_t>(offsets.IntegerAt(row));
      ASSERT_EQ(answer.tokens.size(), offsets.IntegerAt(row + 1) - offsets.IntegerAt(row)) << name << " row " << row;
      for (size_t i = 0; i < answer.tokens.size(); ++i) {
        const double p = std::exp(answer.log_probs[i]);
        ASSERT_NEAR(p, probs.NumberAt(first + i), 1e-9 * std::max(p, 1e-3)) << name << " row " << row << ", " << i;
        if (answer.tokens[i] == tokens.IntegerAt(first + i)) continue;
        const auto found = std::find(answer.tokens.begin(), answer.tokens.end(), tokens.IntegerAt(first + i));
        ASSERT_NE(found, answer.tokens.end());
        ASSERT_NEAR(answer.log_probs[found - answer.tokens.begin()], answer.log_probs[i], 1e-12)
            << name << " row " << row << " place " << i << ": another token, and no tie";
      }
    }
  }

  static void ExpectAllAggregates(const GoldenSet& set) {
    ExpectAggregates(set, "k8_T5", 8, 5.0);
    ExpectAggregates(set, "k64_T1", 64, 1.0);
    ExpectAggregates(set, "k64_T5", 64, 5.0);
    ExpectAggregates(set, "k1024_T7", 1024, 7.0);
  }

  // p_kNN of the token that followed, and its mixture with p_LM, for every configuration.
  static void ExpectGoldProbabilities(const GoldenSet& set) {
    const NpyFile configs = OpenArray(SliceDirectory() + "configs.npy");
    const NpyFile gold = OpenArray(SliceDirectory() + "gold.npy");
    const NpyFile lm = OpenArray(SliceDirectory() + "lm_logp.npy");
    const NpyFile p_knn = OpenArray(SliceDirectory() + "p_knn_gold.npy");
    const NpyFile p_mixed = OpenArray(SliceDirectory() + "p_mixed_gold.npy");
    for (size_t config = 0; config < configs.rows(); ++config) {
      const auto k = static_cast<uint32_t>(configs.NumberAt(config * 3));
      for (size_t row = 0; row < set.queries; ++row) {
        double log_knn = 0.0;
        TargetLogProbs(set.Row(row), configs.NumberAt(config * 3 + 1), {k}, static_cast<Token>(gold.IntegerAt(row)),
                       nullptr, absl::MakeSpan(&log_knn, 1));
        const double mixed = MixLogProbs(log_knn, lm.NumberAt(row), configs.NumberAt(config * 3 + 2));
        EXPECT_NEAR(std::exp(log_knn), p_knn.NumberAt(config * gold.rows() + row), 1e-9) << config << ", row " << row;
        EXPECT_NEAR(std::exp(mixed), p_mixed.NumberAt(config * gold.rows() + row), 1e-9) << config << ", row " << row;
      }
    }
  }
};

TEST_F(DistributionWikiTest, TheSliceInTheRepositoryHasTheGoldenDistributions) {
  const GoldenSet set = Slice();
  ASSERT_EQ(set.queries, 50U);
  ExpectAllAggregates(set);
}

TEST_F(DistributionWikiTest, TheSliceInTheRepositoryHasTheGoldenProbabilitiesOfWhatFollowed) {
  ExpectGoldProbabilities(Slice());
}

TEST_F(DistributionWikiTest, AllTwoHundredQueriesHaveTheGoldenNumbers) {
  const auto directory = SharedDirectory();
  if (!directory) {
    GTEST_SKIP() << "the full data set is absent (set MNEME_SHARED_DATA): only 50 queries, of tests/data, were checked";
  }
  const GoldenSet set = Whole(*directory);
  ASSERT_EQ(set.queries, 200U);
  ExpectAllAggregates(set);
  ExpectGoldProbabilities(set);
}

TEST_F(DistributionWikiTest, MixingTheModelsWholeDistributionGivesTheGoldenMixture) {
  const auto directory = SharedDirectory();
  if (!directory) {
    GTEST_SKIP() << "the full data set is absent (set MNEME_SHARED_DATA): tests/data has no p_LM over the vocabulary";
  }
  const GoldenSet set = Whole(*directory);
  const NpyFile lm = OpenArray(*directory + "dev/golden_lm_logdist.npy");
  const NpyFile gold = OpenArray(SliceDirectory() + "gold.npy");
  const NpyFile p_mixed = OpenArray(SliceDirectory() + "p_mixed_gold.npy");
  for (size_t i = 0; i < lm.rows(); ++i) {
    std::vector<float> log_probs(lm.row_items());
    for (size_t j = 0; j < log_probs.size(); ++j) {
      log_probs[j] = static_cast<float>(lm.NumberAt(i * log_probs.size() + j));
    }
    const TokenDistribution knn = Distribution(set.Row(2 * i), {7.0, 1024, 0, nullptr});
    const TokenDistribution mixed = MixDistribution(knn, log_probs, 0.3, 0, nullptr);
    const auto target = static_cast<Token>(gold.IntegerAt(2 * i));
    const auto place = std::find(mixed.tokens.begin(), mixed.tokens.end(), target) - mixed.tokens.begin();
    EXPECT_NEAR(std::exp(mixed.log_probs[place]), p_mixed.NumberAt(2 * gold.rows() + 2 * i), 1e-7) << i;
    const TokenDistribution cut = MixDistribution(knn, log_probs, 0.3, 10, nullptr);
    double sum = cut.left_out;
    for (const double log_prob : cut.log_probs) sum += std::exp(log_prob);
    EXPECT_NEAR(sum, 1.0, 1e-5) << "the model's log-probabilities are f32";
  }
}

// Not a bound, which a loaded machine would break: the figure stands in the output of every run.
TEST_F(DistributionWikiTest, PrintsTheTimeOfARealRow) {
  const GoldenSet set = Slice();
  const std::vector<float> lm(11'356, -9.3F);
  const auto time = [&](const char* what, auto&& run) {
    double checksum = 0.0;
    const std::clock_t begin = std::clock();  // processor time: other programs do not count
    constexpr int kRounds = 40;
    for (int round = 0; round < kRounds; ++round) {
      for (size_t row = 0; row < set.queries; ++row) checksum += run(set.Row(row));
    }
    const double elapsed_us = 1e6 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    std::printf("%-40s %7.2f us\n", what, elapsed_us / static_cast<double>(kRounds * set.queries));
    EXPECT_TRUE(std::isfinite(checksum));
  };
  time("distribution, k 1024, all tokens", [](const ScoredTokens& row) {
    return Distribution(row, {7.0, 1024, 0, nullptr}).log_probs[0];
  });
  time("distribution, k 1024, top 10", [](const ScoredTokens& row) {
    return Distribution(row, {7.0, 1024, 10, nullptr}).left_out;
  });
  time("one target, five k up to 1024", [](const ScoredTokens& row) {
    double out[5];
    TargetLogProbs(row, 7.0, {8, 64, 256, 512, 1024}, row.tokens[0], nullptr, absl::MakeSpan(out));
    return out[4];
  });
  time("distinct counts, k 1024", [](const ScoredTokens& row) {
    std::vector<uint32_t> counts(row.tokens.size());
    DistinctCounts(row.tokens, absl::MakeSpan(counts));
    return static_cast<double>(counts.back());
  });
  time("mixture over 11,356 tokens, top 10", [&](const ScoredTokens& row) {
    return MixDistribution(Distribution(row, {7.0, 1024, 0, nullptr}), lm, 0.3, 10, nullptr).left_out;
  });
}

}  // namespace
}  // namespace mneme
