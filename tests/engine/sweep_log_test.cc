// What the sweeps of a shard with a log append: once, and again only when what they named is still there after a while.
#include "engine/sweep_log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "engine/expiry_queue.h"
#include "engine/expiry_sweep.h"
#include "engine/shard.h"
#include "engine/state_expiries.h"
#include "engine/state_sweep.h"
#include "storage/memory_entry_store.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::MemoryLog;
using testing::TokenMemory;

constexpr int64_t kExpiredMs = 1'000;

class SweepLogTest : public ::testing::Test {
 protected:
  SweepLogTest() {
    MemoryRecord record;
    record.number = 3;
    record.spec = TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
    ShardOptions options;
    options.store = NewMemoryEntryStore();
    options.files = IndexFiles::Open(directory_.path(), 1).value();
    shard_ = Shard::Open(std::move(options), {memory_}, 4).value();
  }

  template <typename Operation>
  void Submit(Operation operation) {
    std::promise<absl::Status> told;
    operation.ticket.memory = memory_;
    operation.ticket.stamp_ms = 1;
    operation.ticket.done = [&told](const absl::StatusOr<WriteResult>& result) { told.set_value(result.status()); };
    ASSERT_TRUE(shard_->Submit(std::move(operation)).ok());
    const absl::Status written = told.get_future().get();
    ASSERT_TRUE(written.ok()) << written;
  }
  // Once the log has told of what was appended before; how many records it has then.
  template <typename Sweep>
  LogOffset RecordsAfter(Sweep& sweep) {
    while (!sweeps_.Settled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const absl::Status swept = sweep.Run(*shard_);
    EXPECT_TRUE(swept.ok()) << swept;
    return log_->End({}).value();
  }
  // Of a sweep whose records do nothing: nobody applies them.
  template <typename Sweep>
  void ExpectFewRecords(Sweep& sweep) {
    EXPECT_EQ(RecordsAfter(sweep), 1U);
    EXPECT_EQ(RecordsAfter(sweep), 2U) << "at once, since it is there still";
    EXPECT_EQ(RecordsAfter(sweep), 2U) << "it was named twice";
    clock_.Advance(kExpirySlackMs - 1);
    EXPECT_EQ(RecordsAfter(sweep), 2U);
    clock_.Advance(1);
    EXPECT_EQ(RecordsAfter(sweep), 3U);
    EXPECT_EQ(RecordsAfter(sweep), 3U);
  }
  // The same where the clock was ten years ahead.
  template <typename Sweep>
  void ExpectFewRecordsOnceItIsSetBack(Sweep& sweep) {
    const int64_t right_ms = clock_.NowMs();
    clock_.Advance(int64_t{10} * 365 * 24 * 3'600'000);
    EXPECT_EQ(RecordsAfter(sweep), 1U);
    EXPECT_EQ(RecordsAfter(sweep), 2U);
    EXPECT_EQ(RecordsAfter(sweep), 2U);
    clock_.Set(right_ms);
    EXPECT_EQ(RecordsAfter(sweep), 3U) << "nobody waits ten years";
    EXPECT_EQ(RecordsAfter(sweep), 3U);
    clock_.Advance(kExpirySlackMs);
    EXPECT_EQ(RecordsAfter(sweep), 4U);
    EXPECT_EQ(RecordsAfter(sweep), 4U);
  }
  void InsertExpired() {
    InsertOperation insert;
    insert.entries = ColumnsOf(memory_->spec, {{.id = 1, .key = {0.5F, 1.0F}, .token = 4}});
    insert.entries.expiries_ms = {kExpiredMs};
    Submit(std::move(insert));
  }
  void PutExpired() {
    ApplyStates apply;
    apply.commands.push_back({"agent", "draft", RegisterPut{"text", 0}});
    apply.session_expiry_ms = kExpiredMs;
    StateOperation states;
    states.request = std::move(apply);
    Submit(std::move(states));
  }

  TemporaryDirectory directory_;
  MemoryHandle memory_;
  ManualClock clock_{1'000'000};
  const std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  SweepLog sweeps_{{.log = log_, .deployment = 7, .handled = [] { return std::numeric_limits<Sequence>::max(); }}};
  std::unique_ptr<Shard> shard_;
};

TEST_F(SweepLogTest, RowsThatStayAreNamedAgainAfterTheSlack) {
  InsertExpired();
  ExpirySweep sweep(&clock_, [this](MemoryNumber) { return memory_; }, &sweeps_);
  ExpectFewRecords(sweep);
}

TEST_F(SweepLogTest, RowsAreNotPutOffByAClockThatWasAhead) {
  InsertExpired();
  ExpirySweep sweep(&clock_, [this](MemoryNumber) { return memory_; }, &sweeps_);
  ExpectFewRecordsOnceItIsSetBack(sweep);
}

TEST_F(SweepLogTest, StatesThatStayAreNamedAgainAfterTheSlack) {
  PutExpired();
  StateSweep sweep(&clock_, &sweeps_);
  ExpectFewRecords(sweep);
}

TEST_F(SweepLogTest, StatesAreNotPutOffByAClockThatWasAhead) {
  PutExpired();
  StateSweep sweep(&clock_, &sweeps_);
  ExpectFewRecordsOnceItIsSetBack(sweep);
}

TEST(StateExpiriesTest, WhatExpiresLaterIsNotPutOffByAClockThatWasAhead) {
  StateExpiries expiries;
  ASSERT_EQ(expiries.Take(0), 0) << "whatever is stored";
  expiries.Note(1'800);
  ASSERT_EQ(expiries.Take(3'600), 1'800) << "by a clock that is ahead";
  expiries.NoteFrom(1'800, 3'500);
  EXPECT_EQ(expiries.Take(1'000), std::nullopt) << "set right";
  EXPECT_EQ(expiries.Take(1'700), std::nullopt);
  EXPECT_EQ(expiries.Take(1'900), 1'800);
}

}  // namespace
}  // namespace mneme
