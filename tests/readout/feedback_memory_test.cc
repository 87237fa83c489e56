#include "readout/feedback_memory.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::SizeIs;

using Rows = FeedbackMemory::Rows;

const double kGoldenScale = 1.0 / std::sqrt(2.0);

// A block that owns its rows.
struct Block {
  std::vector<float> queries, keys, values, fam_queries, fam_keys, fam_values;

  FeedbackBlock At(int64_t index, size_t ring_blocks, double scale = kGoldenScale) const {
    return {index, scale, ring_blocks, true, queries, keys, values, fam_queries, fam_keys, fam_values};
  }
};

const Block kGolden = {{1, 1, 2, 0}, {1, 0, 0, 1}, {1, 0, 0, 1}, {1, -1}, {0.5F, 0.5F}, {0.25F, 0.75F}};

void ExpectNear(absl::Span<const double> got, const std::vector<double>& want, double tolerance = 1e-9) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << "item " << i;
}

TEST(FeedbackMemoryTest, GoldenWithRingAndFam) {
  FeedbackMemory memory = FeedbackMemory::FromParts(2, 2, 0, {Rows{{-1, 0}, {3, 3}}}, {}).value();
  const FeedbackAnswer answer = memory.Attend(kGolden.At(1, 1)).value();
  ExpectNear(answer.tokens, {0.882410698889, 0.659506560935, 0.724442047360, 0.440171212792});
  ExpectNear(answer.fam, {0.646974197651, 0.353025802349});
}

TEST(FeedbackMemoryTest, GoldenOfAFirstBlock) {
  Block first = kGolden;
  first.fam_keys.clear();
  first.fam_values.clear();
  FeedbackMemory memory(2, 2);
  const FeedbackAnswer answer = memory.Attend(first.At(0, 1)).value();
  ExpectNear(answer.tokens, {1, 0, 0.804429682507, 0.195570317493});
  ExpectNear(answer.fam, {0.804429682507, 0.195570317493});
  EXPECT_THAT(memory.ring(), SizeIs(1));
  EXPECT_EQ(memory.ring()[0].keys, first.keys);
}

TEST(FeedbackMemoryTest, FamKeysThatAreNotGivenAreThoseOfTheState) {
  FeedbackMemory given = FeedbackMemory::FromParts(2, 2, 0, {}, {}).value();
  FeedbackMemory kept = FeedbackMemory::FromParts(2, 2, 0, {}, Rows{kGolden.fam_keys, kGolden.fam_values}).value();
  Block without = kGolden;
  without.fam_keys.clear();
  without.fam_values.clear();
  EXPECT_EQ(given.Attend(kGolden.At(1, 0)).value().tokens, kept.Attend(without.At(1, 0)).value().tokens);
  EXPECT_EQ(given.fam().keys, kGolden.fam_keys);
}

TEST(FeedbackMemoryTest, BlocksFollowEachOther) {
  FeedbackMemory memory(2, 2);
  EXPECT_EQ(memory.OrderOf(0), BlockOrder::kNext);
  EXPECT_EQ(memory.OrderOf(-1), BlockOrder::kGap);
  EXPECT_EQ(memory.Attend(kGolden.At(1, 2)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(memory.last_block(), -1);
  ASSERT_TRUE(memory.Attend(kGolden.At(0, 2)).ok());
  EXPECT_EQ(memory.OrderOf(0), BlockOrder::kReplay);
  EXPECT_EQ(memory.OrderOf(1), BlockOrder::kNext);
  EXPECT_EQ(memory.OrderOf(2), BlockOrder::kGap);
  EXPECT_EQ(memory.Attend(kGolden.At(0, 2)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(memory.ring(), SizeIs(1));
}

TEST(FeedbackMemoryTest, RefusesRowsThatDoNotFitAndKeepsItsState) {
  std::vector<Block> wrong(6, kGolden);
  wrong[0].queries.pop_back();
  wrong[1].keys.push_back(1);
  wrong[2].values.resize(2);
  wrong[3].fam_queries.push_back(1);
  wrong[4].fam_values.clear();
  wrong[5].queries.clear();
  wrong[5].keys.clear();
  wrong[5].values.clear();
  FeedbackMemory memory(2, 2);
  for (const Block& block : wrong) {
    EXPECT_EQ(memory.Attend(block.At(0, 2)).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(memory.Attend(kGolden.At(0, 2, NAN)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(memory.last_block(), -1);
  EXPECT_EQ(memory.bytes(), 0U);
  EXPECT_EQ(FeedbackMemory::FromParts(2, 2, 0, {Rows{{1}, {1, 2}}}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FeedbackMemory::FromParts(2, 2, -2, {}, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FeedbackMemoryTest, TokensAreCausalInsideTheBlock) {
  Block later = kGolden;
  later.keys[2] = 9;
  later.values[3] = -7;
  FeedbackMemory a(2, 2);
  FeedbackMemory b(2, 2);
  const std::vector<double> first = a.Attend(kGolden.At(0, 0)).value().tokens;
  const std::vector<double> second = b.Attend(later.At(0, 0)).value().tokens;
  EXPECT_EQ(first[0], second[0]);
  EXPECT_EQ(first[1], second[1]);
  EXPECT_NE(first[3], second[3]);
  FeedbackBlock full = later.At(1, 0);
  full.causal = false;
  EXPECT_NE(b.Attend(full).value().tokens[0], second[0]);
}

// Component 0 marks the key that is sought; the others are noise. A marked pair is scaled so far above the noise that
// a query on the marker finds nothing else.
constexpr size_t kDim = 16;
constexpr double kScale = 4.0;

std::vector<float> Marker() {
  std::vector<float> marker(kDim, 0.0F);
  marker[0] = 2.0F;
  return marker;
}

Block NoiseBlock(std::mt19937& random, bool marked, const std::vector<float>& payload) {
  std::normal_distribution<float> normal(0.0F, 0.2F);
  Block block;
  for (size_t i = 0; i < 8 * kDim; ++i) {
    block.keys.push_back(i % kDim == 0 ? 0.0F : normal(random));
    block.values.push_back(normal(random));
  }
  block.queries = block.keys;
  if (marked) {
    std::copy_n(Marker().begin(), kDim, block.keys.begin() + 3 * kDim);
    std::copy(payload.begin(), payload.end(), block.values.begin() + 3 * kDim);
  }
  block.fam_queries = Marker();
  return block;
}

double Cosine(absl::Span<const double> a, const std::vector<float>& b) {
  double dot = 0.0, aa = 0.0, bb = 0.0;
  for (size_t i = 0; i < b.size(); ++i) {
    dot += a[i] * static_cast<double>(b[i]);
    aa += a[i] * a[i];
    bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return dot / std::sqrt(aa * bb);
}

TEST(FeedbackMemoryTest, FamCarriesAValueOver260BlocksWhereTheRingForgetsIt) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> payload(kDim);
  for (float& x : payload) x = normal(random);

  FeedbackMemory fam(kDim, kDim);
  FeedbackMemory ring(kDim, kDim);
  std::vector<float> carried;
  size_t bytes = 0;
  for (int64_t index = 0; index <= 260; ++index) {
    Block block = NoiseBlock(random, index == 0, payload);
    // The last token asks for the marker.
    std::copy_n(Marker().begin(), kDim, block.queries.end() - kDim);
    const std::vector<double> by_ring = ring.Attend(block.At(index, 3, kScale)).value().tokens;
    if (index <= 3) {
      EXPECT_GT(Cosine(absl::MakeConstSpan(by_ring).last(kDim), payload), 0.999) << index;
    }
    if (index > 3) {
      EXPECT_LT(Cosine(absl::MakeConstSpan(by_ring).last(kDim), payload), 0.9) << index;
    }

    if (index > 0) {
      block.fam_keys = Marker();
      block.fam_values = carried;
    }
    const FeedbackAnswer answer = fam.Attend(block.At(index, 0, kScale)).value();
    carried.assign(answer.fam.begin(), answer.fam.end());
    if (index == 1) bytes = fam.bytes();
    if (index >= 1) {
      ASSERT_EQ(fam.bytes(), bytes);
    }
    if (index == 2 || index == 8 || index == 64 || index == 260) {
      EXPECT_GT(Cosine(answer.fam, payload), 0.9999) << index;
    }
    // Without a ring, too, a token reads what the FAM holds.
    EXPECT_GT(Cosine(absl::MakeConstSpan(answer.tokens).last(kDim), payload), 0.9999) << index;
  }
  EXPECT_THAT(ring.ring(), SizeIs(3));
}

TEST(FeedbackMemoryTest, PartsRestoreTheState) {
  FeedbackMemory memory(2, 2);
  ASSERT_TRUE(memory.Attend(kGolden.At(0, 2)).ok());
  FeedbackMemory copy =
      FeedbackMemory::FromParts(2, 2, memory.last_block(), memory.ring(), memory.fam()).value();
  EXPECT_EQ(copy.Attend(kGolden.At(1, 2)).value().tokens, memory.Attend(kGolden.At(1, 2)).value().tokens);
}

}  // namespace
}  // namespace mneme
