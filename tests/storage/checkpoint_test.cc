// The store of one replica becomes that of another, file by file, or not at all.
#include "tests/storage/checkpoint_fixture.h"

#include <fstream>
#include <set>
#include <vector>

#include "common/limits.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::CheckpointTest;
using Piece = CheckpointTarget::Piece;
namespace fs = std::filesystem;

void FlipByte(const std::string& path, std::uintmax_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(file.get() ^ 0x10);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
  ASSERT_TRUE(file.good());
}

std::string PathOfTable(const std::string& folder) {
  std::string largest;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".sst") continue;
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path().string();
  }
  EXPECT_FALSE(largest.empty());
  return largest;
}

TEST_F(CheckpointTest, ACopyIsTheStoreAsItWasWhateverCameAfter) {
  Change(20);
  const auto source = Take();
  const std::string before = SourceDump();
  EXPECT_EQ(source->manifest().applied, source_->applied());
  Change(20);
  const auto target = Begin(source->manifest());
  EXPECT_GT(Copy(*source, *target), 3);
  EXPECT_FALSE(Is("db"));
  ASSERT_TRUE(target->Finish().ok());
  EXPECT_TRUE(Is("arrived"));
  EXPECT_FALSE(Is("incoming"));
  ASSERT_TRUE(Install().ok());
  EXPECT_FALSE(Is("arrived"));
  EXPECT_EQ(TargetDump(), before);
}

TEST_F(CheckpointTest, ACopyThatWasCutGoesOnWhereItWas) {
  Change(20, 20'000);
  const auto source = Take();
  uint64_t read = 0;
  int starts = 0;
  for (bool whole = false; !whole; ++starts) {
    const auto target = Begin(source->manifest());
    for (int left = 1 + static_cast<int>(random_() % 5); left > 0; --left) {
      const auto piece = target->Next();
      ASSERT_TRUE(piece.ok()) << piece.status();
      whole = !piece->has_value();
      if (whole) break;
      const CheckpointChunk chunk = Cut(*source, **piece, 1 + random_() % 50'000);
      ASSERT_TRUE(target->Write(**piece, chunk).ok());
      read += chunk.bytes.size();
    }
    if (whole) {
      ASSERT_TRUE(target->Finish().ok());
    }
  }
  EXPECT_GT(starts, 3);
  EXPECT_EQ(read, source->manifest().bytes()) << "nothing came twice";
  ASSERT_TRUE(Install().ok());
  EXPECT_EQ(TargetDump(), SourceDump());
}

TEST_F(CheckpointTest, ANewerCheckpointOfTheSameStoreHasMostOfTheSameFiles) {
  Change(20, 20'000);
  const auto first = Take();
  Copy(*first, *Begin(first->manifest()));
  Change(2);
  const auto second = Take();
  const auto target = Begin(second->manifest());
  std::set<std::string> came;
  for (auto piece = target->Next().value(); piece.has_value(); piece = target->Next().value()) {
    came.insert(second->manifest().files[piece->file].name);
    ASSERT_TRUE(target->Write(*piece, second->Read(piece->file, piece->offset).value()).ok());
  }
  size_t tables = 0;
  for (const CheckpointFile& file : first->manifest().files) {
    if (fs::path(file.name).extension() != ".sst") continue;
    ++tables;
    EXPECT_EQ(came.count(file.name), 0U) << file.name;
  }
  EXPECT_GT(tables, 0U);
  ASSERT_TRUE(target->Finish().ok());
  ASSERT_TRUE(Install().ok());
  EXPECT_EQ(TargetDump(), SourceDump());
}

TEST_F(CheckpointTest, DamagedBytesAreRefused) {
  Change(20);
  const auto source = Take();
  const auto target = Begin(source->manifest());
  const Piece piece = *target->Next().value();
  const CheckpointChunk good = source->Read(piece.file, piece.offset).value();
  const auto refused = [&](const Piece& at, const CheckpointChunk& chunk) {
    EXPECT_EQ(target->Write(at, chunk).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(*target->Next().value(), piece) << "nothing of it was written";
  };
  CheckpointChunk damaged = good;
  damaged.bytes[damaged.bytes.size() / 2] ^= 1;
  refused(piece, damaged);
  CheckpointChunk elsewhere = good;
  elsewhere.offset = 1;
  refused(piece, elsewhere);
  CheckpointChunk longer = good;
  longer.bytes += "x";
  longer.checksum = ChunkChecksum(longer.offset, longer.bytes);
  refused(piece, longer);
  CheckpointChunk nothing;
  nothing.offset = piece.offset;
  nothing.checksum = ChunkChecksum(piece.offset, "");
  refused(piece, nothing);
  EXPECT_TRUE(target->Write(piece, good).ok());
}

TEST_F(CheckpointTest, AFileThatIsAnotherThanItShouldBeComesAgain) {
  Change(20);
  const auto source = Take();
  Copy(*source, *Begin(source->manifest()));
  const std::string table = PathOfTable(directory_ / "target/incoming");
  FlipByte(table, fs::file_size(table) / 2);
  const auto target = Begin(source->manifest());
  const auto piece = target->Next().value();
  ASSERT_TRUE(piece.has_value());
  EXPECT_EQ(source->manifest().files[piece->file].name, fs::path(table).filename().string());
  EXPECT_EQ(piece->offset, 0U);
  Copy(*source, *target);
  ASSERT_TRUE(target->Finish().ok());
  ASSERT_TRUE(Install().ok());
  EXPECT_EQ(TargetDump(), SourceDump());
}

TEST_F(CheckpointTest, AFileThatIsAlwaysAnotherIsGivenUp) {
  Change(5);
  const auto source = Take();
  CheckpointManifest wrong = source->manifest();
  wrong.files.back().checksum.low ^= 1;
  const auto target = Begin(wrong);
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    const auto piece = target->Next();
    status = piece.status();
    if (status.ok() && piece->has_value()) status = target->Write(**piece, Cut(*source, **piece, 1 << 20));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.files.back().name));
  EXPECT_FALSE(target->Finish().ok());
  EXPECT_FALSE(Is("arrived"));
}

// The checksum of its file is that of the damage.
TEST_F(CheckpointTest, ABlockThatWasDamagedWhereItCameFromIsFound) {
  Change(20, 2'000);
  const std::string path = NewCheckpoint();
  const std::string table = PathOfTable(path);
  // A link: the source has it, too.
  fs::copy_file(table, table + ".copy");
  fs::rename(table + ".copy", table);
  FlipByte(table, 100);
  const auto source = CheckpointSource::Open(path, 1, [](uint64_t, uint64_t) { return absl::OkStatus(); });
  if (!source.ok()) {
    EXPECT_EQ(source.status().code(), absl::StatusCode::kDataLoss) << source.status();
    return;
  }
  const auto target = Begin((*source)->manifest());
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    const auto piece = target->Next();
    status = piece.status();
    if (status.ok() && piece->has_value()) status = target->Write(**piece, Cut(**source, **piece, 1 << 20));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(target->Finish().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Is("arrived"));
}

TEST_F(CheckpointTest, ItsReadingMayBeEnded) {
  Change(20);
  const auto source = Take();
  bool ends = false;
  const auto target = CheckpointTarget::Begin(target_, source->manifest(), [&ends]() -> absl::Status {
    return ends ? absl::CancelledError("enough") : absl::OkStatus();
  });
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_GT(Copy(*source, **target, 2), 1);
  ends = true;
  EXPECT_EQ((*target)->Next().status().code(), absl::StatusCode::kCancelled);
  ends = false;
  Copy(*source, **target);
  EXPECT_TRUE((*target)->Finish().ok());
}

TEST_F(CheckpointTest, WhatIsNotWholeIsNoCopy) {
  Change(20);
  const auto source = Take();
  const auto target = Begin(source->manifest());
  for (int i = 0; Copy(*source, *target, 1) == 1; ++i) {
    if (i % 2 == 0) continue;
    const auto left = target->Next();
    ASSERT_TRUE(left.ok());
    if (!left->has_value()) break;
    EXPECT_EQ(target->Finish().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_FALSE(Is("arrived"));
    ASSERT_TRUE(Install().ok());
    EXPECT_FALSE(Is("db"));
  }
  ASSERT_TRUE(CheckpointTarget::Discard(target_).ok());
  EXPECT_FALSE(Is("incoming"));
}

TEST_F(CheckpointTest, AManifestThatSaysAnotherContentIsRefused) {
  Change(20);
  const auto source = Take();
  CheckpointManifest wrong = source->manifest();
  ++wrong.applied;
  const auto target = Begin(wrong);
  Copy(*source, *target);
  EXPECT_EQ(target->Finish().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Is("arrived"));
}

TEST_F(CheckpointTest, NamesThatLeadElsewhereAreRefused) {
  for (const std::string name : {"", ".", "..", "../db/CURRENT", "a/b", "WATERMARK"}) {
    CheckpointManifest manifest;
    manifest.files = {{name, 1, {}}};
    EXPECT_EQ(CheckpointTarget::Begin(target_, manifest).status().code(), absl::StatusCode::kDataLoss) << name;
  }
  CheckpointManifest twice;
  twice.files = {{"CURRENT", 1, {}}, {"CURRENT", 1, {}}};
  EXPECT_EQ(CheckpointTarget::Begin(target_, twice).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Is("incoming"));
}

// A process that ends between any two steps of it leaves what the next one goes on with.
TEST_F(CheckpointTest, ACopyTakesThePlaceOfAnOlderStoreWhereverThatIsCut) {
  Change(10);
  const auto older = Take();
  Change(10);
  const auto newer = Take();
  const std::string index = directory_ / "target/index/0000000000000001.segment";
  for (int cut = 0; cut < 4; ++cut) {
    fs::remove_all(target_);
    const auto arrive = [&](const CheckpointSource& source) {
      const auto target = Begin(source.manifest());
      Copy(source, *target);
      ASSERT_TRUE(target->Finish().ok());
    };
    arrive(*older);
    ASSERT_TRUE(Install().ok());
    std::ofstream(index) << "of the older store";
    arrive(*newer);
    if (cut >= 1) fs::remove(index);
    if (cut >= 2) fs::remove(target_ + "/CURRENT");
    if (cut >= 3) fs::remove_all(target_);
    ASSERT_TRUE(Install().ok());
    EXPECT_FALSE(fs::exists(index)) << "its number may be one of the newer store";
    EXPECT_TRUE(Is("index"));
    EXPECT_EQ(TargetDump(), SourceDump()) << cut;
  }
}

TEST_F(CheckpointTest, ASourceTakesItsFilesWithItAndReadsNoFurther) {
  Change(5);
  const std::string path = NewCheckpoint();
  auto source = Open(path);
  const uint64_t files = source->manifest().files.size();
  EXPECT_EQ(source->Read(files, 0).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(source->Read(0, source->manifest().files[0].bytes).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(fs::exists(path));
  source.reset();
  EXPECT_FALSE(fs::exists(path));
  const auto given_up = CheckpointSource::Open(NewCheckpoint(), 2, [](uint64_t, uint64_t) {
    return absl::CancelledError("enough");
  });
  EXPECT_EQ(given_up.status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(fs::exists(directory_ / absl::StrCat("checkpoint-", checkpoints_)));
}

TEST_F(CheckpointTest, WhereAStoreStandsIsReadWithoutOpeningIt) {
  EXPECT_FALSE(SequenceOfStore(target_, 5).value().has_value());
  Change(10);
  const Sequence synced = source_->Sync().value();
  Change(10);
  const Sequence applied = source_->applied();
  source_.reset();
  EXPECT_GE(*SequenceOfStore(directory_ / "source/db", synced).value(), synced);
  EXPECT_EQ(*SequenceOfStore(directory_ / "source/db", applied + 1).value(), applied);
}

}  // namespace
}  // namespace mneme
