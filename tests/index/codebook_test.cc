#include "index/codebook.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "tests/index/random_index.h"

namespace mneme {
namespace {

using testing::RandomKeys;
using testing::ScratchDirectory;

constexpr uint64_t kSeed = 8;
const EnvelopeIdentity kIdentity{1, 2, 3, 4};

// `count` keys around `clusters` well-separated centres; key i belongs to centre i mod clusters.
std::vector<float> Clustered(size_t count, size_t clusters, size_t dimension, RandomKeys& random) {
  const std::vector<float> centres = random.Normal(clusters * dimension, 10.0);
  std::vector<float> keys = random.Normal(count * dimension, 0.5);
  for (size_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < dimension; ++c) keys[i * dimension + c] += centres[i % clusters * dimension + c];
  }
  return keys;
}

class CodebookOf : public ::testing::TestWithParam<Metric> {
 protected:
  const IndexSpec spec_{12, GetParam(), Dtype::kF32, 4};
};

TEST_P(CodebookOf, PutsNeighboursIntoOneListThatTheirQueryProbesFirst) {
  RandomKeys random(kSeed);
  const std::vector<float> keys = Clustered(3000, 15, 12, random);
  const auto codebook = Codebook::Train(spec_, 1, keys, 40);
  ASSERT_TRUE(codebook.ok()) << codebook.status();
  std::vector<uint32_t> lists(3000);
  (*codebook)->Assign(keys.data(), 3000, lists.data());
  // One key alone gets the list that it gets in a batch.
  uint32_t alone = 0;
  (*codebook)->Assign(keys.data() + 12 * 77, 1, &alone);
  EXPECT_EQ(alone, lists[77]);
  if (GetParam() == Metric::kInnerProduct) return;
  std::vector<uint32_t> probed(3000);
  (*codebook)->Probe(keys.data(), 3000, 1, probed.data());
  EXPECT_EQ(probed, lists);
  // Lists follow the clusters; k-means may leave one or two of them together.
  std::vector<std::set<size_t>> clusters(40);
  for (size_t i = 0; i < 3000; ++i) clusters[lists[i]].insert(i % 15);
  EXPECT_LE(std::count_if(clusters.begin(), clusters.end(), [](const auto& list) { return list.size() > 1; }), 2);
}

TEST_P(CodebookOf, ProbesAllListsOnceAndMoreProbesExtendFewer) {
  RandomKeys random(kSeed);
  const auto codebook = Codebook::Train(spec_, 1, random.Normal(2000 * 12), 33);
  ASSERT_TRUE(codebook.ok()) << codebook.status();
  const std::vector<float> queries = random.Normal(11 * 12);
  std::vector<uint32_t> all(11 * 33);
  (*codebook)->Probe(queries.data(), 11, 33, all.data());
  for (const size_t probes : {1, 5, 32}) {
    std::vector<uint32_t> some(11 * probes);
    (*codebook)->Probe(queries.data(), 11, probes, some.data());
    for (size_t q = 0; q < 11; ++q) {
      for (size_t i = 0; i < probes; ++i) EXPECT_EQ(some[q * probes + i], all[q * 33 + i]);
    }
  }
  for (size_t q = 0; q < 11; ++q) {
    EXPECT_EQ(std::set<uint32_t>(all.begin() + static_cast<ptrdiff_t>(q * 33),
                                 all.begin() + static_cast<ptrdiff_t>((q + 1) * 33))
                  .size(),
              33U);
  }
}

TEST_P(CodebookOf, IsTheSameAfterItWasSavedAndOpened) {
  const ScratchDirectory scratch;
  RandomKeys random(kSeed);
  const std::vector<float> sample = random.Normal(3000 * 12);
  const auto codebook = Codebook::Train(spec_, 42, sample, 20);
  ASSERT_TRUE(codebook.ok()) << codebook.status();
  ASSERT_TRUE((*codebook)->Save(scratch.File("codebook"), kIdentity).ok());
  const auto opened = Codebook::Open(scratch.File("codebook"), spec_, kIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->number(), 42U);
  EXPECT_EQ((*opened)->lists(), 20U);
  std::vector<uint32_t> before(3000), after(3000);
  (*codebook)->Assign(sample.data(), 3000, before.data());
  (*opened)->Assign(sample.data(), 3000, after.data());
  EXPECT_EQ(before, after);
  for (const uint32_t k : {1U, 10U, 50U, 1024U, 4096U}) {
    for (const double target : {0.1, 0.5, 0.9, 0.95, 0.99, 1.0}) {
      EXPECT_EQ((*codebook)->ProbesFor(k, target), (*opened)->ProbesFor(k, target));
      EXPECT_GE((*codebook)->ProbesFor(k, target), 1U);
    }
  }
  EXPECT_EQ(Codebook::Open(scratch.File("codebook"), {13, GetParam(), Dtype::kF32, 4}, kIdentity).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(Codebook::Open(scratch.File("missing"), spec_, kIdentity).status().code(), absl::StatusCode::kDataLoss);
}

TEST_P(CodebookOf, KeepsWhatItWasTrainedOnWithAndWithoutACodec) {
  const ScratchDirectory scratch;
  RandomKeys random(kSeed);
  const std::vector<float> sample = random.Normal(3000 * 12);
  for (const CodecKind kind : {CodecKind::kFlat, CodecKind::kInt8}) {
    IndexSpec spec = spec_;
    spec.index.codec.kind = kind;
    const auto codebook = Codebook::Train(spec, 42, sample, 20);
    ASSERT_TRUE(codebook.ok()) << codebook.status();
    (*codebook)->SetTrainedRows({3000, 4000});
    ASSERT_TRUE((*codebook)->Save(scratch.File("codebook"), kIdentity).ok());
    const auto opened = Codebook::Open(scratch.File("codebook"), spec, kIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_GT((*opened)->mean_squared_residual(), 0.0);
    EXPECT_EQ((*opened)->mean_squared_residual(), (*codebook)->mean_squared_residual());
    EXPECT_EQ((*opened)->trained_rows().count, 3000U);
    EXPECT_EQ((*opened)->trained_rows().end_row, 4000U);
  }
}

TEST_P(CodebookOf, TakesCentroidsThatWereTrainedElsewhere) {
  const ScratchDirectory scratch;
  RandomKeys random(kSeed);
  const std::vector<float> sample = random.Normal(3000 * 12);
  const std::vector<float> centroids = random.Normal(25 * 12);
  const auto codebook = Codebook::TrainOn(spec_, 42, sample, {centroids, {}});
  ASSERT_TRUE(codebook.ok()) << codebook.status();
  ASSERT_TRUE((*codebook)->Save(scratch.File("codebook"), kIdentity).ok());
  const auto opened = Codebook::Open(scratch.File("codebook"), spec_, kIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_EQ((*opened)->lists(), 25U);
  for (uint32_t list = 0; list < 25; ++list) {
    double squares = 0.0;
    for (size_t c = 0; c < 12; ++c) squares += double{centroids[list * 12 + c]} * centroids[list * 12 + c];
    const double length = GetParam() == Metric::kCosine ? std::sqrt(squares) : 1.0;
    for (size_t c = 0; c < 12; ++c) {
      EXPECT_FLOAT_EQ((*opened)->Centroid(list)[c], static_cast<float>(centroids[list * 12 + c] / length));
    }
  }
  // Measured on the sample, not taken for granted.
  EXPECT_GT((*opened)->mean_squared_residual(), 0.0);
  EXPECT_LT((*opened)->ProbesFor(10, 0.5), 25U);
  // More lists than keys are no error: they were not to be found among them.
  EXPECT_TRUE(Codebook::TrainOn(spec_, 1, {sample.data(), 12 * 20}, {centroids, {}}).ok());
  for (const size_t components : {0, 13}) {
    EXPECT_EQ(Codebook::TrainOn(spec_, 1, sample, {{centroids.data(), components}, {}}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(CodebookOf, TakesAProductQuantiserThatWasTrainedElsewhere) {
  const ScratchDirectory scratch;
  RandomKeys random(kSeed);
  const std::vector<float> sample = random.Normal(3000 * 12);
  const std::vector<float> centroids = random.Normal(25 * 12);
  for (const uint32_t bits : {4, 8}) {
    IndexSpec spec = spec_;
    spec.index.codec = {CodecKind::kPq, 3, bits};
    const std::vector<float> subvectors = random.Normal(size_t{12} << bits);
    const auto codebook = Codebook::TrainOn(spec, 42, sample, {centroids, subvectors});
    ASSERT_TRUE(codebook.ok()) << codebook.status();
    ASSERT_TRUE((*codebook)->Save(scratch.File("codebook"), kIdentity).ok());
    const auto opened = Codebook::Open(scratch.File("codebook"), spec, kIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    ASSERT_NE((*opened)->codec(), nullptr);
    const std::string parameters = (*opened)->codec()->Parameters();
    ASSERT_EQ(parameters.size(), subvectors.size() * sizeof(float));
    EXPECT_EQ(std::memcmp(parameters.data(), subvectors.data(), parameters.size()), 0);
    // How far they err is measured, and more than what the sample itself would train.
    const auto trained = Codebook::TrainOn(spec, 43, sample, {centroids, {}});
    ASSERT_TRUE(trained.ok()) << trained.status();
    EXPECT_GT((*opened)->CodeSlack(10, 0.95), (*trained)->CodeSlack(10, 0.95));
    for (const CodecChoice other : {CodecChoice{CodecKind::kPq, 3, 12 - bits}, CodecChoice{CodecKind::kInt8, 0, 0}}) {
      spec.index.codec = other;
      EXPECT_EQ(Codebook::TrainOn(spec, 1, sample, {centroids, subvectors}).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_P(CodebookOf, TrainsTheSameFromTheSameSample) {
  const ScratchDirectory scratch;
  RandomKeys random(kSeed);
  const std::vector<float> sample = random.Normal(2000 * 12);
  const auto first = Codebook::Train(spec_, 1, sample, 30);
  const auto second = Codebook::Train(spec_, 1, sample, 30);
  ASSERT_TRUE(first.ok() && second.ok());
  std::vector<uint32_t> a(2000 * 30), b(2000 * 30);
  (*first)->Probe(sample.data(), 2000, 30, a.data());
  (*second)->Probe(sample.data(), 2000, 30, b.data());
  EXPECT_EQ(a, b);
}

INSTANTIATE_TEST_SUITE_P(Metrics, CodebookOf,
                         ::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine));

const IndexSpec kSpec{4, Metric::kL2, Dtype::kF32, 4};

TEST(Codebook, ProbesMoreForMoreRecallAndMoreNeighbours) {
  RandomKeys random(kSeed);
  const auto codebook = Codebook::Train(kSpec, 1, random.Normal(6000 * 4), 90);
  ASSERT_TRUE(codebook.ok());
  EXPECT_LE((*codebook)->ProbesFor(10, 0.5), (*codebook)->ProbesFor(10, 0.95));
  EXPECT_LT((*codebook)->ProbesFor(1, 0.9), (*codebook)->ProbesFor(1024, 0.9));
  EXPECT_LE((*codebook)->ProbesFor(1024, 0.9), (*codebook)->ProbesFor(4096, 0.9));
  EXPECT_LT((*codebook)->ProbesFor(10, 0.9), 90U);
  EXPECT_EQ((*codebook)->ProbesFor(10, 1.0), 90U);
}

TEST(Codebook, AnswersFromTheNextMeasuredDepthAndProbesAllWhereNothingWasMeasured) {
  RandomKeys random(kSeed);
  const auto codebook = Codebook::Train(kSpec, 1, random.Normal(1000 * 4), 50);
  ASSERT_TRUE(codebook.ok());
  (*codebook)->SetCalibration({{100, 20, 1.0}, {10, 5, 0.7}, {10, 9, 1.0}, {100, 10, 0.8}});
  EXPECT_EQ((*codebook)->ProbesFor(1, 0.9), 9U);
  EXPECT_EQ((*codebook)->ProbesFor(10, 0.001), 5U) << "a recall of 0.7 suffices for a target near 0";
  EXPECT_EQ((*codebook)->ProbesFor(11, 0.9), 20U);
  EXPECT_EQ((*codebook)->ProbesFor(200, 0.9), 40U) << "beyond the last depth probes grow with k";
  EXPECT_EQ((*codebook)->ProbesFor(4096, 0.9), 50U);
  (*codebook)->SetCalibration({});
  EXPECT_EQ((*codebook)->ProbesFor(10, 0.5), 50U);
}

TEST(Codebook, CannotBeTrainedOnFewerRowsThanLists) {
  RandomKeys random(kSeed);
  EXPECT_EQ(Codebook::Train(kSpec, 1, random.Normal(4 * 10), 11).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Codebook::Train(kSpec, 1, random.Normal(4 * 10), 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Codebook::Train(kSpec, 1, random.Normal(41), 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Codebook::Train(kSpec, 1, random.Normal(4 * 10), 10).ok());
}

TEST(Codebook, ReportsWhatFaissRefuses) {
  std::vector<float> sample(4 * 100, 1.0F);
  sample[17] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Codebook::Train(kSpec, 1, sample, 4).status().code(), absl::StatusCode::kInternal);
}

TEST(ListsFor, GrowsWithTheRootOfTheRowsAndKeepsListsFull) {
  EXPECT_EQ(ListsFor(0), 1U);
  EXPECT_EQ(ListsFor(63), 1U);
  EXPECT_EQ(ListsFor(6400), 100U);
  EXPECT_EQ(ListsFor(1'000'000), 4000U);
}

}  // namespace
}  // namespace mneme
