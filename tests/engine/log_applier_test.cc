// A log is applied to a shard: in order, once, and what became of each record is told to who asks.
#include "engine/log_applier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "storage/memory_entry_store.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ColumnsOf;
using testing::MemoryLog;
using testing::TokenMemory;
using Outcome = absl::StatusOr<WriteResult>;

constexpr uint64_t kDeployment = 0x51D;
constexpr uint32_t kShard = 4;
constexpr int64_t kStampMs = 2'000'000'000;
constexpr MemoryNumber kMemory = 3, kDropped = 2;
constexpr MemoryNumber kNotYetTold = 9;

CallLimits Within(std::chrono::milliseconds time) {
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + time;
  return limits;
}
const std::chrono::seconds kPatience(30);

RequestIdentity Request(uint64_t number) { return {{number, 7}, number}; }

// A log whose leader does not say where it ends.
class SilentLog final : public ShardLog {
 public:
  explicit SilentLog(ShardLog* log) : log_(log) {}

  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  void Append(std::string record, Appended appended) override { log_->Append(std::move(record), std::move(appended)); }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override {
    std::this_thread::sleep_until(std::min(limits.deadline, std::chrono::steady_clock::now() + kPatience));
    return absl::UnavailableError("no answer");
  }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override { return log_->Begin(limits); }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override { return log_->Read(from); }

 private:
  ShardLog* const log_;
};

class LogApplierTest : public ::testing::Test {
 protected:
  LogApplierTest() {
    MemoryRecord record;
    record.number = kMemory;
    record.spec = TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
    OpenShard();
  }
  ~LogApplierTest() override {
    applier_.reset();
    shard_.reset();
  }

  void OpenShard() {
    ShardOptions options;
    options.number = kShard;
    options.store = NewMemoryEntryStore();
    options.files = IndexFiles::Open(directory_.path(), kDeployment).value();
    options.logged = true;
    shard_ = Shard::Open(std::move(options), {memory_}, kNotYetTold).value();
  }
  void Start(ShardLog* log = nullptr) {
    applier_ = LogApplier::Start({.shard = shard_.get(),
                                  .log = log != nullptr ? log : &log_,
                                  .deployment = kDeployment,
                                  .find_memory = [this](MemoryNumber number) { return Find(number); },
                                  .room = [this] { return room_ ? absl::OkStatus() : NoRoom(); },
                                  .events = [this](std::string_view event, std::string_view) {
                                    MutexLock lock(&events_mutex_);
                                    events_.emplace_back(event);
                                  }});
  }
  static absl::Status NoRoom() { return absl::ResourceExhaustedError("no ram"); }
  absl::StatusOr<MemoryHandle> Find(MemoryNumber number) const {
    if (number == kMemory || (number == kNotYetTold && told_)) return memory_;
    if (number < kNotYetTold) return absl::NotFoundError("the memory was dropped");
    return absl::UnavailableError("not told yet");
  }

  // Appends a record; its offset.
  static LogOffset AppendTo(MemoryLog& log, std::string bytes) {
    std::promise<absl::StatusOr<LogOffset>> told;
    log.Append(std::move(bytes), [&told](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get().value();
  }
  LogOffset Append(std::string bytes) { return AppendTo(log_, std::move(bytes)); }
  LogOffset Append(LoggedOperation operation, MemoryNumber memory = kMemory, uint64_t deployment = kDeployment) {
    return Append(EncodeLogRecord({memory, kStampMs, std::move(operation), deployment}));
  }
  InsertOperation Insert(EntryId id, uint64_t request, uint32_t dimension = 2) const {
    InsertOperation insert;
    insert.ticket.request = Request(request);
    insert.entries = ColumnsOf(TokenMemory("any", dimension),
                               {{.id = id, .key = std::vector<float>(dimension, 1.0F), .token = 1}});
    return insert;
  }
  static StateOperation Put(const std::string& value, uint64_t request) {
    ApplyStates apply;
    apply.commands.push_back({"agent", "draft", RegisterPut{value, 0}});
    apply.commands.push_back({"agent", "draft", RegisterGet{}});
    StateOperation states;
    states.ticket.request = Request(request);
    states.request = std::move(apply);
    return states;
  }
  std::future<Outcome> Ask(LogOffset offset, uint64_t request, CallLimits limits = Within(kPatience)) {
    auto told = std::make_shared<std::promise<Outcome>>();
    applier_->AwaitOutcome(offset, Request(request), limits,
                           [told](Outcome outcome) { told->set_value(std::move(outcome)); });
    return told->get_future();
  }
  Outcome OutcomeOf(LogOffset offset, uint64_t request) { return Ask(offset, request).get(); }
  void AwaitHandled(LogOffset offset) {
    const absl::Status handled = applier_->AwaitHandled(SequenceAt(offset), Within(kPatience));
    ASSERT_TRUE(handled.ok()) << handled;
  }
  absl::Status AwaitStatus() const {
    for (int i = 0; i < 3000 && applier_->status().ok(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return applier_->status();
  }
  void AwaitEvent(const std::string& event) {
    for (int i = 0; i < 3000; ++i) {
      {
        MutexLock lock(&events_mutex_);
        if (std::find(events_.begin(), events_.end(), event) != events_.end()) return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL() << "no " << event;
  }
  std::vector<EntryId> Ids() const {
    std::vector<EntryId> ids;
    EXPECT_TRUE(shard_->store().ScanRows({kMemory, 0}, 0, 1000, [&](Row, const EntryView& entry) {
      ids.push_back(entry.id);
      return true;
    }).ok());
    return ids;
  }

  TemporaryDirectory directory_;
  MemoryHandle memory_;
  std::atomic<bool> told_{false};
  std::atomic<bool> room_{true};
  Mutex events_mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(events_mutex_);
  MemoryLog log_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<LogApplier> applier_;
};

TEST_F(LogApplierTest, AppliesWhatIsThereAndWhatComes) {
  const LogOffset first = Append(Insert(1, 100));
  Start();
  const Outcome outcome = OutcomeOf(first, 100);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->count, 1U);
  EXPECT_EQ(outcome->sequence, SequenceAt(first));
  const LogOffset second = Append(Insert(2, 101));
  EXPECT_EQ(OutcomeOf(second, 101)->sequence, SequenceAt(second));
  EXPECT_THAT(Ids(), ElementsAre(1, 2));
  EXPECT_EQ(applier_->handled(), SequenceAt(second));
  EXPECT_EQ(applier_->seen_end(), second + 1);
  EXPECT_TRUE(applier_->status().ok());
}

TEST_F(LogApplierTest, GoesOnWhereTheShardStands) {
  Append(Insert(1, 100));
  const LogOffset second = Append(Insert(2, 101));
  Start();
  AwaitHandled(second);
  applier_.reset();
  log_.LeaveGap(3);
  const LogOffset third = Append(Insert(1, 102));
  Start();
  EXPECT_EQ(OutcomeOf(third, 102)->other, 1U) << "it replaces what the first inserted";
  EXPECT_THAT(Ids(), ElementsAre(2, 1));
}

TEST_F(LogApplierTest, WhoAsksBeforehandIsTold) {
  Start();
  auto told = Ask(0, 100);
  auto later = Ask(1, 101);
  Append(Insert(1, 100));
  EXPECT_EQ(told.get()->sequence, 1U);
  Append(Put("text", 101));
  const Outcome states = later.get();
  ASSERT_TRUE(states.ok()) << states.status();
  EXPECT_EQ(states->states->answers[1].value, "text");
}

TEST_F(LogApplierTest, ARefusalIsAnOutcomeAndTheNextRecordsAreApplied) {
  Start();
  const LogOffset narrow = Append(Insert(1, 100, /*dimension=*/1));
  const LogOffset dropped = Append(Insert(1, 101), kDropped);
  DeleteOperation nothing;
  nothing.ticket.request = Request(102);
  const LogOffset of_nothing = Append(std::move(nothing));
  RememberOperation learned;
  learned.ticket.request = Request(103);
  learned.batch.queries.Append("12345678");
  learned.batch.count = 1;
  const LogOffset unfit = Append(std::move(learned));
  const LogOffset of_catalogue = Append(DropMemoryCommand{"wiki"}, 0);
  const LogOffset last = Append(Insert(5, 104));
  EXPECT_EQ(OutcomeOf(last, 104)->count, 1U);
  EXPECT_EQ(OutcomeOf(narrow, 100).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OutcomeOf(dropped, 101).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OutcomeOf(of_nothing, 102).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OutcomeOf(unfit, 103).status().code(), absl::StatusCode::kInvalidArgument) << "it has no capacity";
  EXPECT_EQ(OutcomeOf(of_catalogue, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Ids(), ElementsAre(5));
}

TEST_F(LogApplierTest, AMarkerIsAPlaceToWaitFor) {
  Start();
  Append(Insert(1, 100));
  const LogOffset marker = Append(ReadMarker{}, 0);
  AwaitHandled(marker);
  EXPECT_EQ(shard_->visible(), SequenceAt(marker));
  EXPECT_EQ(OutcomeOf(marker, 0)->sequence, SequenceAt(marker));
}

TEST_F(LogApplierTest, WhatIsNotAtHandIsReadFromTheRememberedRequest) {
  Start();
  const LogOffset insert = Append(Insert(1, 100));
  InsertOperation without_ids = Insert(1, 101);
  without_ids.entries.ids.clear();
  const LogOffset given = Append(std::move(without_ids));
  const LogOffset states = Append(Put("text", 102));
  const LogOffset again = Append(Insert(1, 100));
  const LogOffset refused = Append(Insert(1, 103, /*dimension=*/1));
  InsertOperation other = Insert(7, 100);
  other.ticket.request->content = 5;
  const LogOffset reused = Append(std::move(other));
  AwaitHandled(reused);
  const std::vector<EntryId> ids = OutcomeOf(given, 101)->given_ids;
  applier_.reset();
  Start();
  EXPECT_EQ(OutcomeOf(insert, 100)->sequence, SequenceAt(insert));
  EXPECT_FALSE(OutcomeOf(insert, 100)->replayed) << "that record is where it was applied";
  EXPECT_TRUE(OutcomeOf(again, 100)->replayed);
  EXPECT_EQ(OutcomeOf(given, 101)->given_ids, ids);
  EXPECT_THAT(ids, ElementsAre(::testing::Ge(limits::kFirstServerId)));
  EXPECT_EQ(OutcomeOf(states, 102)->states->answers[1].value, "text");
  const absl::Status unknown = OutcomeOf(refused, 103).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnavailable) << unknown;
  std::promise<Outcome> told;
  applier_->AwaitOutcome(reused, {{100, 7}, 5}, Within(kPatience), [&](Outcome outcome) { told.set_value(outcome); });
  EXPECT_EQ(ReasonOf(told.get_future().get().status()), reason::kRequestIdReused);
}

TEST_F(LogApplierTest, AnAnswerTooLongToBeRememberedIsAskedForAgain) {
  Start();
  const std::string value(limits::kMaxRememberedAnswerBytes + 1, 'x');
  const LogOffset first = Append(Put(value, 100));
  EXPECT_EQ(OutcomeOf(first, 100)->states->answers[1].value, value);
  applier_.reset();
  Start();
  EXPECT_EQ(OutcomeOf(first, 100).status().code(), absl::StatusCode::kUnavailable);
  const LogOffset again = Append(Put(value, 100));
  const Outcome replay = OutcomeOf(again, 100);
  ASSERT_TRUE(replay.ok()) << replay.status();
  EXPECT_TRUE(replay->replayed);
  EXPECT_EQ(replay->states->answers[1].value, value);
}

TEST_F(LogApplierTest, OnlyTheLatestOutcomesAreKept) {
  Start();
  const LogOffset refused = Append(Insert(1, 100), kDropped);
  EXPECT_EQ(OutcomeOf(refused, 100).status().code(), absl::StatusCode::kNotFound);
  LogOffset last = 0;
  for (size_t i = 0; i < limits::kMaxKeptOutcomes; ++i) {
    std::string marker = EncodeLogRecord({0, kStampMs, ReadMarker{}, kDeployment});
    if (i + 1 == limits::kMaxKeptOutcomes) {
      last = Append(std::move(marker));
    } else {
      log_.Append(std::move(marker), [](const absl::StatusOr<LogOffset>&) {});
    }
  }
  AwaitHandled(last);
  EXPECT_EQ(OutcomeOf(refused, 100).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(OutcomeOf(refused + 1, 0).ok()) << "the oldest of as many as are kept";
}

TEST_F(LogApplierTest, WaitsForAMemoryThatItIsToBeTold) {
  Start();
  const LogOffset offset = Append(Insert(1, 100), kNotYetTold);
  auto outcome = Ask(offset, 100);
  EXPECT_EQ(outcome.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  EXPECT_EQ(applier_->handled(), 0U);
  told_ = true;
  EXPECT_TRUE(outcome.get().ok());
}

TEST_F(LogApplierTest, WaitsForRoomAndRefusesNothingForWantOfIt) {
  room_ = false;
  Start();
  const LogOffset offset = Append(Insert(1, 100));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(applier_->handled(), 0U);
  room_ = true;
  AwaitHandled(offset);
  EXPECT_TRUE(OutcomeOf(offset, 100).ok());
}

TEST_F(LogApplierTest, WhoAsksForWhatWaitsForRoomIsToldSoAndMayAskAgain) {
  room_ = false;
  Start();
  const LogOffset waits = Append(Insert(1, 100));
  DeleteOperation erase;
  erase.ticket.request = Request(101);
  erase.partitions = {0};
  erase.ids = std::vector<EntryId>{7};
  const LogOffset behind = Append(std::move(erase));
  for (int again = 0; again < 2; ++again) {
    auto first = Ask(waits, 100), second = Ask(behind, 101);
    for (const absl::Status& told : {first.get().status(), second.get().status()}) {
      EXPECT_EQ(told.code(), absl::StatusCode::kDeadlineExceeded) << told;
      EXPECT_EQ(ReasonOf(told), reason::kReplicaLagging);
      EXPECT_THAT(std::string(told.message()), HasSubstr("no ram"));
    }
  }
  room_ = true;
  EXPECT_TRUE(OutcomeOf(waits, 100).ok());
  EXPECT_TRUE(OutcomeOf(behind, 101).ok());
}

TEST_F(LogApplierTest, WhatDoesNotGrowTheShardNeedsNoRoom) {
  room_ = false;
  Start();
  DeleteOperation erase;
  erase.ticket.request = Request(100);
  erase.partitions = {0};
  erase.ids = std::vector<EntryId>{1};
  const LogOffset offset = Append(std::move(erase));
  EXPECT_EQ(OutcomeOf(offset, 100)->other, 1U);
}

TEST_F(LogApplierTest, GivesUpWhoWaitsTooLong) {
  Start();
  auto outcome = Ask(7, 100, Within(std::chrono::milliseconds(1)));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  applier_->TellWaiters();
  EXPECT_EQ(outcome.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(applier_->AwaitHandled(8, Within(std::chrono::milliseconds(1))).code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(LogApplierTest, WhoWaitsForAPlaceOfNoRecordIsToldByTheNextOne) {
  Start();
  auto outcome = Ask(0, 100);
  log_.LeaveGap(1);
  Append(Insert(1, 101));
  EXPECT_EQ(outcome.get().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LogApplierTest, PlacesOfNoRecordAtTheEndOfTheLogAreHandled) {
  const LogOffset last = Append(Insert(1, 100));
  log_.LeaveGap(5);
  for (int again = 0; again < 2; ++again) {
    Start();
    AwaitHandled(last + 5);
    EXPECT_EQ(OutcomeOf(last + 3, 101).status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(OutcomeOf(last, 100).ok());
    applier_.reset();
  }
  Start();
  const LogOffset after = Append(Insert(2, 102));
  EXPECT_EQ(OutcomeOf(after, 102)->sequence, SequenceAt(last + 6));
  EXPECT_THAT(Ids(), ElementsAre(1, 2));
}

TEST_F(LogApplierTest, WhatWaitsInTheLogIsSeenThoughItsLeaderSaysNothing) {
  room_ = false;
  SilentLog silent(&log_);
  Start(&silent);
  const LogOffset first = Append(Insert(1, 100));
  EXPECT_EQ(ReasonOf(OutcomeOf(first, 100).status()), reason::kReplicaLagging) << "it was taken from the log";
  const LogOffset second = Append(Insert(2, 101));
  for (int i = 0; i < 3000 && applier_->seen_end() != second + 1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(applier_->seen_end(), second + 1);
  EXPECT_EQ(applier_->handled(), 0U);
  applier_.reset();
}

TEST(LogOutcomesTest, WhatIsNotAtHandIsReadNeitherByWhoAsksNorByTheWriter) {
  bool read = false, told = false;
  LogOutcomes outcomes(5, [&](LogOffset, const RequestIdentity&) -> Outcome {
    read = true;
    return WriteResult();
  });
  outcomes.Await(2, Request(1), Within(kPatience), [&](const Outcome& outcome) { told = outcome.ok(); });
  outcomes.Handled(5, WriteResult());
  EXPECT_FALSE(read || told);
  outcomes.TellWaiters();
  EXPECT_TRUE(read && told);
}

TEST_F(LogApplierTest, WhoWaitsWhenItEndsIsToldToAskAnother) {
  Start();
  auto outcome = Ask(7, 100);
  applier_.reset();
  EXPECT_EQ(outcome.get().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LogApplierTest, ADamagedRecordEndsItAfterWhatCameBefore) {
  const LogOffset good = Append(Insert(1, 100));
  std::string bytes = EncodeLogRecord({kMemory, kStampMs, Insert(2, 101), kDeployment});
  bytes[20] = static_cast<char>(bytes[20] ^ 1);
  const LogOffset damaged = Append(std::move(bytes));
  const LogOffset after = Append(Insert(3, 102));
  Start();
  EXPECT_TRUE(OutcomeOf(good, 100).ok());
  for (const LogOffset offset : {damaged, after}) {
    const absl::Status status = OutcomeOf(offset, 101).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("at offset ", damaged)));
  }
  EXPECT_EQ(applier_->AwaitHandled(SequenceAt(after), Within(kPatience)).code(), absl::StatusCode::kDataLoss);
  AwaitEvent("log_failed");
  EXPECT_THAT(Ids(), ElementsAre(1));
}

TEST_F(LogApplierTest, ARecordOfANewerProgramEndsIt) {
  std::string bytes = EncodeLogRecord({kMemory, kStampMs, Insert(2, 101), kDeployment});
  bytes.resize(bytes.size() - sizeof(uint64_t));
  bytes[0] = 99;
  const uint64_t checksum = Checksum64(bytes, 0x6C6F677265636F72ULL);
  bytes.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  Append(std::move(bytes));
  Start();
  EXPECT_EQ(AwaitStatus().code(), absl::StatusCode::kUnimplemented) << applier_->status();
}

TEST_F(LogApplierTest, TheLogOfAnotherDeploymentIsNotApplied) {
  Append(Insert(1, 100), kMemory, kDeployment + 1);
  Start();
  const absl::Status status = AwaitStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("another deployment"));
  EXPECT_THAT(Ids(), IsEmpty());
}

TEST_F(LogApplierTest, ALogThatIsNotTheOneThatWasAppliedIsNotAppliedThoughItIsLonger) {
  Append(Insert(1, 100));
  const LogOffset last = Append(Insert(2, 101));
  const LogOffset marker = Append(ReadMarker{}, 0);  // which nobody remembers
  Start();
  AwaitHandled(marker);
  applier_.reset();
  MemoryLog other;
  for (uint64_t request = 100; request < 110; ++request) {
    // The second is another write.
    AppendTo(other, EncodeLogRecord({kMemory, kStampMs, Insert(request, request == 101 ? 555 : request), kDeployment}));
  }
  Start(&other);
  const absl::Status status = AwaitStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("offset ", last, " of the log of shard 4")));
  applier_.reset();
  EXPECT_THAT(Ids(), ElementsAre(1, 2));
}

// What is appended to it next would stand where other records stood, and be passed over.
TEST_F(LogApplierTest, ALogThatEndsBeforeWhereTheShardStandsIsNotGoneOnWith) {
  Append(Insert(1, 100));
  Append(Insert(2, 101));
  Append(ReadMarker{}, 0);
  const LogOffset last = Append(ReadMarker{}, 0);
  Start();
  AwaitHandled(last);
  applier_.reset();
  for (const size_t kept : {size_t{2}, size_t{1}, size_t{3}}) {
    MemoryLog shorter;
    for (size_t i = 0; i < kept; ++i) {
      LogRecord record{kMemory, kStampMs, Insert(i + 1, 100 + i), kDeployment};
      if (i == 2) record = {0, kStampMs, ReadMarker{}, kDeployment};
      AppendTo(shorter, EncodeLogRecord(record));
    }
    Start(&shorter);
    const absl::Status status = AwaitStatus();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << kept << " records: " << status;
    applier_.reset();
  }
  Start();
  EXPECT_TRUE(OutcomeOf(Append(Insert(3, 102)), 102).ok()) << "its own log is read on";
}

TEST_F(LogApplierTest, ALogThatForgotWhatWasAppliedLastIsGoneOnWith) {
  Append(Insert(1, 100));
  const LogOffset marker = Append(ReadMarker{}, 0);
  Start();
  AwaitHandled(marker);
  applier_.reset();
  log_.DropBefore(marker);
  Start();
  const LogOffset next = Append(Insert(2, 101));
  EXPECT_TRUE(OutcomeOf(next, 101).ok());
  EXPECT_TRUE(applier_->status().ok());
}

TEST_F(LogApplierTest, ALogThatForgotWhatComesNextEndsItAndSaysWhatToDo) {
  Append(Insert(1, 100));
  Append(Insert(2, 101));
  log_.DropBefore(1);
  Start();
  const absl::Status status = AwaitStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("it copies what another replica has"));
  EXPECT_THAT(Ids(), IsEmpty()) << "not even the record that is there";
}

TEST_F(LogApplierTest, ALogThatIsAwayIsAskedAgain) {
  log_.StopReading();
  Start();
  AwaitEvent("log_lost");
  const LogOffset offset = Append(Insert(1, 100));
  EXPECT_TRUE(applier_->status().ok());
  log_.GoOnReading();
  EXPECT_TRUE(OutcomeOf(offset, 100).ok());
  AwaitEvent("log_found");
}

TEST_F(LogApplierTest, ALogThatMayNotBeReadIsToldApartAndIsReadWhenItMay) {
  for (const absl::Status& why : {absl::PermissionDeniedError("may not"), absl::NotFoundError("no such topic")}) {
    {
      MutexLock lock(&events_mutex_);
      events_.clear();
    }
    log_.StopReading(why);
    Start();
    AwaitEvent("log_refused");
    EXPECT_TRUE(applier_->refused() && applier_->lost());
    EXPECT_TRUE(applier_->status().ok()) << "somebody may mend it";
    const LogOffset offset = Append(Insert(1, 100));
    log_.GoOnReading();
    EXPECT_TRUE(OutcomeOf(offset, 100).ok());
    AwaitEvent("log_found");
    EXPECT_FALSE(applier_->refused());
    applier_.reset();
    MutexLock lock(&events_mutex_);
    EXPECT_THAT(events_, ElementsAre("log_refused", "log_found"));
  }
}

TEST_F(LogApplierTest, WhatExpiredGoesByARecord) {
  Start();
  InsertOperation insert = Insert(1, 100);
  insert.entries.expiries_ms = {kStampMs - 10};
  Append(std::move(insert));
  ApplyStates apply;
  apply.commands.push_back({"agent", "draft", RegisterPut{"text", 0}});
  apply.session_expiry_ms = kStampMs - 5;
  StateOperation states;
  states.request = std::move(apply);
  Append(std::move(states));
  Append(ExpireRowsCommand{0, {{0, 1}}});
  const LogOffset last = Append(ExpireStatesCommand{{{kStampMs - 5, kMemory, 0, "agent", ""}}}, 0);
  EXPECT_EQ(OutcomeOf(last, 0)->sequence, SequenceAt(last));
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_FALSE(shard_->store().ReadStates()->FindSession({kMemory, "agent"})->has_value());
  EXPECT_EQ(shard_->state_expiries().counts().sessions, 1U);
}

}  // namespace
}  // namespace mneme
