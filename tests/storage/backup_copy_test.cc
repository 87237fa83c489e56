// Copies of backups: the other side is whole whenever somebody looks, and what comes back is what was there.
#include "storage/backup_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/storage/backup_fixture.h"

namespace mneme::testing {
namespace {

using ::testing::HasSubstr;

// In ram; fails when a test says so.
class RamStore final : public ObjectStore {
 public:
  absl::StatusOr<std::vector<StoredObject>> List() override {
    std::vector<StoredObject> listed;
    for (const auto& [name, bytes] : objects) listed.push_back({name, bytes.size()});
    return listed;
  }
  absl::Status Put(const std::string& name, std::string_view bytes) override {
    if (left-- <= 0) return absl::UnavailableError("away");
    objects[name] = std::string(bytes);
    ++puts;
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Get(const std::string& name) override {
    const auto found = objects.find(name);
    if (found == objects.end()) return absl::NotFoundError(name);
    return found->second;
  }
  absl::Status Remove(const std::string& name) override {
    if (left-- <= 0) return absl::UnavailableError("away");
    objects.erase(name);
    return absl::OkStatus();
  }

  std::map<std::string, std::string> objects;
  int left = 1'000'000;  // changes until it fails
  int puts = 0;
};

class BackupCopyTest : public BackupTest {
 protected:
  // Every backup that the store shows is whole in it.
  void CheckWhole(RamStore& store) {
    const std::string target = directory_ / absl::StrCat("checked-", ++checked_);
    const bool any = std::any_of(store.objects.begin(), store.objects.end(),
                                 [](const auto& each) { return absl::StartsWith(each.first, "BACKUP-"); });
    const auto pulled = PullBackups(store, target, Go);
    ASSERT_EQ(pulled.ok(), any) << pulled.status();
    if (!any) return;
    const std::vector<ListedBackup> listed = ListBackups(target).value();
    for (const ListedBackup& backup : listed) {
      const auto verified = VerifyBackup(target, backup.number, Go);
      EXPECT_TRUE(verified.ok()) << verified.status();
    }
  }
  int checked_ = 0;
};

TEST_F(BackupCopyTest, WhatIsPushedComesBackAndTablesAreCopiedOnce) {
  Stores stores(data_, resources_);
  Change(stores, 20, 100, 2'000);
  for (const auto& shard : stores.shards) ASSERT_TRUE(shard->Flush().ok());
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  RamStore store;
  const CopiedBackups first = PushBackups(backups_, store, Go).value();
  EXPECT_EQ(first.manifests, 1U);
  EXPECT_GT(first.bytes, 100'000U);
  const CopiedBackups again = PushBackups(backups_, store, Go).value();
  EXPECT_EQ(again.files, 0U);
  EXPECT_EQ(again.removed, 0U);
  Change(stores, 1);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  const CopiedBackups second = PushBackups(backups_, store, Go).value();
  EXPECT_LT(second.bytes, first.bytes / 2);
  const std::string pulled = directory_ / "pulled";
  EXPECT_EQ(PullBackups(store, pulled, Go)->manifests, 2U);
  EXPECT_EQ(PullBackups(store, pulled, Go)->files, 0U);
  const std::string restored = directory_ / "restored";
  ASSERT_TRUE(RestoreBackup(pulled, 2, {restored}, Go).ok());
  EXPECT_EQ(Stores(restored, resources_).Dump(), stores.Dump());
  // What was removed goes there, too.
  ASSERT_EQ(BackupWriter::Open(backups_).value()->RemoveOld(stores.directory->deployment(), 1).value(), 1U);
  const CopiedBackups third = PushBackups(backups_, store, Go).value();
  EXPECT_GT(third.removed, 1U);
  EXPECT_EQ(store.objects.count("BACKUP-000001"), 0U);
  CheckWhole(store);
}

TEST_F(BackupCopyTest, PartsOfSeveralProcessesAreCopied) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  const BackupSource whole = Checkpoint(stores);
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    BackupSource source = whole;
    source.checkpoints = {shard == 0 ? whole.checkpoints[0] : BackupCheckpoint{}, whole.checkpoints[shard + 1]};
    source.part = BackupPart{shard, 7, false};
    source.shards = kShards;
    source.number = 1;
    auto writer = BackupWriter::Open(backups_ + absl::StrCat("/part-00", shard)).value();
    ASSERT_TRUE(writer->Write(source, Go).ok());
  }
  RamStore store;
  EXPECT_EQ(PushBackups(backups_, store, Go)->manifests, 2U);
  // One part of it was lost here, and not the other.
  const std::string lost = backups_ + "/part-001/BACKUP-000001";
  fs::rename(lost, directory_ / "lost");
  BackupSource next = whole;
  next.checkpoints = {BackupCheckpoint{}, whole.checkpoints[2]};
  next.part = BackupPart{1, 8, false};
  next.shards = kShards;
  next.number = 2;
  ASSERT_TRUE(BackupWriter::Open(backups_ + "/part-001").value()->Write(next, Go).ok());
  const absl::Status refused = PushBackups(backups_, store, Go).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("part-001/BACKUP-000001, of which the directory has another"));
  const std::string pulled = directory_ / "pulled";
  ASSERT_TRUE(PullBackups(store, pulled, Go).ok());
  const std::string restored = directory_ / "restored";
  ASSERT_TRUE(RestoreBackup(pulled, 1, {restored}, Go).ok());
  EXPECT_EQ(Stores(restored, resources_).Dump(), stores.Dump());
}

TEST_F(BackupCopyTest, WhateverIsCutTheStoreShowsWholeBackupsAndTheNextCopyGoesOn) {
  Stores stores(data_, resources_);
  for (int i = 0; i < 3; ++i) {
    Change(stores, 5);
    ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  }
  RamStore store;
  ASSERT_TRUE(PushBackups(backups_, store, Go).ok());
  ASSERT_EQ(BackupWriter::Open(backups_).value()->RemoveOld(stores.directory->deployment(), 1).value(), 2U);
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  bool done = false;
  for (int step = first_step_; !done; step += stride_) {
    RamStore cut = store;
    cut.left = step;
    done = PushBackups(backups_, cut, Go).ok();
    CheckWhole(cut);
    cut.left = 1'000'000;
    ASSERT_TRUE(PushBackups(backups_, cut, Go).ok());
    EXPECT_EQ(cut.objects.count("BACKUP-000003") + cut.objects.count("BACKUP-000004"), 2U);
    EXPECT_EQ(cut.objects.count("BACKUP-000001") + cut.objects.count("BACKUP-000002"), 0U);
    CheckWhole(cut);
  }
}

TEST_F(BackupCopyTest, WhatIsOfOthersStays) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  RamStore store;
  const std::vector<std::string> others = {"photos/private/1/cat.jpg", "east/BACKUP-000009", "east/shard-000/meta/9",
                                           "part-000/part-000/BACKUP-000009", "shard-000/private/x/y", "BACKUP-",
                                           "shard-0/meta/9", "catalogue/meta/9/x", "shard-000/meta/\x1b[2J"};
  for (const std::string& name : others) store.objects[name] = "somebody's";
  ASSERT_TRUE(PushBackups(backups_, store, Go).ok());
  for (const std::string& name : others) EXPECT_EQ(store.objects.count(name), 1U) << name;
  const std::string pulled = directory_ / "pulled";
  ASSERT_TRUE(PullBackups(store, pulled, Go).ok());
  for (const std::string& name : others) EXPECT_FALSE(fs::exists(pulled + "/" + name)) << name;
  EXPECT_TRUE(VerifyBackup(pulled, 1, Go).ok());
}

TEST_F(BackupCopyTest, ADirectoryThatWasLostTakesNothingFromTheStore) {
  Stores stores(data_, resources_);
  for (int i = 0; i < 2; ++i) {
    Change(stores, 5);
    ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  }
  RamStore store;
  ASSERT_TRUE(PushBackups(backups_, store, Go).ok());
  const auto refused = [&](absl::StatusCode code, const char* why) {
    const std::map<std::string, std::string> before = store.objects;
    const absl::Status status = PushBackups(backups_, store, Go).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
    EXPECT_EQ(store.objects, before);
  };
  const std::string kept = directory_ / "kept";
  fs::rename(backups_, kept);
  fs::create_directory(backups_);
  refused(absl::StatusCode::kFailedPrecondition, "BACKUP-000001, which is newer than what the directory has");
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  refused(absl::StatusCode::kFailedPrecondition, "BACKUP-000001, where the directory has another one");
  fs::remove_all(backups_);
  fs::rename(kept, backups_);
  // What is damaged here may be whole there.
  const std::string manifest = fs::path(backups_) / "BACKUP-000002";
  const std::string whole = store.objects["BACKUP-000002"];
  WriteBytes(manifest, "torn");
  refused(absl::StatusCode::kFailedPrecondition, "BACKUP-000002, which is damaged in the directory");
  WriteBytes(manifest, whole);
  ASSERT_TRUE(PushBackups(backups_, store, Go).ok());
  store.objects["BACKUP-000009"] = "of a newer program";
  refused(absl::StatusCode::kFailedPrecondition, "BACKUP-000009, which is damaged or of a newer program");
  store.objects.erase("BACKUP-000009");
  fs::remove_all(fs::path(backups_) / "shard-001" / "private");
  refused(absl::StatusCode::kDataLoss, "lacks shard-001/private/1/");
  fs::remove_all(fs::path(backups_) / "shard-000" / "meta");
  refused(absl::StatusCode::kDataLoss, "lacks shard-000/meta/1");
}

TEST_F(BackupCopyTest, NothingIsPulledOverOtherBackupsNorOutOfTheDirectory) {
  Stores stores(data_, resources_);
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  RamStore store;
  ASSERT_TRUE(PushBackups(backups_, store, Go).ok());
  Change(stores, 5);
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  const absl::Status refused = PullBackups(store, backups_, Go).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("BACKUP-000002"));
  store.objects["shard-000/../../shard-000/meta/1"] = "elsewhere";
  const std::string pulled = directory_ / "deep/pulled";
  ASSERT_TRUE(PullBackups(store, pulled, Go).ok());
  EXPECT_FALSE(fs::exists(directory_ / "deep/shard-000"));
  RamStore empty;
  EXPECT_EQ(PullBackups(empty, directory_ / "none", Go).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(PushBackups(backups_, store, [](const BackupProgress&) { return false; }).status().code(),
            absl::StatusCode::kCancelled);
  const auto writer = BackupWriter::Open(backups_);
  EXPECT_EQ(PushBackups(backups_, store, Go).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mneme::testing
