// A query of shards in other processes, some of which are away, silent or wrong.
#include "cluster/remote_query.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/flat_commands.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Steady = std::chrono::steady_clock;

constexpr MemoryNumber kMemory = 7;

// What a shard answers to one row: entries as near as their ids are small, with keys of one f32 where they are wanted.
NeighbourColumns ColumnsOf(const std::vector<EntryId>& ids, bool with_keys) {
  NeighbourColumns columns;
  columns.values.width = sizeof(Token);
  for (const EntryId id : ids) {
    columns.scores.push_back(-static_cast<double>(id));
    columns.ids.push_back(id);
    columns.partitions.push_back(0);
    const auto token = static_cast<Token>(id);
    columns.values.Append({reinterpret_cast<const char*>(&token), sizeof(token)});
    columns.weights.push_back(1.0F);
    columns.labels.push_back(0);
    columns.sources.push_back(0);
    columns.positions.push_back(0);
  }
  columns.offsets.push_back(ids.size());
  if (with_keys) {
    columns.key_bytes = sizeof(float);
    columns.keys.assign(ids.size() * sizeof(float), 0);
  }
  return columns;
}

// What a search finds that was not made, as the engine tells it when k is 0.
NeighbourColumns NothingOf(size_t rows) {
  NeighbourColumns columns;
  columns.offsets.assign(rows + 1, 0);
  return columns;
}

// A shard that has the entries it is told, all of them within the k nearest, and does what a test says.
class ToldShard final : public internal_wire::ShardService::Service {
 public:
  ToldShard(uint32_t number, std::vector<EntryId> ids) : number_(number), ids_(std::move(ids)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ToldShard() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // How its searches end from now on, and its scores.
  void Search(grpc::Status status) {
    MutexLock lock(&mutex_);
    searches_ = std::move(status);
  }
  void Scores(grpc::Status status) {
    MutexLock lock(&mutex_);
    scores_ = std::move(status);
  }
  // What is wrong with what its searches find from now on.
  void Spoil(std::function<void(NeighbourColumns&)> spoil) {
    MutexLock lock(&mutex_);
    spoil_ = std::move(spoil);
  }
  // And with what it makes of that.
  void SpoilReadOuts(std::function<void(std::optional<FinishedReadOut>&)> spoil) {
    MutexLock lock(&mutex_);
    spoil_read_outs_ = std::move(spoil);
  }
  // Answers no search from now on.
  void BeSilent() { silent_ = true; }
  int scored() const { return scored_; }
  // What the last search had to see.
  Sequence waited_for() const { return waited_for_; }

  grpc::Status Query(grpc::ServerContext* context, const internal_wire::Call* call,
                     internal_wire::Answer* answer) override {
    MemoryNumber memory = 0;
    std::string lease;
    QueryCommand command;
    std::string read_out;
    if (!Unflat(call->body(), memory, lease, command, read_out).ok()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "damaged"};
    }
    waited_for_ = command.at_least.parts.empty() ? 0 : command.at_least.parts.front().sequence;
    while (silent_ && !context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    QueryOutcome outcome;
    outcome.neighbours = ColumnsOf(ids_, command.with_keys);
    if (command.k == 0) outcome.neighbours = NothingOf(1);
    outcome.version = Version{memory, {{number_, 10 + number_}}};
    std::optional<FinishedReadOut> made;
    if (!read_out.empty()) {
      made = FinishedReadOut{absl::StrCat(read_out, " of ", ids_.size()), 3, -0.25, 40};
      outcome.neighbours = NeighbourColumns();
    }
    MutexLock lock(&mutex_);
    if (spoil_ != nullptr) spoil_(outcome.neighbours);
    if (spoil_read_outs_ != nullptr) spoil_read_outs_(made);
    answer->set_body(Flat(outcome, made));
    return searches_;
  }
  // Has all that is wanted.
  grpc::Status Score(grpc::ServerContext*, const internal_wire::Call* call, internal_wire::Answer* answer) override {
    ++scored_;
    MemoryNumber memory = 0;
    std::string lease;
    QueryCommand command;
    bool plain = false;
    std::vector<WantedEntry> wanted;
    if (!Unflat(call->body(), memory, lease, command, plain, wanted).ok()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "damaged"};
    }
    std::vector<EntryId> ids;
    for (const WantedEntry& each : wanted) ids.push_back(each.id);
    answer->set_body(Flat(ColumnsOf(ids, command.with_keys && !plain)));
    MutexLock lock(&mutex_);
    return scores_;
  }

 private:
  const uint32_t number_;
  const std::vector<EntryId> ids_;
  int port_ = 0;
  std::atomic<bool> silent_{false};
  std::atomic<int> scored_{0};
  std::atomic<Sequence> waited_for_{0};
  Mutex mutex_;
  grpc::Status searches_ ABSL_GUARDED_BY(mutex_);
  grpc::Status scores_ ABSL_GUARDED_BY(mutex_);
  std::function<void(NeighbourColumns&)> spoil_ ABSL_GUARDED_BY(mutex_);
  std::function<void(std::optional<FinishedReadOut>&)> spoil_read_outs_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

grpc::Status Away() { return {grpc::StatusCode::UNAVAILABLE, "it is away"}; }

// As a shard says it.
grpc::Status Says(grpc::StatusCode code, const std::string& what, std::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {code, what, details.SerializeAsString()};
}

grpc::Status Lags() { return Says(grpc::StatusCode::DEADLINE_EXCEEDED, "it lags", reason::kReplicaLagging); }

grpc::Status IsFull() {
  return Says(grpc::StatusCode::RESOURCE_EXHAUSTED, "9 searches are waiting", reason::kQueueFull);
}

// Two shards.
class RemoteQueryTest : public ::testing::Test {
 protected:
  RemoteQueryTest() {
    MemoryRecord record;
    record.number = kMemory;
    record.spec = testing::TokenMemory("wiki", 1);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  // One row for its ten nearest.
  static QueryCommand Row(bool allow_partial, std::chrono::milliseconds time = std::chrono::seconds(20)) {
    QueryCommand command;
    command.queries.Resize(sizeof(float));
    *command.queries.as<float>() = 0.0F;
    command.count = 1;
    command.k = 10;
    command.allow_partial = allow_partial;
    command.limits.deadline = Steady::now() + time;
    return command;
  }
  absl::StatusOr<QueryOutcome> Ask(QueryCommand command) { return AskWith(context_, std::move(command)); }
  absl::StatusOr<QueryOutcome> AskWith(const RemoteQueryContext& context, QueryCommand command) {
    // A thread that told may yet be on its way out.
    const auto told = std::make_shared<std::promise<absl::StatusOr<QueryOutcome>>>();
    ExecuteRemoteQuery(context, memory_, std::move(command),
                       [told](absl::StatusOr<QueryOutcome> outcome) { told->set_value(std::move(outcome)); });
    return told->get_future().get();
  }
  // The first even id that `shard` owns, from `from` on.
  EntryId OwnedBy(uint32_t shard, EntryId from) const {
    EntryId id = from;
    while (fan_.routing().OwnerOfEntry(*memory_, 0, id) != shard) id += 2;
    return id;
  }

  MemoryHandle memory_;
  ToldShard first_{0, {2, 6}};
  ToldShard second_{1, {4, 8}};
  const ShardFan fan_{1, {{first_.address()}, {second_.address()}}, nullptr};
  SearchPool pool_{2, /*max_batched_rows=*/1};
  QueryAdmission admission_;
  const RemoteQueryContext context_{&fan_, &pool_, &admission_};
};

// The first of them alone, asked to read out. What it answers goes on by search threads, or by some that take nothing.
class OneShardTest : public RemoteQueryTest {
 protected:
  OneShardTest() { stopped_.Stop(); }

  static QueryCommand RowToReadOut(bool allow_partial,
                                   std::chrono::milliseconds time = std::chrono::seconds(20)) {
    QueryCommand command = Row(allow_partial, time);
    command.read_out = [] { return std::string("what is made"); };
    return command;
  }

  const ShardFan one_{1, ShardAddresses{{first_.address()}}, nullptr};
  SearchPool stopped_{1, /*max_batched_rows=*/1};
  const RemoteQueryContext searching_{&one_, &pool_, &admission_};
  const RemoteQueryContext passing_on_{&one_, &stopped_, &admission_};
};

TEST_F(OneShardTest, WhatTheShardReadsOutIsPassedOnWithoutASearchThread) {
  for (const bool allow_partial : {false, true}) {
    const auto got = AskWith(passing_on_, RowToReadOut(allow_partial));
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_TRUE(got->read_out.has_value());
    EXPECT_EQ(got->read_out->answer, "what is made of 2");
    EXPECT_EQ(got->read_out->benefit_tokens, 3U);
    EXPECT_EQ(got->read_out->benefit_nats, -0.25);
    EXPECT_EQ(got->read_out->took_us, 40U);
    EXPECT_EQ(got->neighbours.size(), 0U);
    EXPECT_EQ(got->coverage.shards_total, 1U);
    EXPECT_EQ(got->coverage.shards_answered, 1U);
    ASSERT_EQ(got->version.parts.size(), 1U);
    EXPECT_EQ(got->version.parts.front().sequence, 10U);
  }
  EXPECT_EQ(admission_.queries(), 0U);
  EXPECT_TRUE(absl::IsUnavailable(AskWith(passing_on_, Row(false)).status())) << "neighbours are read out there";
  const auto neighbours = AskWith(searching_, Row(false));
  ASSERT_TRUE(neighbours.ok()) << neighbours.status();
  EXPECT_THAT(neighbours->neighbours.ids, ElementsAre(2, 6));
  EXPECT_FALSE(neighbours->read_out.has_value());
}

TEST_F(OneShardTest, WhatIsLongIsPassedOnByASearchThread) {
  const std::string text(1 << 20, 'x');
  first_.SpoilReadOuts([&text](std::optional<FinishedReadOut>& made) { made->answer = text; });
  EXPECT_TRUE(absl::IsUnavailable(AskWith(passing_on_, RowToReadOut(false)).status()));
  const auto got = AskWith(searching_, RowToReadOut(false));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->read_out->answer, text);
}

TEST_F(OneShardTest, WhatTheShardWaitsForIsWhatAReadPresents) {
  QueryCommand command = RowToReadOut(false);
  command.at_least = Version{kMemory, {{0, 7}}};
  ASSERT_TRUE(AskWith(passing_on_, std::move(command)).ok());
  EXPECT_EQ(first_.waited_for(), 7U);
}

TEST_F(OneShardTest, ErrorsOfTheShardAreThoseOfTheQuery) {
  first_.Search(Away());
  const absl::Status away = AskWith(searching_, RowToReadOut(false)).status();
  EXPECT_TRUE(absl::IsUnavailable(away));
  EXPECT_EQ(ReasonOf(away), reason::kShardUnavailable);
  first_.Search(IsFull());
  EXPECT_EQ(ReasonOf(AskWith(searching_, RowToReadOut(false)).status()), reason::kQueueFull);
  first_.Search({grpc::StatusCode::DATA_LOSS, "the value of entry 6 is damaged"});
  const absl::Status damaged = AskWith(searching_, RowToReadOut(true)).status();
  EXPECT_TRUE(absl::IsDataLoss(damaged));
  EXPECT_EQ(damaged.message(), "the value of entry 6 is damaged");
  EXPECT_TRUE(absl::IsUnavailable(AskWith(passing_on_, RowToReadOut(true)).status())) << "it goes by a search thread";
  first_.BeSilent();
  const absl::Status late = AskWith(searching_, RowToReadOut(false, std::chrono::milliseconds(100))).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
}

TEST_F(OneShardTest, WithoutTheShardNothingIsReadOutAndTheCoverageSaysWhy) {
  first_.BeSilent();
  const std::chrono::milliseconds time(1'500);
  const auto begin = Steady::now();
  const auto got = AskWith(searching_, RowToReadOut(true, time));
  EXPECT_LT(Steady::now() - begin, time * 11 / 10);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_FALSE(got->read_out.has_value());
  EXPECT_THAT(got->neighbours.offsets, ElementsAre(0, 0));
  EXPECT_EQ(got->coverage.shards_answered, 0U);
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(0));
  EXPECT_TRUE(absl::IsDeadlineExceeded(got->coverage.why_missing));
}

TEST_F(OneShardTest, WhatIsReadOutCountsAsItsQuestionAndItsLongestAnswer) {
  first_.BeSilent();
  const auto counted = [this](const std::function<void(QueryCommand&)>& change) {
    QueryCommand command = RowToReadOut(false, std::chrono::seconds(2));
    command.read_out_bytes = 5'000;
    change(command);
    const auto told = std::make_shared<std::promise<absl::StatusOr<QueryOutcome>>>();
    ExecuteRemoteQuery(searching_, memory_, std::move(command),
                       [told](absl::StatusOr<QueryOutcome> outcome) { told->set_value(std::move(outcome)); });
    const uint64_t bytes = admission_.bytes();
    EXPECT_TRUE(absl::IsDeadlineExceeded(told->get_future().get().status()));
    EXPECT_EQ(admission_.bytes(), 0U);
    return bytes;
  };
  EXPECT_EQ(counted([](QueryCommand&) {}), sizeof(float) + 5'000);
  EXPECT_EQ(counted([](QueryCommand& command) { command.k = limits::kEveryEntry; }), sizeof(float) + 5'000);
  const auto candidates = [](QueryCommand& command) {
    command.extra_offsets = {0, 1};
    command.extra_ids = {100};
  };
  EXPECT_LT(counted(candidates), 5'000U) << "ten neighbours, which come themselves";
}

TEST_F(OneShardTest, AnAnswerToAnotherQuestionIsDamage) {
  first_.SpoilReadOuts([](std::optional<FinishedReadOut>& made) { made.reset(); });
  EXPECT_TRUE(absl::IsDataLoss(AskWith(passing_on_, RowToReadOut(false)).status()));
  first_.SpoilReadOuts([](std::optional<FinishedReadOut>& made) { made.emplace(); });
  EXPECT_TRUE(absl::IsDataLoss(AskWith(searching_, Row(false)).status())) << "nobody asked for it";
  first_.SpoilReadOuts(nullptr);
  first_.Spoil([](NeighbourColumns& found) { found = ColumnsOf({2}, /*with_keys=*/false); });
  EXPECT_TRUE(absl::IsDataLoss(AskWith(passing_on_, RowToReadOut(false)).status())) << "neighbours beside it";
}

TEST_F(OneShardTest, WhatIsMergedIsNotReadOutByShards) {
  bool called = false;
  const auto read_out = [&called] {
    called = true;
    return std::string("what is made");
  };
  QueryCommand several = Row(false);
  several.read_out = read_out;
  const auto merged = Ask(std::move(several));
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_THAT(merged->neighbours.ids, ElementsAre(2, 4, 6, 8));
  EXPECT_FALSE(merged->read_out.has_value());

  QueryCommand candidates = Row(false);
  candidates.read_out = read_out;
  candidates.extra_offsets = {0, 1};
  candidates.extra_ids = {100};
  const auto added = AskWith(searching_, std::move(candidates));
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_THAT(added->neighbours.ids, ElementsAre(2, 6, 100));
  EXPECT_FALSE(added->read_out.has_value());
  EXPECT_FALSE(called);
}

TEST_F(RemoteQueryTest, AnAnswerOfAllShardsIsWholeWhetherOrNotAPartWouldDo) {
  for (const bool allow_partial : {false, true}) {
    const auto got = Ask(Row(allow_partial));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 4, 6, 8));
    EXPECT_EQ(got->coverage.shards_total, 2U);
    EXPECT_EQ(got->coverage.shards_answered, 2U);
    EXPECT_THAT(got->coverage.missing_shards, IsEmpty());
    EXPECT_TRUE(got->coverage.why_missing.ok());
    EXPECT_EQ(got->version.parts.size(), 2U);
  }
}

TEST_F(RemoteQueryTest, AShardThatIsAwayIsAnErrorUnlessAPartWillDo) {
  second_.Search(Away());
  const absl::Status whole = Ask(Row(/*allow_partial=*/false)).status();
  EXPECT_EQ(whole.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(whole), reason::kShardUnavailable);

  const auto got = Ask(Row(/*allow_partial=*/true));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 6));
  EXPECT_EQ(got->coverage.shards_total, 2U);
  EXPECT_EQ(got->coverage.shards_answered, 1U);
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(1));
  EXPECT_EQ(got->coverage.why_missing.code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(got->version.parts.size(), 1U);
  EXPECT_EQ(got->version.parts.front().shard, 0U);
  EXPECT_EQ(got->version.parts.front().sequence, 10U);
  EXPECT_EQ(admission_.queries(), 0U);
}

TEST_F(RemoteQueryTest, AShardThatIsSilentIsWaitedForUntilATenthOfTheDeadlineIsLeft) {
  second_.BeSilent();
  const std::chrono::milliseconds time(1'500);
  const auto begin = Steady::now();
  const auto got = Ask(Row(/*allow_partial=*/true, time));
  const auto took = Steady::now() - begin;
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 6));
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(1));
  EXPECT_EQ(got->coverage.why_missing.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GE(took, time * 8 / 10);
  EXPECT_LT(took, time * 11 / 10);
  EXPECT_EQ(Ask(Row(/*allow_partial=*/false, std::chrono::milliseconds(100))).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(RemoteQueryTest, AShardThatHasNotAppliedWhatATokenNamesIsMissingAndNeverStale) {
  second_.Search(Lags());
  QueryCommand command = Row(/*allow_partial=*/true);
  command.at_least = Version{kMemory, {{0, 3}, {1, 99}}};
  const auto got = Ask(std::move(command));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(first_.waited_for(), 3U);
  EXPECT_EQ(second_.waited_for(), 99U);
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 6));
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(1));
  EXPECT_EQ(ReasonOf(got->coverage.why_missing), reason::kReplicaLagging);
}

// It is given less time than the query has: without a part it might have answered.
TEST_F(RemoteQueryTest, AShardThatHasTooMuchToDoToAnswerInTimeIsMissing) {
  second_.Search(IsFull());
  const absl::Status whole = Ask(Row(/*allow_partial=*/false)).status();
  EXPECT_EQ(whole.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(whole), reason::kQueueFull);

  const auto got = Ask(Row(/*allow_partial=*/true));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 6));
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(1));
  EXPECT_EQ(ReasonOf(got->coverage.why_missing), reason::kQueueFull);

  first_.Search(IsFull());
  const auto nothing = Ask(Row(/*allow_partial=*/true));
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_EQ(nothing->coverage.shards_answered, 0U);
  EXPECT_EQ(nothing->coverage.why_missing.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(RemoteQueryTest, WhatIsNotAbsenceStaysAnError) {
  first_.Search(Away());
  for (const auto code : {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::NOT_FOUND,
                          grpc::StatusCode::FAILED_PRECONDITION, grpc::StatusCode::RESOURCE_EXHAUSTED,
                          grpc::StatusCode::DATA_LOSS}) {
    second_.Search({code, "no"});
    EXPECT_EQ(static_cast<int>(Ask(Row(/*allow_partial=*/true)).status().code()), static_cast<int>(code));
  }
}

TEST_F(RemoteQueryTest, WhatIsNotAsWideAsTheMemorySaysIsDamage) {
  const std::vector<std::function<void(NeighbourColumns&)>> spoils = {
      [](NeighbourColumns& found) {
        found.values.width = 1;
        found.values.bytes.resize(found.size());
      },
      [](NeighbourColumns& found) { found.keys.clear(); },
      [](NeighbourColumns& found) {
        found.key_bytes = 1;
        found.keys.resize(found.size());
      },
      [](NeighbourColumns& found) {
        found = NothingOf(1);
        found.values.width = size_t{1} << 60;
        found.key_bytes = size_t{1} << 60;
      },
      [](NeighbourColumns& found) { found = NothingOf(1); },  // as of a k of 0
  };
  for (size_t i = 0; i < spoils.size(); ++i) {
    first_.Spoil(spoils[i]);
    QueryCommand command = Row(/*allow_partial=*/true);
    command.with_keys = true;
    EXPECT_EQ(Ask(std::move(command)).status().code(), absl::StatusCode::kDataLoss) << i;
  }
  first_.Spoil(nullptr);
  second_.Spoil([](NeighbourColumns& found) {
    found.key_bytes = sizeof(float);
    found.keys.assign(found.size() * sizeof(float), 0);
  });
  EXPECT_EQ(Ask(Row(/*allow_partial=*/true)).status().code(), absl::StatusCode::kDataLoss) << "nobody asked for keys";
}

TEST_F(RemoteQueryTest, ValuesOfAnyLengthHaveNoWidth) {
  MemoryRecord record = *memory_;
  record.spec.value_kind = ValueKind::kBytes;
  record.spec.vocabulary_size = 0;
  memory_ = std::make_shared<const MemoryRecord>(record);
  EXPECT_EQ(Ask(Row(/*allow_partial=*/false)).status().code(), absl::StatusCode::kDataLoss) << "these are tokens";

  first_.Spoil([](NeighbourColumns& found) {
    found.values = ValueColumn();
    for (const EntryId id : found.ids) found.values.Append(absl::StrCat("value ", id));
  });
  second_.Spoil([](NeighbourColumns& found) { found = NothingOf(1); });
  const auto got = Ask(Row(/*allow_partial=*/false));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 6));
  EXPECT_EQ(got->neighbours.values.At(1), "value 6");
}

TEST_F(RemoteQueryTest, KeysComeWithWhatIsFoundAndWithCandidatesAndNotWithSuccessors) {
  const EntryId there = OwnedBy(0, 100);
  QueryCommand command = Row(/*allow_partial=*/false);
  command.with_keys = true;
  command.extra_offsets = {0, 1};
  command.extra_ids = {there};
  command.with_successors = true;
  const auto got = Ask(std::move(command));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 4, 6, 8, there));
  EXPECT_EQ(got->neighbours.key_bytes, sizeof(float));
  EXPECT_EQ(got->neighbours.keys.size(), 5 * sizeof(float));
  EXPECT_THAT(got->has_successor, Each(1));
}

TEST_F(RemoteQueryTest, ASearchForNothingFindsCandidates) {
  const EntryId there = OwnedBy(0, 100);
  QueryCommand command = Row(/*allow_partial=*/false);
  command.k = 0;
  command.extra_offsets = {0, 1};
  command.extra_ids = {there};
  const auto got = Ask(std::move(command));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(there));
}

TEST_F(RemoteQueryTest, WithoutAnyShardThereAreNoNeighboursOfEachRowAndTheCoverageSaysWhy) {
  first_.Search(Lags());
  second_.Search(Away());
  const auto got = Ask(Row(/*allow_partial=*/true));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.offsets, ElementsAre(0, 0));
  EXPECT_EQ(got->neighbours.values.width, sizeof(Token));
  EXPECT_EQ(got->coverage.shards_total, 2U);
  EXPECT_EQ(got->coverage.shards_answered, 0U);
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(0, 1));
  EXPECT_EQ(got->coverage.why_missing.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(got->version.parts, IsEmpty());
}

TEST_F(RemoteQueryTest, AMissingShardIsNotAskedToScore) {
  second_.Search(Away());
  const EntryId there = OwnedBy(0, 100);
  const EntryId elsewhere = OwnedBy(1, 100);
  QueryCommand command = Row(/*allow_partial=*/true);
  command.extra_offsets = {0, 2};
  command.extra_ids = {there, elsewhere};
  command.with_successors = true;
  const auto got = Ask(std::move(command));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 6, there));
  EXPECT_EQ(second_.scored(), 0);
  ASSERT_EQ(got->has_successor.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(got->has_successor[i] != 0, fan_.routing().OwnerOfEntry(*memory_, 0, got->successors[i]) == 0U);
  }
}

TEST_F(RemoteQueryTest, AShardThatIsAwayWhenItIsToScoreIsMissingThoughWhatItFoundIsThere) {
  second_.Scores(Away());
  const EntryId elsewhere = OwnedBy(1, 100);
  const auto asked = [&](bool allow_partial) {
    QueryCommand command = Row(allow_partial);
    command.extra_offsets = {0, 1};
    command.extra_ids = {elsewhere};
    return Ask(std::move(command));
  };
  EXPECT_EQ(asked(/*allow_partial=*/false).status().code(), absl::StatusCode::kUnavailable);
  const auto got = asked(/*allow_partial=*/true);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->neighbours.ids, ElementsAre(2, 4, 6, 8));
  EXPECT_EQ(got->coverage.shards_answered, 1U);
  EXPECT_THAT(got->coverage.missing_shards, ElementsAre(1));
  EXPECT_EQ(got->version.parts.size(), 2U);
}

}  // namespace
}  // namespace mneme
