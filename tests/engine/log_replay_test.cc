// A backup and the log of its shard are what the shard was at a time, or at an offset.
#include "engine/log_replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/log_record.h"
#include "engine/shard_backups.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::MemoryLog;
using testing::TokenMemory;

bool Go(const BackupProgress&) { return true; }

class LogReplayTest : public ::testing::Test {
 protected:
  LogReplayTest() {
    DeploymentOptions options;
    options.data_dir = directory_ / "replica";
    options.shards = 1;
    options.search_threads = 1;
    options.clock = &clock_;
    options.backup_dir = backups_;
    options.hosted.emplace().log = log_;
    auto opened = LocalDeployment::Open(std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status();
    replica_ = *std::move(opened);
    memory_ = replica_->CreateMemory(TokenMemory("wiki", 2)).value();
  }
  ~LogReplayTest() override { replica_.reset(); }

  LogOffset Append(LogRecord record) {
    record.deployment = replica_->identity();
    std::promise<absl::StatusOr<LogOffset>> told;
    log_->Append(EncodeLogRecord(record),
                 [&told](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get().value();
  }
  // Entry `id`, as a front end stamped it.
  LogOffset Insert(EntryId id, int64_t stamp_ms, const MemoryHandle& memory = nullptr) {
    const MemoryRecord& into = memory == nullptr ? *memory_ : *memory;
    InsertOperation insert;
    insert.ticket.request = RequestIdentity{{id, 9}, id};
    insert.entries = ColumnsOf(into.spec, {{.id = id, .key = {1.0F, 2.0F}}});
    LogRecord record;
    record.memory = into.number;
    record.stamp_ms = stamp_ms;
    record.operation = std::move(insert);
    return Append(std::move(record));
  }
  void BackUp(uint64_t number, int64_t created_ms) {
    ShardBackups& backups = *replica_->shard_backups();
    ASSERT_TRUE(backups.Take(number, log_->End({}).value(), {}, Go).ok());
    ASSERT_TRUE(backups.TakeNames(number, {}).ok());
    const auto written = backups.Write({number, number, 100 + number, created_ms}, Go);
    ASSERT_TRUE(written.ok()) << written.status();
  }

  absl::Status Restore(const ReplayPoint& point, const std::string& target, bool apart = false,
                       const BackupProgressSink& progress = Go) {
    const auto number = FindReplayedBackup(backups_, 0, point);
    if (!number.ok()) return number.status();
    RestoreTarget restored{.data_dir = target};
    restored.apart = apart;
    restored.finish = [&](const DataDirectory& made, const BackupManifest& backup) -> absl::Status {
      LogReplayOptions options;
      options.point = point;
      options.open_log = [&](uint32_t) -> absl::StatusOr<std::shared_ptr<ShardLog>> { return log_; };
      options.progress = progress;
      auto replayed = ReplayLogs(made, backup, options);
      if (!replayed.ok()) return replayed.status();
      replayed_ = replayed->at(0);
      return absl::OkStatus();
    };
    return RestoreBackup(backups_, *number, restored, Go).status();
  }
  // How many entries a restore has.
  uint64_t Count(const std::string& target, std::optional<HostedShard> hosted = {}) {
    DeploymentOptions options;
    options.data_dir = target;
    options.search_threads = 1;
    options.clock = &clock_;
    options.hosted = std::move(hosted);
    const auto opened = LocalDeployment::Open(std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (!opened.ok()) return 0;
    EXPECT_NE((*opened)->identity(), replica_->identity());
    return (*opened)->Count((*opened)->FindMemory("wiki").value(), {}).value();
  }

  TemporaryDirectory directory_;
  const std::string backups_ = directory_ / "backups";
  const std::string target_ = directory_ / "target";
  ManualClock clock_{1'000'000};
  const std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  std::unique_ptr<LocalDeployment> replica_;
  MemoryHandle memory_;
  ReplayedShard replayed_;
};

TEST_F(LogReplayTest, ATimeBringsBackWhatWasWrittenUntilThen) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  Insert(2, 2'000);
  Insert(3, 3'000);
  BackUp(2, 3'500);  // too late
  Insert(4, 4'000);
  const absl::Status restored = Restore({.until_ms = 2'500}, target_);
  ASSERT_TRUE(restored.ok()) << restored;
  EXPECT_EQ(replayed_.from, 1U);
  EXPECT_EQ(replayed_.end, 2U);
  EXPECT_EQ(Count(target_), 2U);
  EXPECT_FALSE(std::filesystem::exists(target_ + "/replay"));
  // The newest that is not too late is gone on with; what it has needs no log.
  ASSERT_TRUE(Restore({.until_ms = 3'600}, directory_ / "second").ok());
  EXPECT_EQ(replayed_.from, 3U);
  EXPECT_EQ(Count(directory_ / "second"), 3U);
  EXPECT_EQ(Restore({.until_ms = 1'400}, directory_ / "third").code(), absl::StatusCode::kNotFound);
}

TEST_F(LogReplayTest, AnOffsetIsTheFirstThatIsNotApplied) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  for (EntryId id = 2; id < 6; ++id) Insert(id, 2'000);
  ASSERT_TRUE(Restore({.offsets = {4}}, target_).ok());
  EXPECT_EQ(Count(target_), 4U);
  const absl::Status beyond = Restore({.offsets = {6}}, directory_ / "beyond");
  EXPECT_EQ(beyond.code(), absl::StatusCode::kOutOfRange) << beyond;
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("it ends at offset 5, before 6"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "beyond"));
  EXPECT_EQ(Restore({.offsets = {4, 4}}, directory_ / "many").code(), absl::StatusCode::kNotFound);
}

TEST_F(LogReplayTest, TheLastRecordOfATimeIsFoundThoughClocksDiffer) {
  constexpr int64_t kFarLaterMs = 1'000'000;
  for (const int64_t stamp_ms : {int64_t{1'000}, int64_t{50'000}, int64_t{2'000}, int64_t{60'000}}) {
    Insert(static_cast<EntryId>(stamp_ms), stamp_ms);
  }
  EXPECT_EQ(FindOffset(*log_, 0, 2'500, Go).value(), 3U);
  EXPECT_EQ(FindOffset(*log_, 0, 999, Go).value(), 0U);
  EXPECT_EQ(FindOffset(*log_, 3, 2'500, Go).value(), 3U);
  EXPECT_EQ(FindOffset(*log_, 0, 70'000, Go).value(), 4U);
  EXPECT_EQ(FindOffset(*log_, 4, 70'000, Go).value(), 4U);  // nothing follows
  log_->LeaveGap(3);
  Insert(7, kFarLaterMs);
  Insert(8, 2'000);  // no clock is so wrong
  EXPECT_EQ(FindOffset(*log_, 0, 2'500, Go).value(), 3U);
  log_->DropBefore(2);
  EXPECT_EQ(FindOffset(*log_, 1, 2'500, Go).status().code(), absl::StatusCode::kOutOfRange);
  const auto give_up = [](const BackupProgress&) { return false; };
  EXPECT_EQ(FindOffset(*log_, 2, 2 * kFarLaterMs, give_up).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(LogReplayTest, RecordsOfMemoriesThatCameLaterAreLeftOut) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  const MemoryHandle later = replica_->CreateMemory(TokenMemory("later", 2)).value();
  Insert(2, 2'000, later);
  Insert(3, 2'000);
  ASSERT_TRUE(Restore({.until_ms = 2'500}, target_).ok());
  EXPECT_EQ(replayed_.left_out, 1U);
  EXPECT_EQ(replayed_.end, 3U);
  EXPECT_EQ(Count(target_), 2U);
}

TEST_F(LogReplayTest, WhatWasPrunedIsPrunedAgain) {
  for (EntryId id = 1; id <= 20; ++id) Insert(id, 1'000);
  BackUp(1, 1'500);
  PruneCommand command;
  command.neighbours = 9;
  command.exact = true;
  const auto pruned = replica_->Prune(memory_, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  ASSERT_GT(pruned->merged, 0U);
  Insert(100, 2 * clock_.NowMs());
  ASSERT_TRUE(Restore({.until_ms = 1'500}, directory_ / "before").ok());
  EXPECT_EQ(Count(directory_ / "before"), 20U);
  ASSERT_TRUE(Restore({.until_ms = clock_.NowMs()}, target_).ok());
  EXPECT_EQ(replayed_.end, pruned->sequence);
  EXPECT_EQ(Count(target_), 20 - pruned->merged);
}

TEST_F(LogReplayTest, AGapAtTheEndIsNotWaitedFor) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  Insert(2, 2'000);
  log_->LeaveGap(5);
  Insert(3, 3'000);
  ASSERT_TRUE(Restore({.offsets = {5}}, target_).ok());
  EXPECT_EQ(Count(target_), 2U);
}

TEST_F(LogReplayTest, ALogThatDoesNotReachBackIsSaidAndNothingStays) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  for (EntryId id = 2; id < 6; ++id) Insert(id, 2'000);
  log_->DropBefore(3);
  for (const ReplayPoint& point : {ReplayPoint{.until_ms = 2'500}, ReplayPoint{.offsets = {4}}}) {
    const absl::Status refused = Restore(point, target_);
    EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("the log of shard 0: "));
    EXPECT_FALSE(std::filesystem::exists(target_));
  }
}

TEST_F(LogReplayTest, WhatIsGivenUpLeavesNothing) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  Insert(2, 2'000);
  const auto until = [](const std::string& stage) {
    return [stage](const BackupProgress& step) { return step.stage != stage; };
  };
  for (const char* stage : {"looking", "indexing"}) {
    const absl::Status given_up = Restore({.until_ms = 2'500}, target_, false, until(stage));
    EXPECT_EQ(given_up.code(), absl::StatusCode::kCancelled) << stage << ": " << given_up;
    EXPECT_FALSE(std::filesystem::exists(target_)) << stage;
  }
}

TEST_F(LogReplayTest, ItMayBecomeADirectoryOfEachShard) {
  Insert(1, 1'000);
  BackUp(1, 1'500);
  Insert(2, 2'000);
  ASSERT_TRUE(Restore({.until_ms = 2'500}, target_, /*apart=*/true).ok());
  EXPECT_FALSE(std::filesystem::exists(target_ + "/whole"));
  // Its own log goes on from there.
  EXPECT_EQ(Count(target_ + "/shard-000", HostedShard{}), 2U);
}

}  // namespace
}  // namespace mneme
