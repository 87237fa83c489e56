#include "engine/backups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>
#include <vector>

#include "common/error_reason.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ColumnsOf;
using testing::TestDeployment;
using testing::TokenMemory;

bool Go(const BackupProgress&) { return true; }

std::unique_ptr<LocalDeployment> Open(const std::string& path) {
  DeploymentOptions options;
  options.data_dir = path;
  options.search_threads = 1;
  auto opened = LocalDeployment::Open(std::move(options));
  EXPECT_TRUE(opened.ok()) << opened.status();
  return opened.ok() ? *std::move(opened) : nullptr;
}

class BackupsTest : public ::testing::Test {
 protected:
  static DeploymentOptions Options(const std::string& backups) {
    DeploymentOptions options;
    options.search_threads = 2;
    options.backup_dir = backups;
    return options;
  }
  TemporaryDirectory directory_;
  const std::string backups_ = directory_ / "backups";
};

TEST_F(BackupsTest, WithoutADirectoryThereAreNone) {
  TestDeployment deployment;
  const absl::Status refused = deployment->backups()->Create(0, Go).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), "NO_BACKUP_DIRECTORY");
  EXPECT_EQ(deployment->backups()->List().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupsTest, ARestoredDeploymentAnswersAsTheOldOneDidAndRefusesItsVersions) {
  TestDeployment deployment(2, Options(backups_));
  EXPECT_TRUE(deployment->backups()->List().value().empty());
  const MemoryHandle memory = deployment.Create(TokenMemory("wiki", 2));
  std::vector<testing::PlainEntry> entries;
  for (uint32_t i = 0; i < 600; ++i) entries.push_back({i, {static_cast<float>(i), 1}, i});
  const auto inserted = deployment.Insert(memory, ColumnsOf(memory->spec, entries));
  ASSERT_TRUE(inserted.ok());
  ASSERT_TRUE(deployment.Build(memory).ok());
  ASSERT_TRUE(deployment->SetAlias({"live", "wiki", std::nullopt}).ok());
  const std::string version = deployment->EncodeVersion(inserted->version);
  const auto made = deployment->backups()->Create(0, Go);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->written.manifest.entries(), 600U);
  EXPECT_FALSE(std::filesystem::exists(deployment.path("checkpoint")));
  ASSERT_TRUE(deployment.DeleteIds(memory, {7}).ok());
  ASSERT_EQ(deployment->backups()->List().value().size(), 1U);

  const std::string restored = directory_ / "restored";
  ASSERT_TRUE(RestoreBackup(backups_, 0, {restored}, Go).ok());
  const auto other = Open(restored);
  ASSERT_NE(other, nullptr);
  const MemoryHandle found = other->FindMemory("live").value();
  EXPECT_EQ(found->spec.name, "wiki");
  EXPECT_EQ(other->Count(found, {}).value(), 600U);
  EXPECT_EQ(deployment.Count(memory), 599U);
  EXPECT_NE(other->identity(), deployment->identity());
  EXPECT_EQ(ReasonOf(other->DecodeVersion(found, version).status()), "FOREIGN_VERSION");
}

// Each round loads a memory, points the alias to it and drops the one before: whatever moment a backup takes, the alias
// must point to a memory that is whole.
TEST_F(BackupsTest, AnAliasIsNeverBackedUpWithoutTheEntriesOfItsMemory) {
  TestDeployment deployment(2, Options(backups_));
  std::atomic<bool> stop{false};
  std::atomic<int> swings{0};
  std::thread writer([&] {
    for (int round = 0; !stop; ++round) {
      const MemoryHandle memory = deployment.Create(TokenMemory("round-" + std::to_string(round), 2));
      std::vector<testing::PlainEntry> entries;
      for (uint32_t i = 0; i < 100; ++i) entries.push_back({i, {1, 2}, static_cast<Token>(round % 1000)});
      EXPECT_TRUE(deployment.Insert(memory, ColumnsOf(memory->spec, entries)).ok());
      const auto before = deployment->SetAlias({"live", memory->spec.name, std::nullopt});
      ASSERT_TRUE(before.ok()) << before.status();
      if (*before != nullptr) {
        EXPECT_TRUE(deployment->DropMemory((*before)->spec.name).ok());
      }
      ++swings;
    }
  });
  while (swings < 2) std::this_thread::yield();
  const int backups = 6;
  for (int i = 0; i < backups; ++i) {
    const auto made = deployment->backups()->Create(0, Go);
    ASSERT_TRUE(made.ok()) << made.status();
  }
  stop = true;
  writer.join();
  std::set<std::string> names;
  for (int i = 1; i <= backups; ++i) {
    const std::string path = directory_ / ("restored-" + std::to_string(i));
    const auto restored = RestoreBackup(backups_, static_cast<uint64_t>(i), {path}, Go);
    ASSERT_TRUE(restored.ok()) << restored.status();
    const auto opened = Open(path);
    ASSERT_NE(opened, nullptr);
    const MemoryHandle live = opened->FindMemory("live").value();
    EXPECT_EQ(opened->Count(live, {}).value(), 100U) << live->spec.name;
    names.insert(live->spec.name);
  }
  std::cout << swings << " swings, " << names.size() << " memories in " << backups << " backups" << std::endl;
}

TEST_F(BackupsTest, AnErrorNamesNoPathOfTheServerAndTheEventDoes) {
  std::string event;
  DeploymentOptions options = Options(backups_);
  options.events = [&](std::string_view name, std::string_view detail) {
    event = std::string(name) + " " + std::string(detail);
  };
  TestDeployment deployment(1, options);
  const auto told = [](const absl::Status& status) { return std::string(status.message()); };
  WriteBytes(backups_, "no directory");
  EXPECT_THAT(told(deployment->backups()->Create(0, Go).status()),
              AllOf(HasSubstr("--backup-dir"), Not(HasSubstr(directory_.path()))));
  EXPECT_THAT(event, AllOf(HasSubstr("backup_failed"), HasSubstr(backups_)));
  EXPECT_THAT(told(deployment->backups()->List().status()),
              AllOf(HasSubstr("--backup-dir"), Not(HasSubstr(directory_.path()))));

  std::filesystem::remove(backups_);
  ASSERT_TRUE(deployment->backups()->Create(0, Go).ok());
  WriteBytes(backups_ + "/BACKUP-000001", "torn");
  const std::vector<ListedBackup> listed = deployment->backups()->List().value();
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_THAT(told(listed[0].manifest.status()),
              AllOf(HasSubstr("--backup-dir/BACKUP-000001"), Not(HasSubstr(directory_.path()))));

  WriteBytes(deployment.path("checkpoint"), "in the way");
  std::filesystem::remove_all(backups_);
  WriteBytes(backups_ + ".file", "");
  std::filesystem::create_directory(backups_);
  std::filesystem::create_symlink(backups_ + ".file", backups_ + "/LOCK");
  EXPECT_THAT(told(deployment->backups()->Create(0, Go).status()),
              AllOf(HasSubstr("--backup-dir/LOCK"), Not(HasSubstr(directory_.path()))));
  std::filesystem::remove(backups_ + "/LOCK");
  ASSERT_TRUE(deployment->backups()->Create(0, Go).ok());
  EXPECT_FALSE(std::filesystem::exists(deployment.path("checkpoint")));
}

TEST_F(BackupsTest, WhatACutBackupLeftIsRemovedAtTheStart) {
  TestDeployment deployment(1, Options(backups_));
  deployment.Close();
  std::filesystem::create_directories(deployment.path("checkpoint/shard-0"));
  deployment.Open();
  EXPECT_FALSE(std::filesystem::exists(deployment.path("checkpoint")));
}

}  // namespace
}  // namespace mneme
