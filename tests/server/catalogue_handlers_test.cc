// What the owner of the catalogue answers to changes while others may not know them yet.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "common/clock.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/catalogue_feed.h"
#include "engine/flat_backups.h"
#include "engine/log_record.h"
#include "server/hosted_shard.h"
#include "server/shard_backup_handlers.h"
#include "server/shard_handlers.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::TokenMemory;

class CatalogueHandlersTest : public ::testing::Test {
 protected:
  CatalogueHandlersTest() {
    DeploymentOptions options;
    options.data_dir = directory_ / "shard-0";
    options.shards = 2;
    options.search_threads = 1;
    options.hosted.emplace().number = 0;
    shard_ = LocalDeployment::Open(std::move(options)).value();
    // A lease that does not run out while a test lasts.
    feed_ = std::make_unique<CatalogueFeed>(
        &shard_->names(), CatalogueFeedOptions{.lease = std::chrono::minutes(1), .fresh = true, .clocks = clocks_});
    front_end_.Serve(feed_.get());
  }

  CallContext Within(std::chrono::milliseconds time) {
    CallLimits limits;
    limits.deadline = std::chrono::steady_clock::now() + time;
    return {front_end_, *shard_, limits, caller_};
  }
  internal::v1::Call Ask(std::string body) const {
    internal::v1::Call request;
    request.mutable_target()->set_protocol(kInternalProtocol);
    request.mutable_target()->set_deployment(shard_->identity());
    request.mutable_target()->set_shard(0);
    request.mutable_target()->set_shards(2);
    request.set_body(std::move(body));
    return request;
  }
  absl::Status Change(LoggedOperation operation, std::chrono::milliseconds time) {
    internal::v1::Answer answer;
    return HandleChange(Within(time), Ask(EncodeLogRecord({0, 1'000, std::move(operation)})), &answer);
  }
  // As a front end that makes backup 9.
  absl::Status Take(BackupStep step) {
    return HandleTakeBackup(Within(std::chrono::seconds(10)), Ask(Flat(TakeBackupCommand{9, 0, step})),
                            [](const internal::v1::Answer&) { return true; });
  }
  // A front end that asks once, and takes nothing of what it is told.
  void Watch() {
    feed_->Watch("front end", {}, [](const CatalogueFeed::Answer&) {});
  }

  TemporaryDirectory directory_;
  const std::shared_ptr<WatcherClocks> clocks_ = std::make_shared<WatcherClocks>();
  Log log_{LogFormat::kJson, LogLevel::kError};
  Metrics metrics_;
  const std::unique_ptr<AccessControl> access_ = AccessControl::New("").value();
  const Caller caller_;
  FrontEnd front_end_{&log_, &metrics_, access_.get(), 1};
  std::unique_ptr<LocalDeployment> shard_;
  std::unique_ptr<CatalogueFeed> feed_;
};

TEST(HostedShardTest, AFrontEndWhoseClockIsWrongIsRefused) {
  constexpr int64_t kNow = 1'700'000'000'000;
  for (const int64_t stamp : {kNow, kNow + limits::kMaxAheadMs, kNow - limits::kMaxBehindMs}) {
    EXPECT_TRUE(CheckStamp(stamp, kNow).ok()) << stamp;
  }
  for (const int64_t stamp : {kNow + limits::kMaxAheadMs + 1, kNow - limits::kMaxBehindMs - 1, int64_t{0}}) {
    const absl::Status refused = CheckStamp(stamp, kNow);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << stamp;
  }
}

TEST_F(CatalogueHandlersTest, ARefusalWaitsUntilAllKnowWhatItIsRefusedFor) {
  const CreateMemoryCommand create{TokenMemory("wiki", 4)};
  ASSERT_TRUE(Change(create, std::chrono::seconds(10)).ok()) << "nobody to wait for";
  const absl::Status again = Change(create, std::chrono::seconds(10));
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists) << again;
  EXPECT_EQ(ReasonOf(again), reason::kMemoryExists);
  Watch();
  // Told "it exists" a caller would ask the watcher for it, which may answer NOT_FOUND.
  const absl::Status early = Change(create, std::chrono::milliseconds(100));
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded) << early;
  feed_->Leave("front end");
  EXPECT_EQ(Change(create, std::chrono::seconds(10)).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(CatalogueHandlersTest, AChangeWaitsWhileNamesAreHeldForABackup) {
  const CreateMemoryCommand create{TokenMemory("wiki", 4)};
  ASSERT_TRUE(Take(BackupStep::kHoldNames).ok());
  const absl::Status early = Change(create, std::chrono::milliseconds(100));
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded) << early;
  EXPECT_FALSE(shard_->FindMemory("wiki").ok());
  ASSERT_TRUE(Take(BackupStep::kLetNamesGo).ok());
  EXPECT_TRUE(Change(create, std::chrono::seconds(10)).ok());
  // Its time is over before that of who waits: no front end has to let go.
  ASSERT_TRUE(Take(BackupStep::kHoldNames).ok());
  EXPECT_TRUE(Change(DropMemoryCommand{"wiki"}, std::chrono::minutes(1)).ok());
}

TEST_F(CatalogueHandlersTest, TheOwnerHearsWhatTheClocksOfWatchersSay) {
  internal::v1::WatchRequest request;
  request.set_protocol(kInternalProtocol);
  request.set_shards(2);
  request.set_watcher("front end");
  internal::v1::WatchAnswer answer;
  for (const int64_t ahead_ms : {int64_t{-86'400'000}, int64_t{100}}) {
    request.set_now_ms(SystemClock().NowMs() + ahead_ms);
    bool told = false;
    const auto done = [&told](const absl::Status& status) { told = status.ok(); };
    ASSERT_TRUE(HandleWatch(Within(std::chrono::seconds(10)), request, &answer, done).ok());
    EXPECT_TRUE(told);
    const absl::Status clock = clocks_->Check(SystemClock().NowMs());
    EXPECT_EQ(clock.ok(), ahead_ms == 100) << clock;
  }
}

}  // namespace
}  // namespace mneme
