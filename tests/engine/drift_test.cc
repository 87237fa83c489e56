// Drift: 1 for what was trained on, large for what was not, and the cause of a new codebook.
#include "engine/drift.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>

#include "common/limits.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr uint32_t kDimension = 8;

class DriftTest : public ::testing::Test {
 protected:
  DriftTest() {
    const char* given = std::getenv("MNEME_TEST_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "seed " << seed << " (MNEME_TEST_SEED repeats it)" << std::endl;
    random_.seed(seed);
    memory_ = deployment_.Create(TokenMemory("wiki", kDimension));
  }

  // `count` more entries around points of which every component is `centre` or its opposite.
  void Insert(size_t count, float centre) {
    std::normal_distribution<float> normal;
    std::vector<PlainEntry> entries;
    for (size_t i = 0; i < count; ++i) {
      PlainEntry entry{next_id_++, std::vector<float>(kDimension), 1};
      for (float& component : entry.key) component = (random_() % 2 == 0 ? centre : -centre) + normal(random_);
      entries.push_back(std::move(entry));
    }
    ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries)).ok());
  }
  double Drift() {
    const auto statistics = deployment_->Statistics(memory_);
    EXPECT_TRUE(statistics.ok()) << statistics.status();
    return statistics->drift;
  }

  std::mt19937_64 random_;
  EntryId next_id_ = 0;
  TestDeployment deployment_;
  MemoryHandle memory_;
};

TEST_F(DriftTest, NothingSealedHasNoDrift) {
  Insert(1000, 0);
  EXPECT_EQ(Drift(), 0.0);
}

TEST_F(DriftTest, WhatWasTrainedOnDriftsByOneAndARestartMeasuresTheSame) {
  Insert(8000, 0);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  const double drift = Drift();
  EXPECT_GT(drift, 0.7);
  EXPECT_LT(drift, 1.4);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_NEAR(Drift(), drift, 1e-12);
}

TEST_F(DriftTest, ARestartMeasuresTheSameWithoutACodec) {
  MemorySpec spec = TokenMemory("flat", kDimension);
  spec.index.codec.kind = CodecKind::kFlat;
  memory_ = deployment_.Create(spec);
  Insert(8000, 0);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  const double drift = Drift();
  EXPECT_GT(drift, 0.7);
  deployment_.Restart();
  memory_ = deployment_.Find("flat");
  EXPECT_NEAR(Drift(), drift, 1e-12);
}

TEST_F(DriftTest, WhatTheCodebookWasTrainedOnCountsAndNotTheFirstSegment) {
  Insert(8000, 0);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  // More than half of the first segment: merged with it, while the codebook stays that of 8,000 rows.
  Insert(4500, 30);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  ASSERT_EQ(deployment_->Statistics(memory_)->segments, 1U);
  ASSERT_GT(Drift(), limits::kMaxDrift);
  Insert(500, 30);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  EXPECT_GT(Drift(), 0.0);
  EXPECT_LT(Drift(), limits::kMaxDrift);
}

TEST_F(DriftTest, RowsFarFromEveryCentroidDriftAndGetACodebookOfTheirOwn) {
  Insert(8000, 0);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  // Fewer than half of the first segment: sealed into one of their own.
  Insert(3000, 30);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  EXPECT_GT(Drift(), limits::kMaxDrift);
  // The next seal finds a codebook that does not fit, and trains one that does.
  Insert(500, 30);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  EXPECT_GT(Drift(), 0.0);
  EXPECT_LT(Drift(), limits::kMaxDrift);
  const auto statistics = deployment_->Statistics(memory_);
  ASSERT_TRUE(statistics.ok());
  EXPECT_EQ(statistics->segments, 1U);
  EXPECT_EQ(deployment_.Count(memory_), 11'500U);
}

}  // namespace
}  // namespace mneme
