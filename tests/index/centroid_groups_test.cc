#include "index/centroid_groups.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace mneme {
namespace {

constexpr uint64_t kSeed = 12;
constexpr size_t kDimension = 24;
constexpr size_t kCentroids = 900;

// Points around fewer places, as hidden states lie.
std::vector<float> Clustered(size_t count, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::mt19937_64 fixed(kSeed);
  std::vector<float> places(120 * kDimension);
  for (float& x : places) x = 4.0F * normal(fixed);
  std::vector<float> points(count * kDimension);
  for (size_t i = 0; i < count; ++i) {
    const size_t place = random() % 120;
    for (size_t c = 0; c < kDimension; ++c) {
      points[i * kDimension + c] = places[place * kDimension + c] + normal(random);
    }
  }
  return points;
}

class CentroidGroupsOf : public ::testing::TestWithParam<Metric> {
 protected:
  std::vector<float> Points(size_t count) {
    std::vector<float> points = Clustered(count, random_);
    for (size_t first = 0; shape_.metric == Metric::kCosine && first < points.size(); first += kDimension) {
      float* point = points.data() + first;
      const double norm = std::sqrt(std::inner_product(point, point + kDimension, point, 0.0));
      for (size_t c = 0; c < kDimension; ++c) point[c] = static_cast<float>(point[c] / norm);
    }
    return points;
  }

  const CentroidShape shape_{GetParam(), kDimension};
  std::mt19937_64 random_{kSeed + 1};
};

TEST_P(CentroidGroupsOf, FindTheNearestWithFewExceptions) {
  const std::vector<float> centroids = Points(kCentroids);
  const CentroidGroups groups(shape_, centroids.data(), kCentroids);
  constexpr size_t kVectors = 5003;
  const std::vector<float> vectors = Points(kVectors);
  std::vector<uint32_t> nearest(kVectors);
  std::vector<uint32_t> found(kVectors);
  std::vector<float> least(kVectors);
  std::vector<float> costs(kVectors);
  NearestCentroids(shape_, vectors.data(), kVectors, centroids.data(), kCentroids, nearest.data(), least.data());
  groups.Assign(vectors.data(), kVectors, found.data(), costs.data());
  size_t equal = 0;
  double excess = 0.0;
  for (size_t i = 0; i < kVectors; ++i) {
    ASSERT_LT(found[i], kCentroids);
    equal += nearest[i] == found[i] ? 1 : 0;
    EXPECT_GE(costs[i], least[i] - 1e-3F);
    excess += std::abs(costs[i] - least[i]);
    // The cost is that of the centroid.
    float exact = 0.0F;
    CentroidCosts(shape_, &vectors[i * kDimension], 1, &centroids[found[i] * kDimension], 1, &exact);
    EXPECT_NEAR(costs[i], exact, 1e-3);
  }
  EXPECT_GE(equal, kVectors * 97 / 100);
  EXPECT_LE(excess, 0.01 * std::abs(std::accumulate(least.begin(), least.end(), 0.0)));
}

TEST_P(CentroidGroupsOf, AnswerAVectorAloneAsInABatch) {
  const std::vector<float> centroids = Points(kCentroids);
  const CentroidGroups groups(shape_, centroids.data(), kCentroids);
  const std::vector<float> vectors = Points(300);
  std::vector<uint32_t> together(300);
  groups.Assign(vectors.data(), 300, together.data(), nullptr);
  for (size_t i = 0; i < 300; ++i) {
    uint32_t alone = kCentroids;
    groups.Assign(&vectors[i * kDimension], 1, &alone, nullptr);
    EXPECT_EQ(alone, together[i]);
  }
}

TEST_P(CentroidGroupsOf, GiveEveryVectorACentroidWhateverItIs) {
  const std::vector<float> centroids = Points(kCentroids);
  const CentroidGroups groups(shape_, centroids.data(), kCentroids);
  std::vector<float> vectors(64 * kDimension);
  for (size_t i = 0; i < vectors.size(); ++i) {
    const float magnitudes[] = {0.0F, 1e38F, -1e38F, 1e-40F};
    vectors[i] = magnitudes[random_() % 4];
  }
  std::vector<uint32_t> found(64, kCentroids);
  groups.Assign(vectors.data(), 64, found.data(), nullptr);
  for (const uint32_t centroid : found) EXPECT_LT(centroid, kCentroids);
  // Centroids that are all the same lie in one group.
  const std::vector<float> same(kCentroids * kDimension, 1.0F);
  const CentroidGroups one(shape_, same.data(), kCentroids);
  one.Assign(vectors.data(), 64, found.data(), nullptr);
  for (const uint32_t centroid : found) EXPECT_LT(centroid, kCentroids);
}

INSTANTIATE_TEST_SUITE_P(Metrics, CentroidGroupsOf, ::testing::Values(Metric::kL2, Metric::kCosine));

}  // namespace
}  // namespace mneme
