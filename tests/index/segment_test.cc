#include "index/segment.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "index/segment_format.h"
#include "tests/index/random_index.h"

namespace mneme {
namespace {

using testing::RandomEntries;
using testing::RandomKeys;
using testing::ScratchDirectory;
using testing::Seal;
using testing::TrainOn;

constexpr uint64_t kSeed = 6;
const EnvelopeIdentity kIdentity{1, 2, 3, 4};

void ExpectHolds(const Segment& segment, const RowBlock& block, size_t i, const EntryColumns& entries,
                 const IndexSpec& spec) {
  const EntryView entry = entries.At(block.RowAt(i));
  EXPECT_EQ(block.ids[i], entry.id);
  EXPECT_EQ(std::string_view(block.keys + i * spec.KeyBytes(), spec.KeyBytes()), entry.key);
  EXPECT_EQ(block.ValueAt(i, spec.value_bytes), entry.value);
  EXPECT_EQ(block.AttributesAt(i), entry.attributes);
  const KeyShape shape{spec.metric, spec.key_dtype, spec.dimension};
  EXPECT_GE(block.max_norm, ExactNorm(shape, entry.key.data()));
  EXPECT_TRUE(segment.PositionOf(block.RowAt(i)).has_value());
}

class SegmentOf : public ::testing::TestWithParam<std::tuple<Metric, Dtype, size_t>> {};

TEST_P(SegmentOf, GivesBackEveryRowInItsListWithEveryColumn) {
  const IndexSpec spec{6, std::get<0>(GetParam()), std::get<1>(GetParam()), std::get<2>(GetParam())};
  RandomKeys random(kSeed);
  for (int round = 0; round < 4; ++round) {
    const ScratchDirectory scratch;
    const EntryColumns entries = RandomEntries(spec, 700, random);
    const std::shared_ptr<Codebook> codebook = TrainOn(spec, entries, 9);
    std::set<Row> dead;
    for (int i = 0; i < 50 * round; ++i) dead.insert(random.Below(700));
    const auto segment = Seal(spec, entries, codebook, 100, 650, dead, scratch);
    EXPECT_EQ(segment->first_row(), 100U);
    EXPECT_EQ(segment->end_row(), 650U);
    EXPECT_EQ(segment->codebook_number(), 7U);
    ASSERT_EQ(segment->lists(), 9U);

    std::set<Row> seen;
    for (uint32_t list = 0; list < 9; ++list) {
      const RowBlock block = segment->List(list);
      for (size_t i = 0; i < block.count; ++i) {
        ExpectHolds(*segment, block, i, entries, spec);
        EXPECT_TRUE(i == 0 || block.RowAt(i - 1) < block.RowAt(i));
        EXPECT_TRUE(seen.insert(block.RowAt(i)).second);
        std::vector<float> key(spec.dimension);
        DecodeVector(spec.key_dtype, block.keys + i * spec.KeyBytes(), spec.dimension, key.data());
        uint32_t assigned = 99;
        codebook->Assign(key.data(), 1, &assigned);
        EXPECT_EQ(assigned, list);
      }
    }
    const RowBlock all = segment->All();
    EXPECT_EQ(all.count, segment->rows());
    for (Row row = 0; row < 700; ++row) {
      const bool held = row >= 100 && row < 650 && dead.count(row) == 0;
      EXPECT_EQ(seen.count(row) != 0, held) << row << " seed " << kSeed;
      const std::optional<size_t> position = segment->PositionOf(row);
      ASSERT_EQ(position.has_value(), held) << row;
      EXPECT_TRUE(!held || all.RowAt(*position) == row);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, SegmentOf,
                         ::testing::Combine(::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine),
                                            ::testing::Values(Dtype::kF32, Dtype::kF16),
                                            ::testing::Values(0, 4, 12)));

class SegmentFile : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomKeys random(kSeed);
    entries_ = RandomEntries(spec_, 300, random);
    codebook_ = TrainOn(spec_, entries_, 3);
    Seal(spec_, entries_, codebook_, 0, 300, {}, scratch_);
  }
  absl::Status Open(const IndexSpec& spec) const { return Segment::Open(path_, spec, kIdentity).status(); }

  const IndexSpec spec_{4, Metric::kCosine, Dtype::kF32, 0};
  ScratchDirectory scratch_;
  const std::string path_ = scratch_.File("segment");
  EntryColumns entries_;
  std::shared_ptr<Codebook> codebook_;
};

TEST_F(SegmentFile, OfAnotherShapeIsRefused) {
  EXPECT_TRUE(Open(spec_).ok());
  for (const IndexSpec& other : {IndexSpec{5, Metric::kCosine, Dtype::kF32, 0},
                                 IndexSpec{4, Metric::kL2, Dtype::kF32, 0},
                                 IndexSpec{4, Metric::kCosine, Dtype::kF16, 0},
                                 IndexSpec{4, Metric::kCosine, Dtype::kF32, 4}}) {
    EXPECT_EQ(Open(other).code(), absl::StatusCode::kDataLoss);
  }
}

// Every section of a whole file in turn replaced by a wrong one, under good checksums: refused, or harmless to read.
TEST_F(SegmentFile, WhoseSectionsDoNotFitTogetherIsRefusedOrHarmless) {
  RandomKeys random(kSeed);
  const auto whole = Envelope::Open(path_, EnvelopeKind::kSegment, kIdentity);
  ASSERT_TRUE(whole.ok());
  int refused = 0;
  for (int trial = 0; trial < 600; ++trial) {
    const uint32_t victim = 1 + static_cast<uint32_t>(random.Below(17));
    const std::string path = scratch_.File("wrong");
    auto writer = EnvelopeWriter::New(path, EnvelopeKind::kSegment, kIdentity);
    ASSERT_TRUE(writer.ok());
    for (uint32_t section = 1; section <= 17; ++section) {
      std::string bytes((*whole)->Section(section));
      if (section == victim && !bytes.empty()) {
        switch (random.Below(3)) {
          case 0: bytes.resize(random.Below(bytes.size())); break;
          case 1: bytes += std::string(1 + random.Below(16), 'x'); break;
          default: bytes[random.Below(bytes.size())] = static_cast<char>(random.Below(256)); break;
        }
      }
      ASSERT_TRUE((*writer)->AddSection(section, bytes).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
    const auto segment = Segment::Open(path, spec_, kIdentity);
    if (!segment.ok()) {
      EXPECT_EQ(segment.status().code(), absl::StatusCode::kDataLoss);
      ++refused;
      continue;
    }
    // Reads every byte that a search could; the sanitizers judge.
    uint64_t sum = 0;
    for (uint32_t list = 0; list < (*segment)->lists(); ++list) {
      const RowBlock block = (*segment)->List(list);
      for (size_t i = 0; i < block.count; ++i) {
        sum += block.ValueAt(i, 0).size() + block.ids[i] + block.AttributesAt(i).source;
        sum += static_cast<uint64_t>(block.keys[i * spec_.KeyBytes()]);
        EXPECT_TRUE((*segment)->PositionOf(block.RowAt(i)).has_value());
      }
    }
    EXPECT_NE(sum, 0U);
  }
  EXPECT_GT(refused, 200) << "seed " << kSeed;
}

TEST_F(SegmentFile, IsNotWrittenWhenItsBuildIsCancelled) {
  auto owned = std::make_unique<SegmentBuilder>(spec_, codebook_, 0, 300);
  SegmentBuilder& builder = *owned;
  for (Row row = 0; row < 300; ++row) builder.Add(row, entries_.At(row));
  const std::string path = scratch_.File("cancelled");
  ASSERT_TRUE(builder.Begin(path, kIdentity).ok());
  EXPECT_EQ(builder.Finish([] { return true; }).code(), absl::StatusCode::kCancelled);
  owned.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST_F(SegmentFile, KeepsTheListsThatItsRowsAreKnownToHave) {
  SegmentBuilder builder(spec_, codebook_, 0, 300);
  // Row 7 is said to be in another list than the codebook would give it, and row 9 goes between the two looks.
  const uint32_t other = codebook_->lists() - 1;
  for (Row row = 0; row < 300; ++row) {
    builder.Add(row, entries_.At(row), row == 7 ? std::optional<uint32_t>(other) : std::nullopt);
  }
  const std::string path = scratch_.File("known");
  ASSERT_TRUE(builder.Begin(path, kIdentity).ok());
  for (Row row = 0; row < 300; ++row) {
    if (row != 9) builder.Place(row, entries_.At(row));
  }
  ASSERT_TRUE(builder.Finish({}).ok());
  const auto segment = Segment::Open(path, spec_, kIdentity);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ((*segment)->ListAt(*(*segment)->PositionOf(7)), other);
  for (Row row = 0; row < 300; ++row) {
    const size_t position = *(*segment)->PositionOf(row);
    const RowBlock list = (*segment)->List((*segment)->ListAt(position));
    EXPECT_NE(std::find(list.rows, list.rows + list.count, row), list.rows + list.count);
    if (row == 9) continue;
    EXPECT_EQ((*segment)->All().ValueAt(position, spec_.value_bytes), entries_.At(row).value);
  }
}

TEST_F(SegmentFile, MayHoldNoRowAtAll) {
  SegmentBuilder builder(spec_, codebook_, 5, 9);
  const std::string path = scratch_.File("empty");
  ASSERT_TRUE(builder.Begin(path, kIdentity).ok());
  ASSERT_TRUE(builder.Finish({}).ok());
  const auto segment = Segment::Open(path, spec_, kIdentity);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ((*segment)->rows(), 0U);
  EXPECT_EQ((*segment)->List(2).count, 0U);
  EXPECT_FALSE((*segment)->PositionOf(6).has_value());
}

}  // namespace
}  // namespace mneme
