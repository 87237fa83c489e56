#include "index/envelope.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "tests/index/random_index.h"

namespace mneme {
namespace {

constexpr uint64_t kSeed = 5;
const EnvelopeIdentity kIdentity{11, 22, 33, 44};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class EnvelopeTest : public ::testing::Test {
 protected:
  // Two short sections and one of `big` bytes.
  void Write(size_t big) {
    auto writer = EnvelopeWriter::New(path_, EnvelopeKind::kSegment, kIdentity);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->AddSection(1, "hello").ok());
    ASSERT_TRUE((*writer)->AddSection(2, "").ok());
    ASSERT_TRUE((*writer)->BeginSection(9).ok());
    big_.clear();
    testing::RandomKeys random(kSeed);
    while (big_.size() < big) big_.push_back(static_cast<char>(random.Below(256)));
    for (size_t i = 0; i < big; i += 1000) ASSERT_TRUE((*writer)->Append(std::string_view(big_).substr(i, 1000)).ok());
    const absl::StatusOr<uint64_t> size = (*writer)->Finish();
    ASSERT_TRUE(size.ok()) << size.status();
    EXPECT_EQ(*size, std::filesystem::file_size(path_));
  }
  absl::Status Open(EnvelopeKind kind = EnvelopeKind::kSegment, EnvelopeIdentity identity = kIdentity) {
    return Envelope::Open(path_, kind, identity).status();
  }

  testing::ScratchDirectory scratch_;
  const std::string path_ = scratch_.File("file");
  std::string big_;
};

TEST_F(EnvelopeTest, GivesBackItsSectionsAligned) {
  Write(200'000);
  const auto file = Envelope::Open(path_, EnvelopeKind::kSegment, kIdentity);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Section(1), "hello");
  EXPECT_TRUE((*file)->Section(2).empty());
  EXPECT_EQ((*file)->Section(9), big_);
  EXPECT_TRUE((*file)->Section(5).empty());
  for (const uint32_t id : {1U, 9U}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*file)->Section(id).data()) % 64, 0U);
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
}

TEST_F(EnvelopeTest, IsRefusedWhenCutAtAnyLength) {
  Write(100);
  const std::string whole = ReadFile(path_);
  for (size_t length = 0; length < whole.size(); ++length) {
    WriteFile(path_, whole.substr(0, length));
    ASSERT_EQ(Open().code(), absl::StatusCode::kDataLoss) << length;
  }
  WriteFile(path_, whole + '\0');
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
  WriteFile(path_, whole);
  EXPECT_TRUE(Open().ok());
}

TEST_F(EnvelopeTest, IsRefusedWhenAnyBitOfASmallFileIsFlipped) {
  Write(100);
  const std::string whole = ReadFile(path_);
  testing::RandomKeys random(kSeed);
  for (size_t byte = 0; byte < whole.size(); ++byte) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << random.Below(8)));
    WriteFile(path_, damaged);
    ASSERT_EQ(Open().code(), absl::StatusCode::kDataLoss) << "byte " << byte << " seed " << kSeed;
  }
}

TEST_F(EnvelopeTest, IsRefusedWithOneRandomFlipOfManyBlocks) {
  Write(300'000);
  const std::string whole = ReadFile(path_);
  testing::RandomKeys random(kSeed);
  for (int trial = 0; trial < 500; ++trial) {
    std::string damaged = whole;
    const size_t byte = random.Below(whole.size());
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << random.Below(8)));
    WriteFile(path_, damaged);
    ASSERT_EQ(Open().code(), absl::StatusCode::kDataLoss) << "byte " << byte << " seed " << kSeed;
  }
}

// Large enough that several threads look at it.
TEST_F(EnvelopeTest, NamesTheFirstDamagedBlockWhereverItIs) {
  constexpr size_t kBlock = 64 * 1024;
  constexpr size_t kBlocks = 260;  // 17 MiB
  Write(kBlocks * kBlock - 100);
  ASSERT_TRUE(Open().ok());
  const std::string whole = ReadFile(path_);
  for (const size_t block : {size_t{0}, size_t{1}, kBlocks / 2 - 1, kBlocks / 2, kBlocks / 2 + 1, kBlocks - 1}) {
    std::string damaged = whole;
    // The last is damaged as well: the first is told.
    for (const size_t at : {block, kBlocks - 1}) damaged[4096 + at * kBlock + 77] ^= 1;
    if (block == kBlocks - 1) damaged[4096 + block * kBlock + 78] ^= 1;
    WriteFile(path_, damaged);
    const absl::Status status = Open();
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << block;
    EXPECT_NE(status.message().find(absl::StrCat("block ", block, " of ", kBlocks)), std::string::npos) << status;
  }
}

TEST_F(EnvelopeTest, SaysWhoseFileItIsWhenItIsAnothers) {
  Write(10);
  EXPECT_EQ(Open(EnvelopeKind::kCodebook).code(), absl::StatusCode::kDataLoss);
  for (const EnvelopeIdentity& other : {EnvelopeIdentity{12, 22, 33, 44}, EnvelopeIdentity{11, 23, 33, 44},
                                        EnvelopeIdentity{11, 22, 34, 44}, EnvelopeIdentity{11, 22, 33, 45}}) {
    const absl::Status status = Open(EnvelopeKind::kSegment, other);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_NE(status.message().find("belongs to deployment 11, memory 22"), absl::string_view::npos) << status;
  }
}

TEST_F(EnvelopeTest, IsRefusedWhenItIsMissing) { EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss); }

TEST_F(EnvelopeTest, LeavesNothingBehindWhenItIsNotFinished) {
  {
    auto writer = EnvelopeWriter::New(path_, EnvelopeKind::kSegment, kIdentity);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->AddSection(1, std::string(100'000, 'x')).ok());
    EXPECT_TRUE(std::filesystem::exists(path_ + ".tmp"));
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(EnvelopeTest, SaysWhereAFileEndsThatSomebodyCutWhileItWasWritten) {
  auto writer = EnvelopeWriter::New(path_, EnvelopeKind::kSegment, kIdentity);
  ASSERT_TRUE(writer.ok()) << writer.status();
  // Whole blocks: nothing is left to be written when the file is read back.
  ASSERT_TRUE((*writer)->AddSection(1, std::string(2 * 65'536, 'x')).ok());
  std::filesystem::resize_file(path_ + ".tmp", 4096 + 100);
  const absl::Status status = (*writer)->Finish().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(status.message()).find("ends at byte 4196; must have 135168"), std::string::npos) << status;
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(EnvelopeTest, CannotBeWrittenIntoAMissingDirectory) {
  EXPECT_FALSE(EnvelopeWriter::New(scratch_.File("missing/file"), EnvelopeKind::kSegment, kIdentity).ok());
}

// Of the pages that lie wholly in `bytes`, how many are mapped to ram now (pagemap of proc(5)).
size_t PagesPresent(std::string_view bytes) {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  const auto start = reinterpret_cast<uintptr_t>(bytes.data());
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY);
  size_t present = 0;
  for (uint64_t page = (start + kPage - 1) / kPage; page < (start + bytes.size()) / kPage; ++page) {
    uint64_t entry = 0;
    EXPECT_EQ(::pread(pagemap, &entry, sizeof(entry), static_cast<off_t>(page * sizeof(entry))),
              static_cast<ssize_t>(sizeof(entry)));
    present += (entry & kPresent) != 0;
  }
  ::close(pagemap);
  return present;
}

TEST_F(EnvelopeTest, LetsGoOfWhatVerifyingReadAndReadsItAgain) {
  Write(200'000);
  const auto file = Envelope::Open(path_, EnvelopeKind::kSegment, kIdentity);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_GE(PagesPresent((*file)->Section(9)), 47U);
  (*file)->LetGo();
  EXPECT_EQ(PagesPresent((*file)->Section(9)), 0U);
  EXPECT_EQ((*file)->Section(9), big_);
}

}  // namespace
}  // namespace mneme
