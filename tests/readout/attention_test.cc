#include "readout/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

uint64_t Seed() {
  const char* text = std::getenv("MNEME_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

AttentionOptions Softmax(double temperature = 1.0, double shrink = 0.0) {
  return {AttentionKernel::kSoftmax, temperature, shrink};
}

// The weights of all entries, zeros included.
std::vector<double> AllWeights(const Attention& attention, size_t n) {
  std::vector<double> all(n, 0.0);
  for (size_t i = 0; i < attention.rows.size(); ++i) all[attention.rows[i]] = attention.weights[i];
  return all;
}

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want, double tolerance = 1e-9) {
  EXPECT_THAT(got, Pointwise(DoubleNear(tolerance), want));
}

// MEMORIES 10: M = [(1,0),(0,1),(1,1),(-1,0)], z = (1,.5). Attend takes its entries in order of score: `order` sorts.
class MemAeTest : public ::testing::Test {
 protected:
  std::vector<double> Weights(const std::vector<double>& scores, double shrink) {
    const std::vector<float> memory = {1, 0, 0, 1, 1, 1, -1, 0};
    std::vector<size_t> order = {0, 1, 2, 3};
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    std::vector<double> sorted;
    std::vector<float> values;
    for (const size_t i : order) {
      sorted.push_back(scores[i]);
      values.insert(values.end(), {memory[2 * i], memory[2 * i + 1]});
    }
    result_ = Attend({sorted, values, 2, {}}, 4, Softmax(1.0, shrink));
    const std::vector<double> by_rank = AllWeights(result_, 4);
    std::vector<double> weights(4);
    for (size_t i = 0; i < 4; ++i) weights[order[i]] = by_rank[i];
    return weights;
  }
  const std::vector<double> inner_ = {1.0, 0.5, 1.5, -1.0};
  Attention result_;
};

TEST_F(MemAeTest, InnerProductGoldens) {
  ExpectNear(Weights(inner_, 0.0), {0.294934162, 0.178886612, 0.486264227, 0.039914998});
  EXPECT_EQ(result_.rows.size(), 4U);
  ExpectNear(Weights(inner_, 0.2), {0.377540669, 0, 0.622459331, 0});
  ExpectNear(result_.out, {1, 0.622459331});
  EXPECT_NEAR(result_.entropy, 0.662847319, 1e-9);
  EXPECT_EQ(result_.rows.size(), 2U);
  EXPECT_FALSE(result_.all_zero);
}

TEST_F(MemAeTest, ALambdaAboveEveryWeightLeavesZerosAndSaysSo) {
  ExpectNear(Weights(inner_, 0.5), {0, 0, 0, 0});
  ExpectNear(result_.out, {0, 0});
  EXPECT_TRUE(result_.all_zero);
  EXPECT_EQ(result_.entropy, 0.0);
}

TEST_F(MemAeTest, CosineGoldens) {
  const double norm = std::sqrt(1.25);
  const std::vector<double> cosine = {1 / norm, 0.5 / norm, 1.5 / norm / std::sqrt(2.0), -1 / norm};
  ExpectNear(Weights(cosine, 0.0), {0.349367701, 0.223388265, 0.368846681, 0.058397353});
  ExpectNear(Weights(cosine, 0.3), {0.4864393, 0, 0.5135607, 0}, 5e-8);  // published with seven digits
}

// MEMORIES 3: distances (0,1,2,2,5).
TEST(ResMemTest, GoldensAndTies) {
  const std::vector<double> scores = {0, -1, -4, -4, -25};
  const std::vector<float> values(5, 1.0F);
  const size_t four = TopCount(scores, 3, true);
  EXPECT_EQ(four, 4U);
  EXPECT_EQ(TopCount(scores, 3, false), 3U);
  EXPECT_EQ(TopCount(scores, 9, true), 5U);
  EXPECT_EQ(TopCount({}, 3, true), 0U);
  EXPECT_EQ(TopCount(scores, 0, true), 0U);
  const ScoredVectors entries{scores, values, 1, {}};
  ExpectNear(AllWeights(Attend(entries, four, {AttentionKernel::kExpNegDistance, 1.0}), 5),
             {0.610295685, 0.224515236, 0.082594539, 0.082594539, 0});
  ExpectNear(AllWeights(Attend(entries, 5, {AttentionKernel::kExpNegDistance, 2.0}), 5),
             {0.412477521, 0.250180263, 0.151742, 0.151742, 0.033858217});
}

TEST(AttentionTest, FarQueriesDoNotUnderflow) {
  const std::vector<double> scores = {-1e12, -1.00001e12};
  const Attention far = Attend({scores, std::vector<float>{1, 2}, 1, {}}, 2, {AttentionKernel::kExpNegDistance, 1e-3});
  EXPECT_NEAR(far.weights[0], 1.0, 1e-9);
  EXPECT_TRUE(std::isfinite(far.log_total_mass));
  EXPECT_NEAR(far.log_total_mass, -1e9, 1.0);
}

TEST(AttentionTest, NothingFoundIsZerosAndAllZero) {
  const Attention none = Attend({{}, {}, 3, {}}, 0, Softmax());
  ExpectNear(none.out, {0, 0, 0});
  EXPECT_TRUE(none.all_zero);
  EXPECT_EQ(none.log_total_mass, -std::numeric_limits<double>::infinity());
}

TEST(AttentionTest, WeightsMultiplyOutsideTheScale) {
  const std::vector<float> weights = {1, 3};
  const std::vector<double> scores = {2, 2};
  const Attention attention = Attend({scores, std::vector<float>{0, 4}, 1, weights}, 2, Softmax(7.0));
  ExpectNear(attention.weights, {0.25, 0.75});
  ExpectNear(attention.out, {3.0});
}

// All entries, in any split over shards and any order, against the definition in long double.
TEST(AttentionTest, PartialsOfAnySplitEqualTheDefinition) {
  std::mt19937_64 random(Seed());
  for (int round = 0; round < 200; ++round) {
    const size_t n = 1 + random() % 60;
    const size_t shards = 1 + random() % 5;
    const bool distance = random() % 2 == 0;
    const double spread = round % 3 == 0 ? 1e4 : 3.0;
    AttentionOptions options = Softmax(0.5 + static_cast<double>(random() % 100) / 10.0);
    if (distance) options.kernel = AttentionKernel::kExpNegDistance;
    if (round % 2 == 0) options.shrink = 1.0 / static_cast<double>(n + 1);
    std::vector<double> scores(n);
    std::vector<float> values(2 * n), weights(n);
    for (size_t i = 0; i < n; ++i) {
      scores[i] = -spread * static_cast<double>(random() % 100000) / 100000.0;
      weights[i] = 0.25F + static_cast<float>(random() % 16);
      values[2 * i] = static_cast<float>(random() % 1000) / 100.0F;
      values[2 * i + 1] = 1.0F;
    }
    std::vector<AttentionMass> masses(shards, AttentionMass(options));
    std::vector<size_t> shard_of(n);
    for (size_t i = 0; i < n; ++i) {
      shard_of[i] = random() % shards;
      masses[shard_of[i]].Add(scores[i], weights[i]);
    }
    AttentionMass mass(options);
    for (size_t s = shards; s-- > 0;) mass.Merge(masses[s]);
    std::vector<AttentionWeights> parts(shards, AttentionWeights(mass));
    std::vector<DenseSum> sums(shards, DenseSum(2));
    for (size_t i = 0; i < n; ++i) {
      const double weight = parts[shard_of[i]].Add(scores[i], weights[i]);
      sums[shard_of[i]].Add(weight, absl::MakeConstSpan(values).subspan(2 * i, 2));
    }
    for (size_t s = 1; s < shards; ++s) {
      parts[0].Merge(parts[s]);
      sums[0].Merge(sums[s]);
    }
    long double total = 0, l1 = 0, entropy = 0, out = 0;
    const auto term = [&](size_t i) {
      const long double a = distance ? -std::sqrt(static_cast<long double>(-scores[i])) : scores[i];
      return weights[i] * std::exp(a / static_cast<long double>(options.scale));
    };
    for (size_t i = 0; i < n; ++i) total += term(i);
    std::vector<long double> shrunk(n);
    uint64_t active = 0;
    for (size_t i = 0; i < n; ++i) {
      const long double w = term(i) / total;
      const long double lambda = options.shrink;
      shrunk[i] = lambda == 0 ? w : std::max(w - lambda, 0.0L) * w / (std::abs(w - lambda) + 1e-12L);
      l1 += shrunk[i];
    }
    const long double divisor = options.shrink == 0.0 ? 1.0L : std::max(l1, 1e-12L);
    for (size_t i = 0; i < n; ++i) {
      const long double w = shrunk[i] / divisor;
      if (static_cast<double>(w) > 0) ++active;
      entropy -= w * std::log(w + 1e-12L);
      out += w * values[2 * i];
    }
    EXPECT_NEAR(mass.Log(), static_cast<double>(std::log(total)), 1e-12 * (1.0 + std::abs(mass.Log())));
    EXPECT_EQ(mass.count(), n);
    EXPECT_EQ(parts[0].active(), active);
    EXPECT_NEAR(parts[0].Entropy(), static_cast<double>(entropy), 1e-11);
    EXPECT_NEAR(sums[0].Divided(parts[0].Divisor())[0], static_cast<double>(out), 1e-11);
  }
}

TEST(AttentionTest, SparseSumsEqualDenseSumsOfWhatTheValuesStandFor) {
  std::mt19937_64 random(Seed());
  constexpr uint64_t kVocabulary = 7;
  DenseSum dense(kVocabulary);
  SparseSum sparse(kVocabulary);
  SparseSum other(kVocabulary);
  for (int i = 0; i < 20; ++i) {
    const Token first = static_cast<Token>(random() % 3);
    const std::vector<Token> tokens = {static_cast<Token>(first + 2), first};
    const std::vector<float> values = {0.5F, -0.25F * static_cast<float>(i)};
    const double remainder = 1.25 * i;
    std::vector<float> whole(kVocabulary, static_cast<float>(remainder / 5));
    for (size_t j = 0; j < 2; ++j) whole[tokens[j]] = values[j];
    const double weight = 0.01 * (i + 1);
    dense.Add(weight, whole);
    (i % 2 == 0 ? sparse : other).Add(weight, {tokens, values, remainder});
  }
  sparse.Merge(other);
  const SparseOutput out = sparse.Divided(2.0);
  std::vector<double> whole(kVocabulary, out.elsewhere);
  for (size_t j = 0; j < out.tokens.size(); ++j) whole[out.tokens[j]] = out.values[j];
  ExpectNear(whole, dense.Divided(2.0), 1e-12);
  EXPECT_TRUE(std::is_sorted(out.tokens.begin(), out.tokens.end()));
}

// MEMORIES 12, both levels.
TEST(ToMmyTest, TwoLevelGolden) {
  const std::vector<std::vector<double>> keys = {{1, 0}, {0, 1}, {1, 1}};
  const std::vector<float> values = {1, 0, 0, 1, 2, 2};
  std::vector<double> level1;
  for (const std::vector<double>& query : std::vector<std::vector<double>>{{1, 0}, {1, 1}}) {
    AttentionMass mass(Softmax());
    std::vector<double> scores;
    for (const auto& key : keys) {
      scores.push_back((query[0] * key[0] + query[1] * key[1]) / std::hypot(query[0], query[1]) /
                       std::hypot(key[0], key[1]));
      mass.Add(scores.back());
    }
    AttentionWeights weights(mass);
    DenseSum sum(2);
    for (size_t i = 0; i < 3; ++i) sum.Add(weights.Add(scores[i]), absl::MakeConstSpan(values).subspan(2 * i, 2));
    for (const double x : sum.Divided(weights.Divisor())) level1.push_back(x);
  }
  ExpectNear(level1, {1.178914721, 0.879895721, 1.101876987, 1.101876987});
  const std::vector<double> context = {1, 0};
  const Combined dot = CombineGroup(level1, context, Metric::kInnerProduct, 1.0);
  ExpectNear(dot.weights, {0.519249914, 0.480750086});
  ExpectNear(dot.out, {1.141878824, 0.986613233});
  const Combined cosine = CombineGroup(level1, context, Metric::kCosine, 1.0);
  ExpectNear(cosine.weights, {0.523555286, 0.476444715});
  // The reference says 1.142210450, which its own weights and vectors do not give.
  ExpectNear(cosine.out, {1.1422104996, 0.985657522});
  EXPECT_THAT(CombineGroup({}, context, Metric::kL2, 1.0).out, ElementsAre(0.0, 0.0));
  const Combined near = CombineGroup(std::vector<double>{1, 0, 3, 0}, context, Metric::kL2, 4.0);
  ExpectNear(near.weights, {1 / (1 + std::exp(-1.0)), 1 / (1 + std::exp(1.0))});
}

}  // namespace
}  // namespace mneme
