// What a front end does with writes and reads of a shard that has a replicated log: over a log in ram, and replicas
// that answer as a test says.
#include "cluster/logged_shard_port.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/replica_log.h"
#include "common/error_reason.h"
#include "engine/log_record.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::MemoryLog;
using testing::PlainEntry;
using testing::TokenMemory;

constexpr uint64_t kDeployment = 0xABCDEF;

grpc::Status Refusal(grpc::StatusCode code, const std::string& message, std::string_view why) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(why));
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {code, message, details.SerializeAsString()};
}

// A replica that says of every record that it was applied: one entry inserted, and an id given that tells the offset.
class Replica final : public internal_wire::ShardService::Service {
 public:
  Replica() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Replica() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  enum class Mood { kThere, kAway, kForgetful, kRefuses, kLags, kStranger, kShortOfRam };
  void Be(Mood mood) { mood_ = mood; }
  size_t asked() const { return asked_; }
  // Of the last read: what it was to wait for.
  Sequence waited_for() const { return waited_for_; }

  grpc::Status AwaitOutcome(grpc::ServerContext* context, const internal_wire::Call* call,
                            internal_wire::Answer* answer) override {
    ++asked_;
    LogOffset offset = 0;
    RequestIdentity request;
    if (!Unflat(call->body(), offset, request).ok()) return {grpc::StatusCode::DATA_LOSS, "no offset"};
    const Mood mood = mood_;
    if (mood == Mood::kAway) return Refusal(grpc::StatusCode::UNAVAILABLE, "it starts", "STARTING");
    if (mood == Mood::kShortOfRam) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return Refusal(grpc::StatusCode::DEADLINE_EXCEEDED, "it waits for ram", reason::kReplicaLagging);
    }
    if (mood == Mood::kStranger) return {grpc::StatusCode::FAILED_PRECONDITION, "this is another shard"};
    absl::Status outcome;
    if (mood == Mood::kRefuses) outcome = WithReason(absl::NotFoundError("dropped"), reason::kMemoryNotFound);
    std::optional<WriteResult> result;
    if (mood == Mood::kThere) {
      result.emplace();
      result->count = 1;
      result->given_ids = {100 + offset};
      result->sequence = SequenceAt(offset);
      result->replayed = true;
    }
    if (mood == Mood::kLags) {
      std::this_thread::sleep_until(context->deadline());
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "not applied yet"};
    }
    answer->set_body(Flat(outcome, result));
    return grpc::Status::OK;
  }

  grpc::Status ReadSession(grpc::ServerContext*, const internal_wire::Call*, internal_wire::Answer* answer) override {
    if (mood_ == Mood::kLags) return Lags();
    answer->set_body(Flat(std::string("content")));
    return grpc::Status::OK;
  }

  grpc::Status ListSessions(grpc::ServerContext*, const internal_wire::Call*, internal_wire::Answer* answer) override {
    if (mood_ == Mood::kLags) return Lags();
    answer->set_body(Flat(std::vector<NamedSession>()));
    return grpc::Status::OK;
  }

  grpc::Status ReadStates(grpc::ServerContext*, const internal_wire::Call* call,
                          internal_wire::Answer* answer) override {
    ++asked_;
    if (mood_ == Mood::kLags) return Lags();
    MemoryNumber memory = 0;
    ApplyStates apply;
    int64_t stamp_ms = 0;
    Version at_least;
    if (!Unflat(call->body(), memory, apply, stamp_ms, at_least).ok() || at_least.parts.size() != 1) {
      return {grpc::StatusCode::DATA_LOSS, "no version"};
    }
    waited_for_ = at_least.parts.front().sequence;
    answer->set_body(Flat(StateOutcome()));
    return grpc::Status::OK;
  }

 private:
  static grpc::Status Lags() {
    return Refusal(grpc::StatusCode::DEADLINE_EXCEEDED, "it lags", reason::kReplicaLagging);
  }

  int port_ = 0;
  std::atomic<Mood> mood_{Mood::kThere};
  std::atomic<size_t> asked_{0};
  std::atomic<Sequence> waited_for_{0};
  std::unique_ptr<grpc::Server> server_;
};

internal_wire::Target TargetOfShard() {
  internal_wire::Target target;
  target.set_deployment(kDeployment);
  target.set_shard(3);
  return target;
}

class LoggedShardPortTest : public ::testing::Test {
 protected:
  using Told = std::future<absl::StatusOr<WriteResult>>;

  LoggedShardPortTest() {
    MemoryRecord record;
    record.number = 7;
    record.spec = TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  InsertOperation Insert(uint64_t request, size_t entries = 1, bool with_ids = true) const {
    std::vector<PlainEntry> plain;
    for (size_t i = 0; i < entries; ++i) {
      plain.push_back({.id = i, .key = {0.5F, static_cast<float>(i)}, .token = static_cast<Token>(i)});
    }
    InsertOperation insert;
    insert.ticket.memory = memory_;
    insert.ticket.stamp_ms = 1'000;
    insert.ticket.request = RequestIdentity{{request, 2}, 3};
    insert.partition = 5;
    insert.entries = ColumnsOf(memory_->spec, plain, with_ids);
    return insert;
  }
  template <typename Operation>
  absl::Status Submit(LoggedShardPort& port, Operation operation) {
    auto told = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    operation.ticket.done = [told](absl::StatusOr<WriteResult> result) { told->set_value(std::move(result)); };
    const absl::Status handed = port.Submit(std::move(operation));
    if (handed.ok()) told_.push_back(told->get_future());
    return handed;
  }
  LoggedShardPortOptions Over(MemoryLog& log, uint64_t most_bytes = limits::kMaxQueuedWriteBytes) const {
    return {&channel_, &log, &clock_, nullptr, most_bytes};
  }
  static std::vector<LogRecord> RecordsOf(MemoryLog& log) {
    std::vector<LoggedBytes> bytes;
    const auto reader = log.Read(0).value();
    EXPECT_TRUE(reader->Next(std::chrono::milliseconds(0), size_t{1} << 30, bytes).ok());
    std::vector<LogRecord> records;
    for (const LoggedBytes& each : bytes) records.push_back(DecodeLogRecord(each.bytes).value());
    return records;
  }
  static RequestIdentity RequestOf(LogRecord& record) { return *TicketOf(record.operation)->request; }

  MemoryHandle memory_;
  SystemClock clock_;
  Canceller canceller_;
  Replica first_, second_;
  const ShardChannel channel_{TargetOfShard(), {first_.address(), second_.address()}, nullptr, &canceller_};
  std::vector<Told> told_;
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

TEST_F(LoggedShardPortTest, WhoseClockIsWrongWritesNothing) {
  MemoryLog log;
  LoggedShardPortOptions options = Over(log);
  absl::Status clock = absl::FailedPreconditionError("the clock is wrong");
  options.check_clock = [&clock] { return clock; };
  LoggedShardPort port(options);
  EXPECT_EQ(Submit(port, Insert(1)).message(), "the clock is wrong");
  EXPECT_EQ(port.ReadStates(*memory_, ApplyStates(), 0, CallLimits()).status().message(), "the clock is wrong");
  EXPECT_EQ(log.End({}).value(), 0U) << "no marker either";
  clock = absl::OkStatus();
  ASSERT_TRUE(Submit(port, Insert(1)).ok());
  EXPECT_TRUE(told_[0].get().ok());
}

TEST(ReplicaLogTest, AppendsByARightClockAndTellsWhatFails) {
  auto owned = std::make_unique<MemoryLog>();
  MemoryLog& memory_log = *owned;
  absl::Status clock;
  std::vector<std::string> events;
  Mutex mutex;
  const auto hear = [&](std::string_view event, std::string_view) {
    MutexLock lock(&mutex);
    events.emplace_back(event);
  };
  ReplicaLog log(std::move(owned), [&clock] { return clock; }, hear);
  const auto append = [&log] {
    std::promise<absl::StatusOr<LogOffset>> told;
    log.Append("record", [&](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get();
  };
  const auto heard = [&] {
    MutexLock lock(&mutex);
    return events.size();
  };
  EXPECT_EQ(append().value(), 0U);
  memory_log.FailAppends(absl::UnavailableError("away"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(heard(), 0U) << "who reads the log tells";
  memory_log.FailAppends(absl::FailedPreconditionError("may not"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(heard(), 1U);
  clock = absl::FailedPreconditionError("the clock is wrong");
  EXPECT_EQ(append().status(), clock);
  EXPECT_EQ(heard(), 2U);
  EXPECT_EQ(log.End({}).value(), 1U);
}

TEST_F(LoggedShardPortTest, AReadWaitsForAMarkerThatWasSentAfterItBegan) {
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

TEST_F(LoggedShardPortTest, OneMarkerServesAllReadsThatCameBeforeItWasSent) {
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

TEST_F(LoggedShardPortTest, AMarkerThatIsNotAppendedIsWaitedForForThreeSecondsWhateverTheDeadline) {
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

TEST_F(LoggedShardPortTest, AReadThatNoReplicaCanAnswerYetWaitsAsLongAsItsCaller) {
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
