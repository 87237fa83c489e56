// Parts that the processes of several shards wrote: together they are a backup, and one that lacks any is none.
#include "storage/backup_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/backup_folder.h"
#include "tests/storage/backup_fixture.h"

namespace mneme::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BackupSetsTest : public BackupTest {
 protected:
  // What the process of a shard writes of a moment.
  absl::StatusOr<WrittenBackup> WritePart(const BackupSource& whole, uint32_t shard, uint64_t number, uint64_t set,
                                          bool logged = false) {
    BackupSource source = whole;
    source.checkpoints = {shard == 0 ? whole.checkpoints[0] : BackupCheckpoint{}, whole.checkpoints[shard + 1]};
    source.part = BackupPart{shard, set, logged};
    source.shards = kShards;
    source.number = number;
    auto writer = BackupWriter::Open(PartDirectory(backups_, shard));
    if (!writer.ok()) return writer.status();
    return (*writer)->Write(source, Go);
  }
  void WriteAll(const BackupSource& whole, uint64_t number, uint64_t set, bool logged = false) {
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      const auto written = WritePart(whole, shard, number, set, logged);
      ASSERT_TRUE(written.ok()) << written.status();
    }
  }
  absl::Status Refused(uint64_t number, const RestoreTarget& target) {
    const absl::Status status = RestoreBackup(backups_, number, target, Go).status();
    EXPECT_FALSE(std::filesystem::exists(target.data_dir) && !std::filesystem::is_empty(target.data_dir)) << status;
    return status;
  }
};

TEST_F(BackupSetsTest, AllPartsTogetherAreWhatOneProcessWouldHaveWritten) {
  Stores stores(data_, resources_);
  Change(stores, 20);
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
  Change(stores, 5);  // in the log alone
  const BackupSource source = Checkpoint(stores);
  WriteAll(source, 7, 1);
  const auto verified = VerifyBackup(backups_, 0, Go);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->number, 7U);
  EXPECT_EQ(verified->shards, kShards);
  EXPECT_FALSE(verified->part.has_value());
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    EXPECT_EQ(verified->stores[shard + 1].applied, stores.shards[shard]->applied());
  }
  EXPECT_EQ(Restored(7), stores.Dump());
}

TEST_F(BackupSetsTest, AllPartsTogetherAreRestoredOntoAnotherNumberOfShards) {
  Stores stores(data_, resources_);
  MemoryRecord memory;
  memory.number = stores.catalogue->NextNumber().value();
  memory.spec.name = "wiki";
  memory.spec.dimension = 2;
  ASSERT_TRUE(stores.catalogue->Put(memory).ok());
  EntryColumns columns;
  columns.values.width = memory.spec.ValueBytes();
  columns.Append({.id = 1, .key = std::string(memory.spec.KeyBytes(), 'k'), .value = "1234", .attributes = {}});
  const PartitionHead head{.key = {memory.number, 0}, .next_row = 7, .live_rows = 1, .id_bound = 2};
  StoreBatch batch;
  batch.sequence = 1;
  batch.runs = {{head.key, 6, &columns, 0, 1}};
  batch.heads = {head};
  ASSERT_TRUE(stores.shards[1]->Commit(batch).ok());
  WriteAll(Checkpoint(stores), 7, 1);
  const std::string onto = directory_ / "onto";
  const auto restored = RestoreBackup(backups_, 7, {onto, PlacementOn(3)}, Go);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->entries(), 1U);
  EXPECT_EQ(DataDirectory::Open(onto, 3).value()->shards(), 3U);
}

TEST_F(BackupSetsTest, OneThatLacksAPartIsNoneAndTheOneBeforeItIsTheNewest) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  const std::string dump = stores.Dump();
  WriteAll(Checkpoint(stores), 1, 11);
  Change(stores, 5);
  ASSERT_TRUE(WritePart(Checkpoint(stores), 0, 2, 12).ok());
  EXPECT_EQ(Restored(0), dump);
  const std::string target = directory_ / "target";
  const absl::Status refused = Refused(2, {target});
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("of its 2 shards the parts of 1 are missing"));
  const BackupsInDirectory in = ReadBackups(backups_).value();
  ASSERT_EQ(in.sets.size(), 2U);
  EXPECT_TRUE(in.sets[0].whole());
  EXPECT_THAT(in.sets[1].missing(), ElementsAre(1U));
  EXPECT_EQ(GreatestNumber(backups_).value(), 2U);
}

TEST_F(BackupSetsTest, PartsOfTwoSetsAreNotTakenTogetherThoughTheirNumberIsTheSame) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  const BackupSource source = Checkpoint(stores);
  ASSERT_TRUE(WritePart(source, 0, 3, 21).ok());
  ASSERT_TRUE(WritePart(source, 1, 3, 22).ok());
  EXPECT_EQ(VerifyBackup(backups_, 3, Go).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(VerifyBackup(backups_, 0, Go).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(VerifyBackup(backups_, 3, Go, 1).ok());  // a part is one by itself
}

TEST_F(BackupSetsTest, AShardAloneComesBackToItsDeploymentOrToANewOne) {
  uint64_t deployment = 0;
  {
    Stores stores(data_, resources_);
    Change(stores, 8);
    deployment = stores.directory->deployment();
    WriteAll(Checkpoint(stores), 1, 31, /*logged=*/true);
  }
  const auto restored = [&](const std::string& name, uint32_t shard, uint64_t as) {
    RestoreTarget target{.data_dir = directory_ / name};
    target.shard = shard;
    target.deployment = as;
    return RestoreBackup(backups_, 0, target, Go).status();
  };
  // With the log of its deployment it goes on where it stands.
  ASSERT_TRUE(restored("rejoins", 1, deployment).ok());
  EXPECT_TRUE(DataDirectory::Open(directory_ / "rejoins", kShards, HostedDirectory{1, deployment, true, true}).ok());
  EXPECT_FALSE(std::filesystem::exists(directory_ / "rejoins/catalogue"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "rejoins/RESTORED"));
  // Shard 0 is to catch up with names first.
  ASSERT_TRUE(restored("tells", 0, deployment).ok());
  EXPECT_TRUE(std::filesystem::exists(directory_ / "tells/RESTORED"));
  // A new deployment gets its number with shard 0, and has no log that knows what it has.
  ASSERT_TRUE(restored("first", 0, 0).ok());
  const uint64_t fresh = DataDirectory::StoredDeployment(directory_ / "first").value().value();
  EXPECT_NE(fresh, deployment);
  EXPECT_TRUE(std::filesystem::exists(directory_ / "first/catalogue/CURRENT"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "first/RESTORED"));
  ASSERT_TRUE(restored("second", 1, fresh).ok());
  EXPECT_TRUE(DataDirectory::Open(directory_ / "first", kShards, HostedDirectory{0, 0, false, false}).ok());
  EXPECT_TRUE(DataDirectory::Open(directory_ / "second", kShards, HostedDirectory{1, fresh, true, false}).ok());
  const absl::Status nameless = restored("third", 1, 0);
  EXPECT_EQ(nameless.code(), absl::StatusCode::kInvalidArgument) << nameless;
  EXPECT_EQ(restored("fourth", 2, fresh).code(), absl::StatusCode::kNotFound);
}

TEST_F(BackupSetsTest, ShardsOfANewDeploymentAreOfOneBackup) {
  uint64_t deployment = 0;
  Sequence first = 0;
  {
    Stores stores(data_, resources_);
    Change(stores, 8);
    deployment = stores.directory->deployment();
    first = stores.shards[0]->applied();
    WriteAll(Checkpoint(stores), 1, 81);
    Change(stores, 8);
    ASSERT_TRUE(WritePart(Checkpoint(stores), 0, 2, 82).ok());  // it was cut
  }
  const auto restored = [&](const std::string& name, const std::string& from, uint64_t number, uint64_t as) {
    RestoreTarget target{.data_dir = directory_ / name};
    target.shard = 0;
    target.deployment = as;
    return RestoreBackup(from, number, target, Go);
  };
  EXPECT_EQ(restored("new", backups_, 0, 0)->number, 1U);
  EXPECT_EQ(restored("new-as-told", backups_, 0, deployment + 1)->stores[1].applied, first);
  EXPECT_EQ(restored("rejoins", backups_, 0, deployment)->number, 2U);
  // Where the parts of others are not seen the number is to be given.
  const std::string alone = PartDirectory(backups_, 0);
  const absl::Status refused = restored("alone", alone, 0, 0).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("give the number"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "alone"));
  EXPECT_EQ(restored("alone", alone, 1, 0)->number, 1U);
}

TEST_F(BackupSetsTest, APartThatIsAskedForAgainIsWrittenOnceAndItsNumberIsNoOthers) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  const BackupSource source = Checkpoint(stores);
  const WrittenBackup first = WritePart(source, 1, 4, 41).value();
  const WrittenBackup again = WritePart(source, 1, 4, 41).value();
  EXPECT_EQ(again.manifest, first.manifest);
  EXPECT_EQ(again.new_bytes, 0U);
  EXPECT_EQ(WritePart(source, 1, 4, 42).status().code(), absl::StatusCode::kFailedPrecondition);
  // Only its own set is removed.
  auto writer = BackupWriter::Open(PartDirectory(backups_, 1)).value();
  EXPECT_FALSE(writer->RemovePart(4, 42).value());
  EXPECT_FALSE(writer->RemovePart(5, 41).value());
  EXPECT_TRUE(writer->RemovePart(4, 41).value());
  EXPECT_FALSE(writer->RemovePart(4, 41).value());
  EXPECT_TRUE(ReadBackups(backups_).value().sets.empty());
}

TEST_F(BackupSetsTest, OneProcessAndSeveralNeverGiveOneNumberTwiceInADirectory) {
  Stores stores(data_, resources_);
  Change(stores, 3);
  const BackupSource source = Checkpoint(stores);
  WriteAll(source, 5, 51);
  EXPECT_EQ(Write(source)->manifest.number, 6U);
  EXPECT_EQ(GreatestNumber(backups_).value(), 6U);
  EXPECT_EQ(Restored(5), Restored(6));
  // A shard of a backup of one process is not restored alone.
  RestoreTarget target{.data_dir = directory_ / "target"};
  target.shard = 0;
  EXPECT_EQ(Refused(6, target).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupSetsTest, WhoWritesBesidePartsLeavesWhatTheyName) {
  Stores stores(data_, resources_);
  Change(stores, 3);
  const BackupSource source = Checkpoint(stores);
  ASSERT_TRUE(WritePart(source, 1, 1, 71).ok());
  const std::string directory = PartDirectory(backups_, 1);
  const auto writer = BackupWriter::Open(directory).value();
  ASSERT_TRUE(writer->Write(source, Go).ok());
  ASSERT_TRUE(writer->Write(source, Go).ok());
  EXPECT_EQ(writer->RemoveOld(stores.directory->deployment(), 1).value(), 1U);
  EXPECT_TRUE(VerifyBackup(directory, 1, Go, 1).ok());
  EXPECT_TRUE(VerifyBackup(directory, 3, Go).ok());
}

TEST_F(BackupSetsTest, ADamagedManifestIsToldInsteadOfAPartThatIsMissing) {
  Stores stores(data_, resources_);
  Change(stores, 3);
  WriteAll(Checkpoint(stores), 1, 61);
  WriteBytes(PartDirectory(backups_, 1) + "/BACKUP-000001", "torn");
  EXPECT_EQ(VerifyBackup(backups_, 1, Go).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(VerifyBackup(backups_, 0, Go).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(VerifyBackup(backups_, 1, Go, 0).ok());
}

}  // namespace
}  // namespace mneme::testing
