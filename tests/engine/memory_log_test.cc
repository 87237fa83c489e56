// The oracle does what every log does, and to its users what a test tells it to.
#include "tests/engine/memory_log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "tests/engine/shard_log_conformance.h"

namespace mneme::testing {
namespace {

class MemoryLogUnderTest final : public LogUnderTest {
 public:
  ShardLog& log() override { return log_; }
  LogOffset DropFront() override {
    for (int i = 0; i < 5; ++i) (void)AppendAndWait(log_, "old");
    log_.DropBefore(3);
    return 3;
  }

 private:
  MemoryLog log_;
};

INSTANTIATE_TEST_SUITE_P(Memory, ShardLogConformance, ::testing::Values(LogMaker{"Memory", [] {
                           return std::make_unique<MemoryLogUnderTest>();
                         }}),
                         NameOf);

TEST(MemoryLogTest, AnAppendThatFailsMayHaveLanded) {
  MemoryLog log;
  log.FailAppends(absl::UnavailableError("gone"), 2, MemoryLog::Fate::kLost);
  EXPECT_TRUE(absl::IsUnavailable(AppendAndWait(log, "a").status()));
  EXPECT_TRUE(absl::IsUnavailable(AppendAndWait(log, "b").status()));
  EXPECT_EQ(*log.End({}), 0U);
  log.FailAppends(absl::DeadlineExceededError("late"), 1, MemoryLog::Fate::kAppended);
  EXPECT_TRUE(absl::IsDeadlineExceeded(AppendAndWait(log, "c").status()));
  EXPECT_EQ(*AppendAndWait(log, "d"), 1U);
  const std::vector<LoggedBytes> records = Take(**log.Read(0), 2);
  EXPECT_EQ(records[0].bytes, "c");
  EXPECT_EQ(records[1].bytes, "d");
}

TEST(MemoryLogTest, AppendsThatAreHeldAreReadAndNotTold) {
  MemoryLog log;
  log.HoldAppends();
  std::promise<absl::StatusOr<LogOffset>> told;
  std::future<absl::StatusOr<LogOffset>> result = told.get_future();
  log.Append("a", [&](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
  EXPECT_EQ(Take(**log.Read(0), 1).front().bytes, "a");
  EXPECT_EQ(result.wait_for(std::chrono::milliseconds(10)), std::future_status::timeout);
  log.ReleaseAppends();
  EXPECT_EQ(*result.get(), 0U);
}

TEST(MemoryLogTest, AReaderThatWasStoppedGoesOn) {
  MemoryLog log;
  const std::unique_ptr<LogReader> reader = *log.Read(0);
  log.StopReading();
  ASSERT_TRUE(AppendAndWait(log, "a").ok());
  std::vector<LoggedBytes> records;
  EXPECT_TRUE(absl::IsUnavailable(reader->Next(std::chrono::milliseconds(5), kAnyBytes, records)));
  EXPECT_TRUE(absl::IsUnavailable(log.End({}).status()));
  EXPECT_TRUE(records.empty());
  log.GoOnReading();
  EXPECT_EQ(Take(*reader, 1).front().bytes, "a");
}

TEST(MemoryLogTest, OffsetsMayBeOfNoRecord) {
  MemoryLog log;
  ASSERT_TRUE(AppendAndWait(log, "a").ok());
  log.LeaveGap(7);
  EXPECT_EQ(*AppendAndWait(log, "b"), 8U);
  EXPECT_EQ(*log.End({}), 9U);
  const std::vector<LoggedBytes> records = Take(**log.Read(0), 2);
  EXPECT_EQ(records[1].offset, 8U);
  EXPECT_EQ(Take(**log.Read(4), 1).front().offset, 8U);
}

TEST(MemoryLogTest, AReaderWhoseNextRecordWasDroppedIsOutOfRange) {
  MemoryLog log;
  const std::unique_ptr<LogReader> reader = *log.Read(0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(AppendAndWait(log, "a").ok());
  log.DropBefore(2);
  EXPECT_TRUE(absl::IsOutOfRange(ErrorOf(*reader)));
}

}  // namespace
}  // namespace mneme::testing
