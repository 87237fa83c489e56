// What a front end's reads of sessions wait for where shards have replicated logs.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <variant>
#include <vector>

#include "cluster/logged_shard_port.h"
#include "common/error_reason.h"
#include "engine/log_record.h"
#include "tests/cluster/logged_port_fixture.h"

namespace mneme {
namespace {

using testing::kDeployment;
using testing::MemoryLog;
using testing::Replica;

class LoggedSessionReadsTest : public testing::LoggedPortFixture {};

TEST_F(LoggedSessionReadsTest, AReadWaitsForAMarkerThatWasSentAfterItBegan) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  EXPECT_TRUE(told_[0].get().ok());
  Replica& asked = channel_.at() == 0 ? first_ : second_;
  EXPECT_TRUE(port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).ok());
  EXPECT_EQ(asked.waited_for(), 2U);
  const std::vector<LogRecord> records = RecordsOf(log);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<ReadMarker>(records[1].operation));
  EXPECT_EQ(records[1].deployment, kDeployment);
}

TEST_F(LoggedSessionReadsTest, OneMarkerServesAllReadsThatCameBeforeItWasSent) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  log.HoldAppends();
  std::vector<std::thread> readers;
  std::atomic<int> read{0};
  for (int i = 0; i < 10; ++i) {
    readers.emplace_back([&] { read += port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).ok() ? 1 : 0; });
  }
  // All of them wait: the first for the marker that is on its way, the others for the next.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(read, 0);
  log.ReleaseAppends();
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(read, 10);
  EXPECT_LE(log.End({}).value(), 3U);
}

TEST_F(LoggedSessionReadsTest, AMarkerThatIsNotAppendedIsWaitedForForThreeSecondsWhateverTheDeadline) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  log.HoldAppends();
  const auto start = std::chrono::steady_clock::now();
  const absl::Status unwritten = port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).status();
  const auto waited = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(unwritten.code(), absl::StatusCode::kUnavailable) << "the caller's own deadline is another";
  EXPECT_EQ(ReasonOf(unwritten), reason::kShardUnavailable);
  EXPECT_GE(waited, std::chrono::seconds(3));
  EXPECT_LT(waited, std::chrono::seconds(20));
  log.ReleaseAppends();
}

TEST_F(LoggedSessionReadsTest, AReadThatNoReplicaCanAnswerYetWaitsAsLongAsItsCaller) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  for (Replica* replica : {&first_, &second_}) replica->Be(Replica::Mood::kLags);
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  EXPECT_EQ(port.ReadStates(*memory_, ApplyStates(), 0, limits).status().code(), absl::StatusCode::kDeadlineExceeded);
  const auto soon = [] {
    CallLimits again;
    again.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
    return again;
  };
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(port.ReadSession(*memory_, "s", 0, soon()).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(port.ListSessions(*memory_, "", "", 9, soon()).status().code(), absl::StatusCode::kDeadlineExceeded);
  CallLimits gone;
  gone.cancelled = std::make_shared<std::atomic<bool>>(true);
  EXPECT_EQ(port.ReadSession(*memory_, "s", 0, gone).status().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(LoggedShardPort::kWriteSeconds / 2));
  second_.Be(Replica::Mood::kThere);
  EXPECT_TRUE(port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).ok());
  EXPECT_EQ(*port.ReadSession(*memory_, "s", 0, CallLimits()), "content");
  EXPECT_TRUE(port.ListSessions(*memory_, "", "", 9, CallLimits()).ok());
  // A log that cannot be written has no markers either.
  log.FailAppends(absl::UnavailableError("no broker"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).ok());
}

}  // namespace
}  // namespace mneme
