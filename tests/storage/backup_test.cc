// Backups: what the stores held comes back, whatever fails on the way leaves nothing, and no damage gets through.
#include "storage/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/storage/backup_fixture.h"
#include "tests/storage/fault_file_system.h"

namespace mneme::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(BackupTest, ARestoreHasWhatTheStoresHad) {
  std::string dump;
  uint64_t deployment = 0;
  {
    Stores stores(data_, resources_);
    Change(stores, 20);
    for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
    Change(stores, 20);  // these are in the log alone
    dump = stores.Dump();
    deployment = stores.directory->deployment();
    const auto written = Write(Checkpoint(stores));
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(written->manifest.number, 1U);
    EXPECT_EQ(written->manifest.deployment, deployment);
    EXPECT_EQ(written->manifest.stores[1].applied, stores.shards[0]->applied());
    EXPECT_EQ(written->manifest.stores[0].entries, 2U);
    EXPECT_GE(written->new_bytes, written->manifest.bytes());
    Change(stores, 20);  // after it
  }
  const auto verified = VerifyBackup(backups_, 0, Go);
  ASSERT_TRUE(verified.ok()) << verified.status();
  const std::string path = directory_ / "elsewhere/restored";
  ASSERT_EQ(RestoreBackup(backups_, 1, {path}, Go).value(), *verified);
  Stores restored(path, resources_);
  EXPECT_EQ(restored.Dump(), dump);
  EXPECT_NE(restored.directory->deployment(), deployment);
  // It goes on, and is itself backed up.
  models_[0] = StoreModel();
  ASSERT_TRUE(restored.shards[0]->Commit({.sequence = restored.shards[0]->applied() + 1}).ok());
  ASSERT_TRUE(restored.shards[0]->Sync().ok());
  const auto again = Write(Checkpoint(restored));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->manifest.number, 2U);
  EXPECT_EQ(Restored(2), restored.Dump());
}

TEST_F(BackupTest, ASecondBackupWritesOnlyWhatIsNew) {
  Stores stores(data_, resources_);
  Change(stores, 30, 100, 4'000);
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
  const std::string first_dump = stores.Dump();
  const WrittenBackup first = Write(Checkpoint(stores)).value();
  Change(stores, 1);
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
  const WrittenBackup second = Write(Checkpoint(stores)).value();
  std::cout << "first " << first.new_bytes << " bytes, second " << second.new_bytes << " of "
            << second.manifest.bytes() << std::endl;
  EXPECT_GT(first.manifest.bytes(), 1'000'000U);
  EXPECT_LT(second.new_bytes, first.new_bytes / 10);
  EXPECT_GT(second.manifest.bytes(), first.manifest.bytes());
  EXPECT_EQ(Restored(1), first_dump);
  EXPECT_EQ(Restored(2), stores.Dump());
}

TEST_F(BackupTest, TheOldestOfADeploymentAreRemovedWithTheirFiles) {
  Stores stores(data_, resources_);
  for (int i = 0; i < 3; ++i) {
    Change(stores, 10, 100, 4'000);
    for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok() && shard->Compact().ok());
    ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  }
  const uint64_t before = BytesUnder(backups_);
  auto writer = BackupWriter::Open(backups_).value();
  EXPECT_EQ(writer->RemoveOld(stores.directory->deployment() + 1, 1).value(), 0U);  // of another
  EXPECT_EQ(writer->RemoveOld(stores.directory->deployment(), 3).value(), 0U);
  EXPECT_EQ(writer->RemoveOld(stores.directory->deployment(), 1).value(), 2U);
  EXPECT_EQ(Numbers(), std::vector<uint64_t>{3});
  EXPECT_LT(BytesUnder(backups_), before);
  EXPECT_EQ(Restored(3), stores.Dump());
  EXPECT_EQ(VerifyBackup(backups_, 1, Go).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BackupTest, OneIsWrittenAtATime) {
  const auto writer = BackupWriter::Open(backups_);
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(BackupWriter::Open(backups_).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Fails each operation on the disk of the backups in turn, as a full disk does.
TEST_F(BackupTest, AFailureAtAnyStepLeavesTheBackupsBeforeItAndTheNextOneWorks) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  Change(stores, 5);
  const BackupSource source = Checkpoint(stores);
  const std::string before = directory_ / "before";
  fs::copy(backups_, before, fs::copy_options::recursive);
  int failed = 0;
  for (int step = first_step_;; step += stride_) {
    std::atomic<int> left{step};  // RocksDB copies on threads of its own
    std::atomic<bool> hit{false};
    const auto system = std::make_shared<FaultFileSystem>([&](FileOperation, const std::string&) {
      if (--left != 0) return rocksdb::IOStatus::OK();
      hit = true;
      return rocksdb::IOStatus::NoSpace("full");
    });
    const auto written = Write(source, system);
    if (!hit) break;
    if (written.ok()) {  // what failed was not needed
      EXPECT_TRUE(VerifyBackup(backups_, 2, Go).ok()) << step;
    } else {
      ++failed;
      EXPECT_EQ(written.status().code(), absl::StatusCode::kResourceExhausted) << step << ": " << written.status();
      EXPECT_EQ(Numbers(), std::vector<uint64_t>{1}) << step;
    }
    const auto next = Write(source);
    ASSERT_TRUE(next.ok()) << step << ": " << next.status();
    const auto verified = VerifyBackup(backups_, 0, Go);
    ASSERT_TRUE(verified.ok()) << step << ": " << verified.status();
    fs::remove_all(backups_);
    fs::copy(before, backups_, fs::copy_options::recursive);
  }
  std::cout << failed << " failures" << std::endl;
  EXPECT_GT(failed, FullTests() ? 60 : 15);
}

TEST_F(BackupTest, WhatIsGivenUpLeavesNothing) {
  Stores stores(data_, resources_);
  Change(stores, 5, 100, 4'000);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok() && shard->Compact().ok());
  Change(stores, 5, 100, 4'000);
  const BackupSource source = Checkpoint(stores);
  const uint64_t before = BytesUnder(backups_);
  std::atomic<int> steps{0};
  const auto give_up_at = [&](int step) {
    return [&steps, step](const BackupProgress&) { return ++steps < step; };
  };
  bool done = false;
  for (int step = first_step_; !done; step += stride_) {
    steps = 0;
    const auto written = Write(source, nullptr, give_up_at(step));
    done = written.ok();
    if (done) break;
    EXPECT_EQ(written.status().code(), absl::StatusCode::kCancelled) << written.status();
    EXPECT_EQ(Numbers(), std::vector<uint64_t>{1});
    EXPECT_EQ(BytesUnder(backups_), before) << step;
  }
  const std::string target = directory_ / "target";
  done = false;
  for (int step = first_step_; !done; step += stride_) {
    steps = 0;
    const auto restored = RestoreBackup(backups_, 2, {target}, give_up_at(step));
    done = restored.ok();
    if (done) break;
    EXPECT_EQ(restored.status().code(), absl::StatusCode::kCancelled) << restored.status();
    EXPECT_FALSE(fs::exists(target)) << step;
  }
  EXPECT_EQ(Stores(target, resources_).Dump(), stores.Dump());
}

TEST_F(BackupTest, ProgressGoesUpToTheEnd) {
  Stores stores(data_, resources_);
  Change(stores, 10, 100, 4'000);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  uint64_t last = 0, total = 0;
  const auto rises = [&](const BackupProgress& step) {
    EXPECT_GE(step.bytes_done, last);
    EXPECT_LE(step.bytes_done, step.bytes_total);
    last = step.bytes_done;
    total = step.bytes_total;
    return true;
  };
  ASSERT_TRUE(VerifyBackup(backups_, 0, rises).ok());
  EXPECT_EQ(last, total);
  EXPECT_GT(total, 100'000U);
}

TEST_F(BackupTest, ARestoreNeedsAnAbsentOrEmptyDirectory) {
  Stores stores(data_, resources_);
  Change(stores, 3);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  const auto refused = [&](const std::string& path) {
    const absl::Status status = RestoreBackup(backups_, 0, {path}, Go).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refused(data_), HasSubstr("is a data directory already"));
  const std::string other = directory_ / "other";
  fs::create_directory(other);
  WriteBytes(other + "/letter", "dear");
  EXPECT_THAT(refused(other), HasSubstr("has letter"));
  EXPECT_EQ(ReadBytes(other + "/letter"), "dear");
  fs::remove(other + "/letter");
  ASSERT_TRUE(RestoreBackup(backups_, 0, {other, PlacementOn(kShards)}, Go).ok());
  // As a restore that was killed leaves it: no data directory, and none that a server makes one of.
  fs::remove(other + "/FORMAT");
  EXPECT_THAT(refused(other), HasSubstr("restore that was cut"));
  EXPECT_EQ(DataDirectory::Open(other, kShards).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(BackupTest, ABackupMadeWhileEverythingIsFlushedAndCompactedIsWhole) {
  Stores stores(data_, resources_);
  Change(stores, 20, 50, 400);
  std::atomic<bool> stop{false};
  std::thread compaction([&] {
    while (!stop) {
      for (const auto& shard : stores.shards) EXPECT_TRUE(shard->Compact().ok());
    }
  });
  std::vector<std::string> dumps;
  for (int i = 0; i < 5; ++i) {
    Change(stores, 5, 50, 400);
    dumps.push_back(stores.Dump());
    const auto written = Write(Checkpoint(stores));
    EXPECT_TRUE(written.ok()) << written.status();
  }
  stop = true;
  compaction.join();
  for (size_t i = 0; i < dumps.size(); ++i) EXPECT_EQ(Restored(i + 1), dumps[i]) << i;
}

TEST_F(BackupTest, WhatElseLiesInTheDirectoryHindersNothing) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  for (const char* name : {"BACKUP-", "BACKUP-7", "BACKUP-000007.tmp", "BACKUP-0x0007", "BACKUP--00007", "letter"}) {
    WriteBytes(backups_ + "/" + name, "dear");
  }
  EXPECT_EQ(Numbers(), std::vector<uint64_t>{1});
  fs::create_directory(backups_ + "/BACKUP-000003");
  fs::create_symlink("BACKUP-000001", backups_ + "/BACKUP-000004");
  fs::copy(backups_ + "/BACKUP-000001", backups_ + "/BACKUP-000005");
  for (const uint64_t number : {3, 4, 5}) EXPECT_FALSE(VerifyBackup(backups_, number, Go).ok()) << number;
  const WrittenBackup next = Write(Checkpoint(stores)).value();
  EXPECT_EQ(next.manifest.number, 6U);
  EXPECT_EQ(Restored(6), stores.Dump());
  EXPECT_EQ(Restored(1), stores.Dump());
  WriteBytes(backups_ + "/BACKUP-18446744073709551615", "the last");
  EXPECT_EQ(Write(Checkpoint(stores)).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupTest, AfterADamagedOneTheNextIsWholeAndTheDamagedOneCanBeRemoved) {
  Stores stores(data_, resources_);
  for (int i = 0; i < 2; ++i) {
    Change(stores, 5);
    ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  }
  fs::remove(backups_ + "/shard-000/meta/2");
  WriteBytes(backups_ + "/shard-001/meta/2", "torn");
  WriteBytes(backups_ + "/catalogue/meta/1", "torn");
  for (const uint64_t number : {1, 2}) EXPECT_FALSE(VerifyBackup(backups_, number, Go).ok()) << number;
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  EXPECT_EQ(Restored(3), stores.Dump());
  EXPECT_EQ(BackupWriter::Open(backups_).value()->RemoveOld(stores.directory->deployment(), 1).value(), 2U);
  EXPECT_EQ(Numbers(), std::vector<uint64_t>{3});
  EXPECT_EQ(Restored(3), stores.Dump());
}

TEST_F(BackupTest, ADirectoryThatCannotBeReadIsNotTakenForAnEmptyOne) {
  const std::string loop = directory_ / "loop";
  fs::create_symlink(loop, loop);
  EXPECT_EQ(ListBackups(loop).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(ListBackups(directory_ / "absent").value().empty());
}

TEST_F(BackupTest, WhatWasDamagedBeforeItWasCopiedIsNoBackup) {
  Stores stores(data_, resources_);
  Change(stores, 8);
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  const std::string before = stores.Dump();
  Change(stores, 8);
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
  const BackupSource source = Checkpoint(stores);
  std::vector<fs::path> tables;
  for (const auto& entry : fs::directory_iterator(source.checkpoints[1].path)) {
    if (entry.path().extension() == ".sst") tables.push_back(entry.path());
  }
  int refused = 0;
  for (const fs::path& table : tables) {
    const std::string bytes = ReadBytes(table);
    fs::remove(table);  // the store has a link to it
    WriteBytes(table, bytes);
    std::string damaged = bytes;
    damaged[20] ^= 1;  // in the first block of data
    WriteBytes(table, damaged);
    const absl::Status written = Write(source).status();
    if (!written.ok()) {
      EXPECT_EQ(written.code(), absl::StatusCode::kDataLoss) << written;
      EXPECT_EQ(Numbers(), std::vector<uint64_t>{1});
      ++refused;
    } else {  // the first backup has that table, whole
      EXPECT_EQ(Restored(2), stores.Dump());
      fs::remove(absl::StrCat(backups_, "/BACKUP-000002"));
    }
    WriteBytes(table, bytes);
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(Restored(1), before);
  EXPECT_TRUE(Write(source).ok());
}

TEST_F(BackupTest, ACheckpointThatLacksWhatItsStoreHadIsNoBackup) {
  Stores stores(data_, resources_);
  Change(stores, 3);
  BackupSource source = Checkpoint(stores);
  ++source.checkpoints[2].applied;
  const absl::Status written = Write(source).status();
  EXPECT_EQ(written.code(), absl::StatusCode::kDataLoss) << written;
  EXPECT_TRUE(Numbers().empty());
}

// The files that backup `number` consists of.
std::vector<std::string> FilesOf(const std::string& backups, const BackupManifest& manifest) {
  std::vector<std::string> files = {absl::StrFormat("%s/BACKUP-%06u", backups, manifest.number)};
  for (size_t i = 0; i < manifest.stores.size(); ++i) {
    const std::string folder = i == 0 ? backups + "/catalogue" : absl::StrFormat("%s/shard-%03u", backups, i - 1);
    const std::string meta = absl::StrCat(folder, "/meta/", manifest.stores[i].id);
    files.push_back(meta);
    std::istringstream lines(ReadBytes(meta));
    for (std::string line; std::getline(lines, line);) {
      const std::string file = line.substr(0, line.find(' '));
      if (absl::StrContains(file, "/")) files.push_back(absl::StrCat(folder, "/", file));
    }
  }
  return files;
}

TEST_F(BackupTest, EveryDamageIsRefusedBeforeAnythingIsTouched) {
  {
    Stores stores(data_, resources_);
    for (int i = 0; i < 3; ++i) {
      Change(stores, 8);
      if (i != 1) {
        for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
      }
      ASSERT_TRUE(Write(Checkpoint(stores)).ok());
    }
  }
  const std::vector<std::string> files = FilesOf(backups_, VerifyBackup(backups_, 3, Go).value());
  const std::vector<std::string> older = FilesOf(backups_, VerifyBackup(backups_, 2, Go).value());
  const auto any = [&](size_t bound) { return static_cast<size_t>(random_() % bound); };
  const uint64_t rounds = Repetitions(100, 2'000);
  std::map<std::string, int> kinds;
  for (uint64_t round = 0; round < rounds; ++round) {
    const std::string& file = files[any(files.size())];
    const std::string bytes = ReadBytes(file);
    std::string damaged = bytes;
    std::string kind;
    switch (round % 6) {
      case 0:
        kind = "flip";
        damaged[any(bytes.size())] ^= static_cast<char>(1U << any(8));
        break;
      case 1:
        kind = "truncate";
        damaged.resize(any(bytes.size()));
        break;
      case 2: kind = "remove"; break;
      case 3:
        kind = "swap";
        damaged = ReadBytes(files[any(files.size())]);
        break;
      case 4:
        kind = "stale";
        damaged = ReadBytes(older[any(older.size())]);
        break;
      case 5:
        kind = "append";
        damaged.push_back(static_cast<char>(any(256)));
        break;
    }
    if (kind != "remove" && damaged == bytes) continue;
    ++kinds[kind];
    if (kind == "remove") {
      fs::remove(file);
    } else {
      WriteBytes(file, damaged);
    }
    const std::string target = directory_ / "target";
    const auto onto = any(2) == 0 ? std::optional(PlacementOn(kShards + 1)) : std::nullopt;
    const absl::Status refused = RestoreBackup(backups_, 3, {target, onto}, Go).status();
    EXPECT_THAT(std::string(refused.message()), ::testing::Not(HasSubstr("never had")));
    const bool manifest_gone = kind == "remove" && file == files[0];
    EXPECT_EQ(refused.code(), manifest_gone ? absl::StatusCode::kNotFound : absl::StatusCode::kDataLoss)
        << "round " << round << ", " << kind << " " << file << ": " << refused;
    EXPECT_FALSE(fs::exists(target)) << "round " << round;
    WriteBytes(file, bytes);
  }
  for (const auto& [kind, count] : kinds) std::cout << kind << ": " << count << " refused\n";
  EXPECT_TRUE(VerifyBackup(backups_, 3, Go).ok());
}

}  // namespace
}  // namespace mneme::testing
