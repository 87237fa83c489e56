// The watermark file: what it says, what damage it survives, and that it never says more than it was told.
#include "storage/commit_watermark.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "storage/format.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

class CommitWatermarkTest : public ::testing::Test {
 protected:
  std::unique_ptr<CommitWatermark> Create(Sequence sequence) {
    auto mark = CommitWatermark::Create(path_, sequence);
    EXPECT_TRUE(mark.ok()) << mark.status();
    return *std::move(mark);
  }
  std::unique_ptr<CommitWatermark> Open() {
    auto mark = CommitWatermark::Open(path_);
    EXPECT_TRUE(mark.ok()) << mark.status();
    return *std::move(mark);
  }
  std::optional<Sequence> Read() const {
    const auto sequence = CommitWatermark::Read(path_);
    EXPECT_TRUE(sequence.ok()) << sequence.status();
    return sequence.value_or(std::nullopt);
  }
  // What slot 0 or 1 of the file says.
  std::optional<Sequence> Slot(size_t slot) const {
    const std::string bytes = ReadBytes(path_);
    return format::DecodeWatermarkSlot(
        std::string_view(bytes).substr(slot * format::kWatermarkSlotStride, format::kWatermarkSlotBytes));
  }
  void Damage(size_t slot) {
    std::string bytes = ReadBytes(path_);
    bytes[slot * format::kWatermarkSlotStride + 9] ^= 1;
    WriteBytes(path_, bytes);
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "WATERMARK";
};

TEST_F(CommitWatermarkTest, AFileThatIsNotThereSaysNothing) {
  EXPECT_EQ(Read(), std::nullopt);
  EXPECT_TRUE(absl::IsDataLoss(CommitWatermark::Open(path_).status()));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(CommitWatermarkTest, ANewFileHasItsFullLengthAndSaysItsSequenceTwice) {
  EXPECT_EQ(Create(258)->sequence(), 258U);
  EXPECT_EQ(std::filesystem::file_size(path_), format::kWatermarkFileBytes);
  EXPECT_EQ(Slot(0), 258U);
  EXPECT_EQ(Slot(1), 258U);
  EXPECT_EQ(Read(), 258U);
  EXPECT_EQ(Create(3)->sequence(), 3U) << "creating replaces";
  EXPECT_EQ(Read(), 3U);
}

TEST_F(CommitWatermarkTest, RisesAndNeverFalls) {
  const auto mark = Create(0);
  for (const Sequence sequence : {1, 2, 7, 1000}) {
    ASSERT_TRUE(mark->Advance(sequence).ok());
    EXPECT_EQ(mark->sequence(), sequence);
    EXPECT_EQ(Read(), sequence);
  }
  const std::string before = ReadBytes(path_);
  for (const Sequence sequence : {1000, 999, 0}) {
    ASSERT_TRUE(mark->Advance(sequence).ok());
    EXPECT_EQ(mark->sequence(), 1000U);
  }
  EXPECT_EQ(ReadBytes(path_), before);
  EXPECT_EQ(before.size(), format::kWatermarkFileBytes);
}

TEST_F(CommitWatermarkTest, WritesItsSlotsInTurnSoThatATornWriteLeavesTheOneBefore) {
  const auto mark = Create(0);
  Sequence last = 0;
  size_t written = 2;
  for (Sequence sequence = 1; sequence < 8; ++sequence) {
    ASSERT_TRUE(mark->Advance(sequence).ok());
    const size_t slot = Slot(0) == sequence ? 0 : 1;
    EXPECT_NE(slot, written);
    EXPECT_EQ(Slot(1 - slot), last);
    written = slot;
    last = sequence;
  }
  Damage(written);
  EXPECT_EQ(Read(), last - 1);
}

TEST_F(CommitWatermarkTest, WritesADamagedOrOlderSlotFirst) {
  for (const size_t damaged : {0, 1}) {
    Create(5);
    Damage(damaged);
    EXPECT_EQ(Read(), 5U);
    const auto mark = Open();
    EXPECT_EQ(mark->sequence(), 5U);
    ASSERT_TRUE(mark->Advance(6).ok());
    EXPECT_EQ(Slot(damaged), 6U);
    EXPECT_EQ(Slot(1 - damaged), 5U);
  }
  // After a restart the older slot goes first, whichever it is.
  for (Sequence sequence = 7; sequence < 11; ++sequence) {
    const auto mark = Open();
    ASSERT_TRUE(mark->Advance(sequence).ok());
    EXPECT_EQ(std::max(*Slot(0), *Slot(1)), sequence);
    EXPECT_EQ(std::min(*Slot(0), *Slot(1)), sequence - 1);
  }
}

TEST_F(CommitWatermarkTest, WithoutAWholeSlotIsRefused) {
  Create(5);
  Damage(0);
  Damage(1);
  EXPECT_TRUE(absl::IsDataLoss(CommitWatermark::Read(path_).status()));
  EXPECT_TRUE(absl::IsDataLoss(CommitWatermark::Open(path_).status()));
}

TEST_F(CommitWatermarkTest, CutAtAnyLengthSaysWhatItSaidOrIsRefused) {
  const auto mark = Create(4);
  ASSERT_TRUE(mark->Advance(5).ok());
  ASSERT_TRUE(mark->Advance(6).ok());
  const std::string whole = ReadBytes(path_);
  for (size_t size = 0; size < whole.size(); size += size < 40 || size > 4080 ? 1 : 101) {
    WriteBytes(path_, whole.substr(0, size));
    const auto sequence = CommitWatermark::Read(path_);
    const bool first = size >= format::kWatermarkSlotBytes;
    const bool second = size >= format::kWatermarkSlotStride + format::kWatermarkSlotBytes;
    if (!first) {
      EXPECT_TRUE(absl::IsDataLoss(sequence.status())) << size;
    } else {
      ASSERT_TRUE(sequence.ok()) << size << " " << sequence.status();
      EXPECT_EQ(**sequence, second ? 6U : *Slot(0)) << size;
    }
  }
}

TEST_F(CommitWatermarkTest, DoesNotFollowALinkToAnotherFile) {
  Create(5);
  const std::string link = directory_ / "link";
  std::filesystem::create_symlink(path_, link);
  EXPECT_FALSE(CommitWatermark::Open(link).ok());
}

}  // namespace
}  // namespace mneme
