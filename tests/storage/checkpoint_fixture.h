// A store of random content, checkpoints of it, and copies of those.
#ifndef MNEME_TESTS_STORAGE_CHECKPOINT_FIXTURE_H_
#define MNEME_TESTS_STORAGE_CHECKPOINT_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/checkpoint_source.h"
#include "storage/checkpoint_target.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/store_model.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme::testing {

namespace fs = std::filesystem;

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() {
    fs::create_directories(directory_ / "source");
    fs::create_directories(directory_ / "target/index");
    source_ = OpenStore(directory_ / "source/db");
  }

  std::unique_ptr<EntryStore> OpenStore(const std::string& path) {
    auto opened = OpenRocksDbEntryStore({path, &resources_, nullptr, false});
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  // Random batches: some in tables, the last in the log alone.
  void Change(int batches, size_t value_bytes = 24) {
    for (int i = 0; i < batches; ++i) {
      const OwnedBatch made = model_.RandomBatch(random_, 12, value_bytes);
      ASSERT_TRUE(source_->Commit(made.batch).ok());
      model_.Apply(made.batch);
      if (i == batches / 2) {
        ASSERT_TRUE(source_->Flush().ok());
      }
    }
  }
  std::string NewCheckpoint() {
    const std::string path = directory_ / absl::StrCat("checkpoint-", ++checkpoints_);
    EXPECT_TRUE(source_->Checkpoint(path).ok());
    return path;
  }
  std::unique_ptr<const CheckpointSource> Open(const std::string& path) {
    auto opened = CheckpointSource::Open(path, ++ids_, [](uint64_t, uint64_t) { return absl::OkStatus(); });
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  std::unique_ptr<const CheckpointSource> Take() { return Open(NewCheckpoint()); }
  std::unique_ptr<CheckpointTarget> Begin(const CheckpointManifest& manifest) {
    auto begun = CheckpointTarget::Begin(target_, manifest);
    EXPECT_TRUE(begun.ok()) << begun.status();
    return begun.ok() ? *std::move(begun) : nullptr;
  }
  // Of the chunk that `piece` begins with, what has `most` bytes.
  static CheckpointChunk Cut(const CheckpointSource& source, const CheckpointTarget::Piece& piece, size_t most) {
    CheckpointChunk chunk = source.Read(piece.file, piece.offset).value();
    chunk.bytes.resize(std::min(chunk.bytes.size(), most));
    chunk.checksum = ChunkChecksum(chunk.offset, chunk.bytes);
    return chunk;
  }
  // Copies at most `pieces` pieces of `most` bytes; returns how many there were.
  int Copy(const CheckpointSource& source, CheckpointTarget& target, int pieces = 1 << 30, size_t most = 1 << 20) {
    for (int copied = 0; copied < pieces; ++copied) {
      const auto piece = target.Next();
      EXPECT_TRUE(piece.ok()) << piece.status();
      if (!piece.ok() || !piece->has_value()) return copied;
      EXPECT_TRUE(target.Write(**piece, Cut(source, **piece, most)).ok());
    }
    return pieces;
  }
  absl::Status Install() { return CheckpointTarget::Install(target_, directory_ / "target/index"); }
  bool Is(const char* name) const { return fs::exists(directory_ / absl::StrCat("target/", name)); }
  std::string TargetDump() {
    const auto store = OpenStore(target_);
    return store == nullptr ? "" : absl::StrCat("at ", store->applied(), "\n", DumpStore(*store).value());
  }
  std::string SourceDump() { return absl::StrCat("at ", source_->applied(), "\n", DumpStore(*source_).value()); }

  TemporaryDirectory directory_;
  const std::string target_ = directory_ / "target/db";
  StoreResources resources_{4 << 20, 64 << 20};
  std::mt19937_64 random_{TestSeed()};
  StoreModel model_;
  std::unique_ptr<EntryStore> source_;
  int checkpoints_ = 0;
  uint64_t ids_ = 0;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_STORAGE_CHECKPOINT_FIXTURE_H_
