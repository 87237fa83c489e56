// What the processes of two shards wrote as one backup comes back as one deployment, and nothing is held for longer
// than somebody wants it.
#include "engine/shard_backups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "engine/index_files.h"
#include "engine/log_record.h"
#include "engine/shard.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::MemoryLog;
using testing::TokenMemory;

constexpr uint32_t kShards = 2;

bool Go(const BackupProgress&) { return true; }

class ShardBackupsTest : public ::testing::Test {
 protected:
  void Open(uint32_t number, std::shared_ptr<ShardLog> log = nullptr) {
    DeploymentOptions options;
    options.data_dir = directory_ / absl::StrCat("shard-", number);
    options.shards = kShards;
    options.search_threads = 1;
    options.clock = &clock_;
    options.backup_dir = with_directory_ ? backups_ : "";
    HostedShard& hosted = options.hosted.emplace();
    hosted.number = number;
    hosted.log = std::move(log);
    if (number != 0) {
      hosted.identity = shards_[0]->identity();
      hosted.catalogue = shards_[0]->names().Everything();
    }
    auto opened = LocalDeployment::Open(std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status();
    shards_[number] = *std::move(opened);
  }
  void OpenAll() {
    for (uint32_t number = 0; number < kShards; ++number) Open(number);
  }
  MemoryHandle Create(const std::string& name) {
    const MemoryHandle memory = shards_[0]->CreateMemory(TokenMemory(name, 2)).value();
    EXPECT_TRUE(shards_[1]->TakeCatalogue(shards_[0]->names().Everything()).ok());
    return memory;
  }
  // Into a shard, whatever its ids would say.
  Sequence Insert(uint32_t shard, const MemoryHandle& memory, EntryId id) {
    InsertOperation insert;
    insert.ticket.memory = memory;
    insert.ticket.stamp_ms = clock_.NowMs();
    insert.entries = ColumnsOf(memory->spec, {{.id = id, .key = {1.0F, 2.0F}}});
    std::promise<absl::StatusOr<WriteResult>> told;
    insert.ticket.done = [&told](absl::StatusOr<WriteResult> result) { told.set_value(std::move(result)); };
    EXPECT_TRUE(shards_[shard]->Append(std::move(insert)).ok());
    return told.get_future().get().value().sequence;
  }
  ShardBackups& Of(uint32_t shard) { return *shards_[shard]->shard_backups(); }
  bool HoldsLinks(uint32_t shard) const {
    const std::string path = directory_ / absl::StrCat("shard-", shard, "/checkpoint");
    return std::filesystem::exists(path) && !std::filesystem::is_empty(path);
  }

  TemporaryDirectory directory_;
  const std::string backups_ = directory_ / "backups";
  bool with_directory_ = true;
  ManualClock clock_{1'000'000};
  std::unique_ptr<LocalDeployment> shards_[kShards];
};

TEST_F(ShardBackupsTest, WhatAllShardsWroteIsOneDeploymentAgain) {
  OpenAll();
  const MemoryHandle memory = Create("wiki");
  const Sequence first = Insert(0, memory, 3);
  const Sequence second = Insert(1, memory, 4);
  EXPECT_EQ(Of(0).Take(9, 0, {}, Go).value(), first);
  EXPECT_EQ(Of(1).Take(9, 0, {}, Go).value(), second);
  const NamesMark names = Of(0).TakeNames(9, {}).value();
  EXPECT_EQ(Of(0).Describe()->names, names);
  (void)Insert(1, memory, 6);  // after it
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    EXPECT_TRUE(HoldsLinks(shard));
    const auto written = Of(shard).Write({9, 1, 77, 123}, Go);
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(written->manifest.entries(), 1U);
    EXPECT_FALSE(HoldsLinks(shard));
    const ShardBackupState state = Of(shard).Describe().value();
    EXPECT_EQ(state.greatest, 1U);
    ASSERT_EQ(state.parts.size(), 1U);
    EXPECT_EQ(state.parts[0].part, (BackupPart{shard, 77, false}));
  }
  const std::string restored = directory_ / "restored";
  const auto backup = RestoreBackup(backups_, 0, {restored}, Go);
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(backup->created_ms, 123);
  DeploymentOptions options;
  options.data_dir = restored;
  options.search_threads = 1;
  const auto whole = LocalDeployment::Open(std::move(options)).value();
  EXPECT_EQ(whole->Count(whole->FindMemory("wiki").value(), {}).value(), 2U);
  EXPECT_NE(whole->identity(), shards_[0]->identity());
}

TEST_F(ShardBackupsTest, TheMarkOfNamesChangesWithThem) {
  OpenAll();
  ASSERT_TRUE(Of(0).Take(9, 0, {}, Go).ok());
  const NamesMark before = Of(0).Describe()->names.value();
  (void)Create("wiki");
  EXPECT_FALSE(Of(0).TakeNames(9, {}).value() == before);
  EXPECT_FALSE(Of(1).Describe()->names.has_value());
  ASSERT_TRUE(Of(1).Take(9, 0, {}, Go).ok());
  EXPECT_EQ(Of(1).TakeNames(9, {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ShardBackupsTest, OneIsMadeAtATimeUntilItIsLetGoOf) {
  OpenAll();
  ASSERT_TRUE(Of(1).Take(9, 0, {}, Go).ok());
  ASSERT_TRUE(Of(1).Take(9, 0, {}, Go).ok());  // anew
  const absl::Status other = Of(1).Take(10, 0, {}, Go).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("another backup of shard 1"));
  Of(1).LetGo(10);
  Of(1).LetGoIdle();
  EXPECT_TRUE(HoldsLinks(1));
  Of(1).LetGo(9);
  EXPECT_FALSE(HoldsLinks(1));
  EXPECT_EQ(Of(1).Write({9, 1, 77, 0}, Go).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Of(1).Take(10, 0, {}, Go).ok());
  // Without the names shard 0 is none.
  ASSERT_TRUE(Of(0).Take(10, 0, {}, Go).ok());
  EXPECT_EQ(Of(0).Write({10, 1, 77, 0}, Go).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(HoldsLinks(0));
}

TEST_F(ShardBackupsTest, WhatNobodyAsksForAnyMoreGoes) {
  const auto data = DataDirectory::Open(directory_ / "data", 1).value();
  StoreResources resources(4 << 20, 16 << 20);
  ShardOptions shard;
  shard.store = OpenRocksDbEntryStore({data->StorePath(0), &resources, nullptr, false}).value();
  shard.files = IndexFiles::Open(data->IndexPath(0), data->deployment()).value();
  const auto opened = Shard::Open(std::move(shard), {}, 1).value();
  ShardBackupsOptions options;
  options.directory = backups_;
  options.data = data.get();
  options.shard = opened.get();
  options.idle = std::chrono::milliseconds(0);
  ShardBackups backups(std::move(options));
  ASSERT_TRUE(backups.Take(9, 0, {}, Go).ok());
  ASSERT_TRUE(backups.Take(10, 0, {}, Go).ok());  // another takes its place
  backups.LetGoIdle();
  EXPECT_TRUE(std::filesystem::is_empty(data->CheckpointPath()));
}

TEST_F(ShardBackupsTest, WhatIsGivenUpLeavesNothing) {
  OpenAll();
  EXPECT_EQ(Of(1).Take(9, 0, {}, [](const BackupProgress&) { return false; }).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_FALSE(HoldsLinks(1));
  ASSERT_TRUE(Of(1).Take(9, 0, {}, Go).ok());
  EXPECT_EQ(Of(1).Write({9, 1, 77, 0}, [](const BackupProgress&) { return false; }).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_FALSE(HoldsLinks(1));
  EXPECT_TRUE(Of(1).Describe()->parts.empty());
  ASSERT_TRUE(Of(1).Take(9, 0, {}, Go).ok());
  ASSERT_TRUE(Of(1).Write({9, 1, 77, 0}, Go).ok());
  EXPECT_TRUE(Of(1).Remove(1, 77).value());
  EXPECT_FALSE(Of(1).Remove(1, 77).value());
}

TEST_F(ShardBackupsTest, AShardWithALogIsTakenOnceItHasWhatWasAcknowledged) {
  Open(0);
  const auto log = std::make_shared<MemoryLog>();
  Open(1, log);
  const MemoryHandle memory = Create("wiki");
  LogRecord record;
  record.memory = memory->number;
  record.stamp_ms = clock_.NowMs();
  record.deployment = shards_[0]->identity();
  InsertOperation insert;
  insert.ticket.request = RequestIdentity{{1, 9}, 1};
  insert.entries = ColumnsOf(memory->spec, {{.id = 5, .key = {1.0F, 2.0F}}});
  record.operation = std::move(insert);
  log->Append(EncodeLogRecord(record), [](const absl::StatusOr<LogOffset>&) {});
  EXPECT_EQ(Of(1).Take(9, 1, {}, Go).value(), 1U);
  CallLimits soon;
  soon.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  EXPECT_EQ(Of(1).Take(9, 2, soon, Go).status().code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(Of(1).Take(9, 1, {}, Go).ok());
  EXPECT_TRUE(Of(1).Write({9, 1, 77, 0}, Go)->manifest.part->logged);
}

TEST_F(ShardBackupsTest, WithoutADirectoryItSaysSoAndErrorsNameNoPath) {
  with_directory_ = false;
  OpenAll();
  EXPECT_FALSE(Of(1).Describe()->has_directory);
  EXPECT_EQ(ReasonOf(Of(1).Take(9, 0, {}, Go).status()), "NO_BACKUP_DIRECTORY");
  EXPECT_EQ(shards_[1]->CreateBackup(0, {}, Go).status().code(), absl::StatusCode::kFailedPrecondition);
  for (auto& shard : shards_) shard.reset();
  with_directory_ = true;
  WriteBytes(backups_, "no directory");
  OpenAll();
  ASSERT_TRUE(Of(1).Take(9, 0, {}, Go).ok());
  const absl::Status refused = Of(1).Write({9, 1, 77, 0}, Go).status();
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--backup-dir"));
  EXPECT_THAT(std::string(refused.message()), ::testing::Not(HasSubstr(directory_.path())));
}

}  // namespace
}  // namespace mneme
