// The certified bound at work: half of the keys are so near to each other that the order of their f32 costs is noise.
// Without the bound most true neighbours would be lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "index/kernels/scan_distance.h"
#include "index/key_norms.h"
#include "index/search.h"
#include "tests/index/kernels/targets.h"
#include "tests/index/random_keys.h"

namespace mneme {
namespace {

using testing::Encode;
using testing::OnEveryTarget;
using testing::RandomKeys;

constexpr uint64_t kSeed = 12;
constexpr size_t kDimension = 96;
constexpr size_t kCount = 4000;
constexpr uint32_t kNearest = 50;

double Dot(const float* a, const float* b) {
  double sum = 0.0;
  for (size_t i = 0; i < kDimension; ++i) sum += double{a[i]} * b[i];
  return sum;
}

class NearTies : public ::testing::TestWithParam<Metric> {
 protected:
  NearTies() {
    RandomKeys random(kSeed);
    query_ = random.Normal(kDimension, 0.1);
    for (size_t i = 0; i < kCount; ++i) {
      std::vector<float> key = random.Normal(kDimension);
      const double farther = i % 2 == 0 ? 0.0 : 1.0;
      if (GetParam() == Metric::kL2) {
        MoveToASphere(key, 1.0 + farther);
      } else {
        MakeOrthogonal(key, farther);
      }
      keys_.insert(keys_.end(), key.begin(), key.end());
    }
    packed_ = Encode(Dtype::kF32, keys_);
  }

  // At distance `radius` from the query but for the rounding of the components.
  void MoveToASphere(std::vector<float>& key, double radius) const {
    const double scale = radius / std::sqrt(Dot(key.data(), key.data()));
    for (size_t i = 0; i < kDimension; ++i) key[i] = static_cast<float>(query_[i] + scale * key[i]);
  }
  // A product that cancels but for the rounding of the components, or with `behind` > 0 is below that.
  void MakeOrthogonal(std::vector<float>& key, double behind) const {
    const double along = Dot(key.data(), query_.data()) / Dot(query_.data(), query_.data()) + behind;
    for (size_t i = 0; i < kDimension; ++i) key[i] = static_cast<float>(key[i] - along * query_[i]);
  }

  const char* Key(size_t i) const { return packed_.data() + i * shape_.KeyBytes(); }
  static EntryId IdOf(size_t i) { return kCount - i; }

  // The oracle: exact scores of all keys, in the order of I4.
  std::vector<std::pair<double, EntryId>> Truth() const {
    std::vector<std::pair<double, EntryId>> ranked;
    for (size_t i = 0; i < kCount; ++i) ranked.emplace_back(-ExactScoreScalar(shape_, query_.data(), Key(i)), IdOf(i));
    std::sort(ranked.begin(), ranked.end());
    ranked.resize(kNearest);
    return ranked;
  }
  // The k-th least f32 cost, and how many true neighbours lie beyond it.
  size_t BeyondTheFastCut(const std::vector<std::pair<double, EntryId>>& truth) const {
    std::vector<float> inverse_norms(kCount);
    for (size_t i = 0; i < kCount; ++i) inverse_norms[i] = InverseNorm(ExactNorm(shape_, Key(i)));
    const float* query = query_.data();
    std::vector<float> costs(kCount);
    ScanCosts(shape_, &query, 1, packed_.data(), kCount, inverse_norms.data(), costs.data());
    std::vector<float> sorted = costs;
    std::nth_element(sorted.begin(), sorted.begin() + (kNearest - 1), sorted.end());
    return static_cast<size_t>(std::count_if(truth.begin(), truth.end(), [&](const auto& neighbour) {
      return costs[kCount - neighbour.second] > sorted[kNearest - 1];
    }));
  }
  std::shared_ptr<const IndexVersion> TailOfAll() const {
    EntryColumns entries;
    entries.values.width = 4;
    for (size_t i = 0; i < kCount; ++i) {
      EntryView entry;
      entry.id = IdOf(i);
      entry.key = {Key(i), shape_.KeyBytes()};
      entry.value = "abcd";
      entries.Append(entry);
    }
    Tail tail({kDimension, GetParam(), Dtype::kF32, 4}, 0);
    tail.Append(entries, 0, kCount);
    auto version = std::make_shared<IndexVersion>();
    version->tail = tail.TakeSnapshot();
    return version;
  }

  const KeyShape shape_{GetParam(), Dtype::kF32, kDimension};
  std::vector<float> query_;
  std::vector<float> keys_;
  std::string packed_;
};

TEST_P(NearTies, AreAnsweredInTheOrderOfTheirExactScores) {
  const auto truth = Truth();
  const auto version = TailOfAll();
  SearchRequest request;
  request.spec = {kDimension, GetParam(), Dtype::kF32, 4};
  request.queries = query_.data();
  request.query_count = 1;
  request.k = kNearest;
  OnEveryTarget([&](const char*) {
    EXPECT_GE(BeyondTheFastCut(truth), 10U) << "these keys would not notice a bound that is missing; seed " << kSeed;
    const auto result = Search({&version, 1}, request);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->neighbours.size(), kNearest);
    for (size_t i = 0; i < kNearest; ++i) {
      ASSERT_EQ(result->neighbours.ids[i], truth[i].second) << "rank " << i << " seed " << kSeed;
      ASSERT_EQ(result->neighbours.scores[i], -truth[i].first) << "rank " << i << " seed " << kSeed;
    }
    // The bound says how many are scored exactly: all of the near half, few of the far one.
    EXPECT_GE(result->statistics.rows_reranked, kCount / 2);
    EXPECT_LT(result->statistics.rows_reranked, kCount * 6 / 10);
  });
}

INSTANTIATE_TEST_SUITE_P(AllMetrics, NearTies,
                         ::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine));

}  // namespace
}  // namespace mneme
