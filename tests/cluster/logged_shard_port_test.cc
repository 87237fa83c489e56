// What a front end does with writes of a shard that has a replicated log.
#include "cluster/logged_shard_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "engine/log_record.h"
#include "tests/cluster/logged_port_fixture.h"

namespace mneme {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kDeployment;
using testing::MemoryLog;
using testing::Replica;

class LoggedShardPortTest : public testing::LoggedPortFixture {};

// Takes its time to take a record.
class SlowLog final : public ShardLog {
 public:
  explicit SlowLog(ShardLog* log) : log_(log) {}

  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  void Append(std::string record, Appended appended) override {
    {
      MutexLock lock(&mutex_);
      taking_ = true;
    }
    changed_.NotifyAll();
    {
      MutexLock lock(&mutex_);
      changed_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return released_; });
    }
    log_->Append(std::move(record), std::move(appended));
  }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override { return log_->End(limits); }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override { return log_->Begin(limits); }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override { return log_->Read(from); }

  void AwaitTaking() {
    MutexLock lock(&mutex_);
    changed_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return taking_; });
  }
  void Release() {
    {
      MutexLock lock(&mutex_);
      released_ = true;
    }
    changed_.NotifyAll();
  }

 private:
  ShardLog* const log_;
  Mutex mutex_;
  CondVar changed_;
  bool taking_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST_F(LoggedShardPortTest, AWriteIsARecordAndIsToldByAReplicaThatHasAppliedIt) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  std::atomic<bool> visible{false};
  std::vector<bool> was_visible;
  for (uint64_t request = 1; request <= 20; ++request) {
    InsertOperation insert = Insert(request);
    if (request == 20) insert.ticket.visible = [&] { visible = channel_.seen() == 20; };
    ASSERT_TRUE(Submit(port, std::move(insert)).ok());
  }
  for (size_t i = 0; i < told_.size(); ++i) EXPECT_EQ(told_[i].get().value().sequence, i + 1);
  EXPECT_TRUE(visible) << "before it is acknowledged, and seen by the next read";
  EXPECT_EQ(channel_.seen(), 20U);
  EXPECT_EQ(port.bytes(), 0U);
  std::vector<LogRecord> records = RecordsOf(log);
  ASSERT_EQ(records.size(), 20U);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].deployment, kDeployment);
    EXPECT_EQ(records[i].memory, 7U);
    EXPECT_EQ(records[i].stamp_ms, 1'000);
    EXPECT_EQ(RequestOf(records[i]).id.low, i + 1) << "in the order in which they were handed over";
  }
}

TEST_F(LoggedShardPortTest, AReplicaThatIsAwayIsLeftForTheOther) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  Replica& away = channel_.at() == 0 ? first_ : second_;
  away.Be(Replica::Mood::kAway);
  for (uint64_t request = 1; request <= 3; ++request) {
    ASSERT_TRUE(Submit(port, Insert(request)).ok());
    EXPECT_TRUE(told_.back().get().ok());
  }
  EXPECT_LE(away.asked(), 4U) << "later writes do not ask it, nor the first more often than gRPC does";
}

TEST_F(LoggedShardPortTest, AWriteIsToldWhenAReplicaComesBack) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  first_.Be(Replica::Mood::kAway);
  second_.Be(Replica::Mood::kAway);
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  EXPECT_EQ(told_[0].wait_for(std::chrono::milliseconds(1'500)), std::future_status::timeout);
  second_.Be(Replica::Mood::kThere);
  EXPECT_TRUE(told_[0].get().ok());
}

TEST_F(LoggedShardPortTest, AReplicaThatIsBehindIsLeftForTheOther) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  (channel_.at() == 0 ? first_ : second_).Be(Replica::Mood::kLags);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  EXPECT_TRUE(told_[0].get().ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(LoggedShardPortTest, WhatGrowsIsRefusedWhileAWriteWaitsForRamAndIsNotAppended) {
  for (const bool other_is_away : {false, true}) {
    MemoryLog log;
    LoggedShardPort port(Over(log));
    told_.clear();
    first_.Be(Replica::Mood::kShortOfRam);
    second_.Be(other_is_away ? Replica::Mood::kAway : Replica::Mood::kShortOfRam);
    ASSERT_TRUE(Submit(port, Insert(1)).ok());
    absl::Status refused;
    for (int tries = 0; tries < 2'000 && refused.ok(); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      refused = Submit(port, Insert(2 + tries));
    }
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_EQ(ReasonOf(refused), reason::kMemoryLimit);
    EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("shard 3"), HasSubstr("it waits for ram")));
    const LogOffset end = log.End({}).value();
    EXPECT_FALSE(Submit(port, Insert(9'000)).ok());
    EXPECT_EQ(log.End({}).value(), end);
    DeleteOperation erase;
    erase.ticket = Insert(9'001).ticket;
    erase.ids.emplace(1, 1);
    EXPECT_TRUE(Submit(port, std::move(erase)).ok()) << "it needs none";
    EXPECT_EQ(log.End({}).value(), end + 1);
    second_.Be(Replica::Mood::kThere);
    for (Told& told : told_) EXPECT_TRUE(told.get().ok());
    EXPECT_TRUE(Submit(port, Insert(9'002)).ok());
    EXPECT_TRUE(told_.back().get().ok());
  }
}

TEST_F(LoggedShardPortTest, SessionsAreRefusedWhileAWriteWaitsForDisksAndNotWhileItWaitsForRam) {
  const auto states = [this](uint64_t request, StateRequest asked) {
    StateOperation operation;
    operation.ticket = Insert(request).ticket;
    operation.request = std::move(asked);
    return operation;
  };
  for (const bool of_disk : {false, true}) {
    MemoryLog log;
    LoggedShardPort port(Over(log));
    told_.clear();
    for (Replica* replica : {&first_, &second_}) {
      replica->Be(of_disk ? Replica::Mood::kShortOfDisk : Replica::Mood::kShortOfRam);
    }
    ASSERT_TRUE(Submit(port, Insert(1)).ok());
    absl::Status refused;
    for (int tries = 0; tries < 2'000 && refused.ok(); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      refused = Submit(port, Insert(2 + tries));
    }
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_EQ(ReasonOf(refused), of_disk ? reason::kStorageLow : reason::kMemoryLimit);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(of_disk ? "it waits for the disk" : "it waits for ram"));
    const LogOffset end = log.End({}).value();
    const absl::Status put = Submit(port, states(9'000, ApplyStates{{{"agent", "draft", RegisterPut{"text"}}}}));
    EXPECT_EQ(ReasonOf(put), of_disk ? reason::kStorageLow : "") << put;
    EXPECT_EQ(log.End({}).value(), end + (of_disk ? 0 : 1));
    EXPECT_TRUE(Submit(port, states(9'001, ResetSessions{{"agent"}})).ok()) << "it makes room";
    second_.Be(Replica::Mood::kThere);
    for (Told& told : told_) EXPECT_TRUE(told.get().ok());
    EXPECT_TRUE(Submit(port, states(9'002, ApplyStates{{{"agent", "draft", RegisterPut{"text"}}}})).ok());
    EXPECT_TRUE(told_.back().get().ok());
  }
}

TEST_F(LoggedShardPortTest, WhatIsWrongWithWhoIsAskedIsNoOutcome) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  for (Replica* replica : {&first_, &second_}) replica->Be(Replica::Mood::kStranger);
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  const absl::Status told = told_[0].get().status();
  EXPECT_EQ(told.code(), absl::StatusCode::kUnavailable) << told;
  EXPECT_THAT(std::string(told.message()), HasSubstr("another shard"));
}

TEST_F(LoggedShardPortTest, WhatAReplicaSaysOfARecordIsWhatTheCallerIsTold) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  for (Replica* replica : {&first_, &second_}) replica->Be(Replica::Mood::kRefuses);
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  const absl::Status refused = told_[0].get().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(refused), reason::kMemoryNotFound);
  EXPECT_EQ(channel_.seen(), 0U);
  for (Replica* replica : {&first_, &second_}) replica->Be(Replica::Mood::kForgetful);
  ASSERT_TRUE(Submit(port, Insert(2)).ok());
  const absl::Status forgotten = told_[1].get().status();
  EXPECT_EQ(forgotten.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(forgotten.message()), HasSubstr("same request id"));
}

TEST_F(LoggedShardPortTest, AWriteWithoutAnIdOfItsClientHasARandomOneAndWasNotMadeBefore) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  for (int i = 0; i < 2; ++i) {
    InsertOperation unnamed = Insert(1);
    unnamed.ticket.request.reset();
    ASSERT_TRUE(Submit(port, std::move(unnamed)).ok());
  }
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  EXPECT_FALSE(told_[0].get().value().replayed);
  EXPECT_FALSE(told_[1].get().value().replayed);
  EXPECT_TRUE(told_[2].get().value().replayed);
  std::vector<LogRecord> records = RecordsOf(log);
  EXPECT_FALSE(RequestOf(records[0]).id == RequestOf(records[1]).id);
}

TEST_F(LoggedShardPortTest, WhatTheLogRefusesIsToldWithItsReason) {
  MemoryLog log;
  LoggedShardPort port(Over(log));
  const auto told = [&](absl::Status error) {
    log.FailAppends(std::move(error), 1, MemoryLog::Fate::kLost);
    EXPECT_TRUE(Submit(port, Insert(1)).ok());
    return told_.back().get().status();
  };
  for (const absl::Status& unknown : {absl::UnavailableError("no broker"), absl::DeadlineExceededError("no broker")}) {
    const absl::Status got = told(unknown);
    EXPECT_EQ(got.code(), absl::StatusCode::kUnavailable) << "the caller's own deadline is another";
    EXPECT_EQ(ReasonOf(got), reason::kShardUnavailable);
    EXPECT_THAT(std::string(got.message()), HasSubstr("the log of shard 3: no broker"));
  }
  const absl::Status full = told(WithReason(absl::ResourceExhaustedError("too much"), reason::kQueueFull));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(full), reason::kQueueFull);
  EXPECT_EQ(port.bytes(), 0U);
}

TEST_F(LoggedShardPortTest, ALongInsertIsCutByItsEntriesAndCutAlikeWhenItIsMadeAgain) {
  constexpr size_t kEntries = 100;
  MemoryLog log(1'000);
  LoggedShardPort port(Over(log));
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(Submit(port, Insert(1, kEntries)).ok());
    EXPECT_TRUE(told_.back().get().ok());
  }
  std::vector<LogRecord> records = RecordsOf(log);
  const size_t parts = records.size() / 2;
  ASSERT_GT(parts, 2U);
  ASSERT_EQ(records.size(), 2 * parts);
  EntryId next = 0;
  std::set<uint64_t> requests;
  for (size_t i = 0; i < parts; ++i) {
    const auto& part = std::get<InsertOperation>(records[i].operation);
    EXPECT_EQ(part.partition, 5U);
    for (const EntryId id : part.entries.ids) EXPECT_EQ(id, next++);
    requests.insert(RequestOf(records[i]).id.low);
    EXPECT_EQ(RequestOf(records[i]).content, RequestOf(records[i + parts]).content);
    EXPECT_EQ(RequestOf(records[i]).id, RequestOf(records[i + parts]).id);
  }
  EXPECT_EQ(next, kEntries);
  EXPECT_EQ(requests.size(), parts);
  EXPECT_EQ(RequestOf(records[0]).id.low, 1U) << "another write under the same request id is noticed by its first part";
  // What replicas say of the parts is joined in their order.
  ASSERT_TRUE(Submit(port, Insert(2, kEntries, /*with_ids=*/false)).ok());
  const WriteResult joined = told_.back().get().value();
  records = RecordsOf(log);
  const size_t more = records.size() - 2 * parts;  // fewer: ids take room
  ASSERT_GT(more, 1U);
  EXPECT_EQ(joined.count, more);
  EXPECT_EQ(joined.sequence, records.size());
  std::vector<EntryId> given(more);
  for (size_t i = 0; i < more; ++i) given[i] = 100 + 2 * parts + i;
  EXPECT_EQ(joined.given_ids, given);
  EXPECT_TRUE(std::get<InsertOperation>(records.back().operation).entries.ids.empty());
}

// Another version must cut alike (docs/formats.md).
TEST_F(LoggedShardPortTest, PartsAreThoseOfTheFormat) {
  MemoryLog log(EncodeLogRecord(kDeployment, Insert(1, 4)).value().size() - 1);
  LoggedShardPort port(Over(log));
  ASSERT_TRUE(Submit(port, Insert(1, 4)).ok());
  EXPECT_TRUE(told_[0].get().ok());
  std::vector<LogRecord> records = RecordsOf(log);
  ASSERT_EQ(records.size(), 3U);
  const std::vector<std::vector<EntryId>> ids = {{0}, {1}, {2, 3}};
  const std::vector<RequestIdentity> requests = {{{1, 2}, 0xdb538f85fe401082},
                                                 {{0xe9fd6049d65af21e, 0x1d0b14e4db018fed}, 0xc4b72f8ce414b6da},
                                                 {{0xe06dd043328bd285, 0x6e73e372e2338aca}, 0x923777e372c5383f}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(std::get<InsertOperation>(records[i].operation).entries.ids, ids[i]);
    EXPECT_EQ(RequestOf(records[i]).id, requests[i].id) << i;
    EXPECT_EQ(RequestOf(records[i]).content, requests[i].content) << i;
  }
}

TEST_F(LoggedShardPortTest, WhatCannotBeCutIsRefusedAndNothingOfItIsAppended) {
  MemoryLog log(120);
  LoggedShardPort port(Over(log));
  DeleteOperation erase;
  erase.ticket = Insert(1).ticket;
  erase.ids.emplace(100, 1);
  const absl::Status refused = Submit(port, std::move(erase));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("must have at most 120"));
  MemoryLog narrow(60);
  LoggedShardPort to_narrow(Over(narrow));
  EXPECT_EQ(Submit(to_narrow, Insert(1, 10)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(narrow.End({}).value(), 0U);
  EXPECT_EQ(port.bytes() + to_narrow.bytes(), 0U);
}

TEST_F(LoggedShardPortTest, WritesThatWaitHaveABound) {
  MemoryLog log;
  const uint64_t bytes = EncodeLogRecord(kDeployment, Insert(1)).value().size() + LoggedShardPort::kCallBytes;
  LoggedShardPort port(Over(log, 3 * bytes));
  log.HoldAppends();
  for (uint64_t request = 1; request <= 3; ++request) EXPECT_TRUE(Submit(port, Insert(request)).ok());
  const absl::Status refused = Submit(port, Insert(4));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("the log of shard 3"));
  log.ReleaseAppends();
  for (Told& told : told_) EXPECT_TRUE(told.get().ok());
  EXPECT_TRUE(Submit(port, Insert(5)).ok());
  EXPECT_TRUE(told_.back().get().ok());
}

TEST_F(LoggedShardPortTest, WhoeverWaitsIsToldAtOnceWhenTheFrontEndGivesUpAndOnlyThen) {
  MemoryLog log;
  {
    LoggedShardPort port(Over(log));
    log.HoldAppends();
    for (uint64_t request = 1; request <= 3; ++request) EXPECT_TRUE(Submit(port, Insert(request)).ok());
    std::future<absl::Status> read = std::async(
        std::launch::async, [&] { return port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).status(); });
    EXPECT_EQ(told_[0].wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    canceller_.CancelAll();
    port.GiveUp();
    for (Told& told : told_) EXPECT_EQ(told.get().status().code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(read.get().code(), absl::StatusCode::kCancelled);
    EXPECT_TRUE(Submit(port, Insert(4)).ok());
    EXPECT_EQ(told_.back().get().status().code(), absl::StatusCode::kCancelled);
  }
  log.ReleaseAppends();  // the log tells of what nobody waits for
}

TEST_F(LoggedShardPortTest, APortDoesNotEndWhileItsLogIsGivenARecordThoughTheWriteWasTold) {
  MemoryLog log;
  SlowLog slow(&log);
  auto port = std::make_unique<LoggedShardPort>(LoggedShardPortOptions{&channel_, &slow, &clock_});
  LoggedShardPort& borrowed = *port;
  std::thread writer([&] { EXPECT_TRUE(Submit(borrowed, Insert(1)).ok()); });
  slow.AwaitTaking();
  borrowed.GiveUp();
  std::atomic<bool> ended{false};
  std::thread end([&] {
    port.reset();
    ended = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(ended) << "the log may end after it";
  slow.Release();
  writer.join();
  end.join();
  EXPECT_EQ(told_[0].get().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(LoggedShardPortTest, WhoseClockIsWrongWritesNothing) {
  MemoryLog log;
  LoggedShardPortOptions options = Over(log);
  absl::Status clock = absl::FailedPreconditionError("the clock is wrong");
  int64_t checked_ms = 0;
  options.check_stamp = [&](int64_t stamp_ms) {
    checked_ms = stamp_ms;
    return clock;
  };
  LoggedShardPort port(options);
  EXPECT_EQ(Submit(port, Insert(1)).message(), "the clock is wrong");
  const absl::Status read = port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(read)) << read;
  EXPECT_THAT(std::string(read.message()), HasSubstr("the clock is wrong"));
  EXPECT_EQ(log.End({}).value(), 0U) << "no marker either";
  clock = absl::OkStatus();
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  EXPECT_TRUE(told_[0].get().ok());
}

}  // namespace
}  // namespace mneme
