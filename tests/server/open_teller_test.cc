// How a replica of shard 0 comes to tell names, and what it answers to front ends and to the others.
#include "server/open_teller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/error_reason.h"
#include "common/mutex.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_checkpoints.h"
#include "engine/log_record.h"
#include "server/checkpoint_handlers.h"
#include "server/cluster_handlers.h"
#include "server/hosted_shard.h"
#include "server/shard_handlers.h"
#include "tests/engine/catalogue_tellers.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::CutLog;
using testing::MemoryLog;
using testing::TokenMemory;

class OpenTellerTest : public ::testing::Test {
 protected:
  OpenTellerOptions Options(const std::string& name, uint32_t shards = 2) {
    OpenTellerOptions options;
    options.data_dir = directory_ / name;
    options.shards = shards;
    options.addresses = {"127.0.0.1:1"};  // of this one alone
    options.log = line_;
    options.give_up = [this] { return give_up_.load(); };
    options.events = [this](std::string_view event, std::string_view) {
      if (event == "names_awaited") awaited_ = true;
    };
    return options;
  }
  absl::StatusOr<OpenedTeller> Open(const std::string& name, uint32_t shards = 2) {
    return OpenTeller(Options(name, shards));
  }
  void Append(LoggedOperation operation, uint64_t deployment) {
    LogRecord record;
    record.operation = std::move(operation);
    record.deployment = deployment;
    std::promise<void> told;
    log_->Append(EncodeLogRecord(record), [&](const absl::StatusOr<LogOffset>&) { told.set_value(); });
    told.get_future().wait();
  }
  // What it comes to when it is to give up once it waits.
  absl::Status GivenUp(const std::string& name) {
    std::future<absl::Status> opening = std::async(std::launch::async, [&] { return Open(name).status(); });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!awaited_ && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_TRUE(awaited_);
    give_up_ = true;
    return opening.get();
  }

  TemporaryDirectory directory_;
  std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  std::shared_ptr<CutLog> line_ = std::make_shared<CutLog>(log_);
  std::atomic<bool> give_up_{false};
  std::atomic<bool> awaited_{false};
};

TEST_F(OpenTellerTest, TheFirstOnAnEmptyLogBeginsTheDeployment) {
  std::vector<std::future<absl::StatusOr<OpenedTeller>>> opening;
  for (const char* name : {"a", "b", "c"}) {
    opening.push_back(std::async(std::launch::async, [this, name] { return Open(name); }));
  }
  uint64_t deployment = 0;
  for (auto& each : opening) {
    const absl::StatusOr<OpenedTeller> opened = each.get();
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_NE(opened->teller->deployment(), 0U);
    if (deployment == 0) deployment = opened->teller->deployment();
    EXPECT_EQ(opened->teller->deployment(), deployment);
    EXPECT_EQ(opened->directory->deployment(), deployment);
    EXPECT_TRUE(opened->teller->applier().status().ok()) << opened->teller->applier().status();
    EXPECT_TRUE(opened->reached_log);
  }
  const absl::StatusOr<OpenedTeller> again = Open("a");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->teller->deployment(), deployment);
}

TEST_F(OpenTellerTest, WhatItHadItTellsWithoutItsLog) {
  {
    const OpenedTeller opened = Open("a").value();
    ASSERT_TRUE(opened.teller
                    ->Change({0, 0, CreateMemoryCommand{TokenMemory("wiki", 4), NewChangeRequest()}},
                             testing::CatalogueTellers::Within(std::chrono::seconds(30)))
                    .ok());
  }
  line_->Cut(true);
  const absl::StatusOr<OpenedTeller> opened = Open("a");
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_FALSE(opened->reached_log);
  EXPECT_TRUE(opened->teller->names().Find("wiki").ok());
}

TEST_F(OpenTellerTest, WhatAnOperatorSetHoldsWhateverOptionsSay) {
  { ASSERT_TRUE(Open("a").ok()); }
  const uint64_t deployment = DataDirectory::StoredDeployment(directory_ / "a").value().value();
  Append(SetReplicasCommand{0, {"127.0.0.1:1"}, {"127.0.0.1:3"}, NewChangeRequest(), true}, deployment);
  OpenTellerOptions options = Options("a");
  options.addresses = {"127.0.0.1:2"};
  std::atomic<bool> told{false};
  options.events = [&](std::string_view event, std::string_view) {
    if (event == "replica_not_listed") told = true;
  };
  const absl::StatusOr<OpenedTeller> opened = OpenTeller(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(told);
  EXPECT_FALSE(opened->teller->listed());
  EXPECT_EQ(opened->teller->names().ReplicasOf(0), (ReplicaList{{"127.0.0.1:3"}, true}));
}

TEST_F(OpenTellerTest, OneThatRunsSaysWhenItIsDrainedAndAddedAgain) {
  OpenTellerOptions options = Options("a");
  Mutex mutex;
  std::vector<std::string> told;
  options.events = [&](std::string_view event, std::string_view) {
    MutexLock lock(&mutex);
    if (event == "replica_not_listed" || event == "replica_listed") told.emplace_back(event);
  };
  const OpenedTeller opened = OpenTeller(options).value();
  const uint64_t deployment = opened.teller->deployment();
  const std::vector<std::string> with = {"127.0.0.1:1", "127.0.0.1:3"};
  const std::vector<std::string> without = {"", "127.0.0.1:3"};
  Append(SetReplicasCommand{0, {"127.0.0.1:1"}, with, NewChangeRequest(), true}, deployment);
  Append(SetReplicasCommand{0, with, without, NewChangeRequest(), true}, deployment);
  Append(SetReplicasCommand{0, without, with, NewChangeRequest(), true}, deployment);
  ASSERT_TRUE(opened.teller->applier().AwaitEnd(testing::CatalogueTellers::Within(std::chrono::seconds(30))).ok());
  MutexLock lock(&mutex);
  EXPECT_EQ(told, (std::vector<std::string>{"replica_listed", "replica_not_listed", "replica_listed"}));
}

TEST_F(OpenTellerTest, OneThatWasAwayGoesByTheListThatWasSetMeanwhile) {
  const std::vector<std::string> alone = {"127.0.0.1:1"};
  uint64_t deployment = 0;
  {
    const OpenedTeller opened = Open("a").value();
    deployment = opened.teller->deployment();
    Append(SetReplicasCommand{0, alone, alone, NewChangeRequest(), true}, deployment);
    const auto limits = testing::CatalogueTellers::Within(std::chrono::seconds(30));
    ASSERT_TRUE(opened.teller->applier().AwaitEnd(limits).ok());
    ASSERT_EQ(opened.teller->names().ReplicasOf(0), (ReplicaList{alone, true}));
  }
  for (int i = 0; i < 200; ++i) {
    Append(CreateMemoryCommand{TokenMemory("m" + std::to_string(i), 4), NewChangeRequest()}, deployment);
  }
  const std::vector<std::string> moved = {"", "127.0.0.1:3"};
  Append(SetReplicasCommand{0, alone, moved, NewChangeRequest(), true}, deployment);
  const absl::StatusOr<OpenedTeller> opened = Open("a");
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->teller->names().ReplicasOf(0), (ReplicaList{moved, true}));
  EXPECT_FALSE(opened->teller->listed());
}

TEST_F(OpenTellerTest, NamesOfABackupAreToldOnceTheLogIsApplied) {
  { ASSERT_TRUE(Open("a").ok()); }
  const std::string restored = directory_ / "a/RESTORED";
  std::ofstream{restored};
  line_->Cut(true);
  EXPECT_EQ(GivenUp("a").code(), absl::StatusCode::kCancelled) << "what it has may be old";
  EXPECT_TRUE(std::filesystem::exists(restored));
  give_up_ = false;
  line_->Cut(false);
  const uint64_t deployment = DataDirectory::StoredDeployment(directory_ / "a").value().value();
  Append(CreateMemoryCommand{TokenMemory("since", 4), NewChangeRequest()}, deployment);
  {
    const absl::StatusOr<OpenedTeller> opened = Open("a");
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_TRUE(opened->teller->names().Find("since").ok());
  }
  EXPECT_FALSE(std::filesystem::exists(restored));
  line_->Cut(true);
  EXPECT_TRUE(Open("a").ok()) << "from then on it tells what it has";
}

TEST_F(OpenTellerTest, AnEmptyDirectoryWaitsForTheLog) {
  line_->Cut(true);
  EXPECT_EQ(GivenUp("a").code(), absl::StatusCode::kCancelled);
}

TEST_F(OpenTellerTest, OneThatTheLogDoesNotReachWaitsForAnother) {
  { ASSERT_TRUE(Open("a").ok()); }
  const uint64_t deployment = DataDirectory::StoredDeployment(directory_ / "a").value().value();
  for (const char* name : {"x", "y", "z"}) {
    Append(CreateMemoryCommand{TokenMemory(name, 4), NewChangeRequest()}, deployment);
  }
  log_->DropBefore(3);
  EXPECT_EQ(GivenUp("b").code(), absl::StatusCode::kCancelled) << "it cannot know which deployment it is";
  awaited_ = give_up_ = false;
  EXPECT_EQ(GivenUp("a").code(), absl::StatusCode::kCancelled);
}

TEST_F(OpenTellerTest, ALogThatIsNotOfTheDirectoryIsRefused) {
  { ASSERT_TRUE(Open("a").ok()); }
  std::filesystem::remove_all(directory_ / "a/catalogue");
  log_ = std::make_shared<MemoryLog>();
  line_ = std::make_shared<CutLog>(log_);
  const absl::Status empty = Open("a").status();
  EXPECT_EQ(empty.code(), absl::StatusCode::kFailedPrecondition) << empty;
  EXPECT_THAT(std::string(empty.message()), HasSubstr("the log of names is empty"));
  Append(FoundCommand{2}, 77);
  const absl::Status other = Open("a").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition) << other;
  EXPECT_THAT(std::string(other.message()), HasSubstr("another deployment"));
}

TEST_F(OpenTellerTest, AnotherTopicIsRefused) {
  Append(ReadMarker{}, 77);
  const absl::Status strange = Open("a").status();
  EXPECT_EQ(strange.code(), absl::StatusCode::kFailedPrecondition) << strange;
  EXPECT_THAT(std::string(strange.message()), HasSubstr("is it another topic"));
  log_ = std::make_shared<MemoryLog>();
  line_ = std::make_shared<CutLog>(log_);
  Append(FoundCommand{3}, 77);
  const absl::Status shards = Open("a").status();
  EXPECT_EQ(shards.code(), absl::StatusCode::kFailedPrecondition) << shards;
  EXPECT_THAT(std::string(shards.message()), HasSubstr("3 shards; 2 were given"));
}

// What such a replica answers, with its shard.
class TellerHandlersTest : public OpenTellerTest {
 protected:
  TellerHandlersTest() {
    opened_ = Open("shard-0").value();
    DeploymentOptions options;
    options.data_dir = directory_ / "shard-0";
    options.shards = 2;
    options.search_threads = 1;
    HostedShard& hosted = options.hosted.emplace();
    hosted.identity = opened_.teller->deployment();
    hosted.directory = opened_.directory;
    hosted.catalogue = opened_.teller->names().Everything();
    hosted.log = entries_;
    hosted.address = "127.0.0.1:1";
    shard_ = LocalDeployment::Open(std::move(options)).value();
    opened_.teller->applier().Forward(
        [this](const CatalogueChanges& changes) { return shard_->TakeCatalogue(changes); });
    front_end_.Serve(opened_.teller.get());
  }
  ~TellerHandlersTest() override { opened_.teller.reset(); }

  CallContext Within(std::chrono::milliseconds time) {
    return {front_end_, *shard_, testing::CatalogueTellers::Within(time), caller_};
  }
  internal::v1::Call CallOf(std::string body, uint64_t deployment) const {
    internal::v1::Call call;
    call.mutable_target()->set_protocol(kInternalProtocol);
    call.mutable_target()->set_deployment(deployment);
    call.mutable_target()->set_shard(0);
    call.mutable_target()->set_shards(2);
    call.set_body(std::move(body));
    return call;
  }
  internal::v1::Call CallOf(std::string body) const { return CallOf(std::move(body), shard_->identity()); }
  absl::StatusOr<std::string> Change(LoggedOperation change) {
    internal::v1::Answer answer;
    LogRecord record;
    record.operation = std::move(change);
    RETURN_IF_ERROR(HandleChange(Within(std::chrono::seconds(30)), CallOf(EncodeLogRecord(record)), &answer));
    return answer.body();
  }

  OpenedTeller opened_;
  const std::shared_ptr<MemoryLog> entries_ = std::make_shared<MemoryLog>();
  Log log_lines_{LogFormat::kJson, LogLevel::kError};
  Metrics metrics_;
  const std::unique_ptr<AccessControl> access_ = AccessControl::New("").value();
  const Caller caller_;
  FrontEnd front_end_{&log_lines_, &metrics_, access_.get(), 1};
  std::unique_ptr<LocalDeployment> shard_;
};

TEST_F(TellerHandlersTest, AChangeReachesTheShardBeforeItIsAcknowledged) {
  const CreateMemoryCommand create{TokenMemory("wiki", 4), NewChangeRequest()};
  MemoryRecord made;
  ASSERT_TRUE(Unflat(Change(create).value(), made).ok());
  EXPECT_EQ(made.spec.name, "wiki");
  EXPECT_EQ(shard_->names().FindByNumber(made.number)->spec, made.spec);
  MemoryRecord again;
  ASSERT_TRUE(Unflat(Change(create).value(), again).ok());
  EXPECT_EQ(again, made);
  MemoryHandle before;
  ASSERT_TRUE(Unflat(Change(SetAliasCommand{{"live", "wiki", {}}, NewChangeRequest()}).value(), before).ok());
  EXPECT_EQ(before, nullptr);
  ASSERT_TRUE(Unflat(Change(SetAliasCommand{{"live", "wiki", {}}, NewChangeRequest()}).value(), before).ok());
  EXPECT_EQ(before->number, made.number);
  EXPECT_EQ(ReasonOf(Change(DropMemoryCommand{"wiki", NewChangeRequest()}).status()), reason::kMemoryAliased);
  ASSERT_TRUE(Change(DropAliasCommand{"live", NewChangeRequest()}).ok());
  ASSERT_TRUE(Change(DropMemoryCommand{"wiki", NewChangeRequest()}).ok());
  EXPECT_EQ(shard_->names().FindByNumber(made.number), nullptr);
  EXPECT_EQ(Change(ReadMarker{}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(shard_->CreateMemory(TokenMemory("past", 4)).status().code(), absl::StatusCode::kFailedPrecondition)
      << "nothing changes names but their log";
}

TEST_F(TellerHandlersTest, AWatcherIsToldWithPlacesInTheLog) {
  ASSERT_TRUE(Change(CreateMemoryCommand{TokenMemory("wiki", 4), NewChangeRequest()}).ok());
  internal::v1::WatchRequest request;
  request.set_protocol(kInternalProtocol);
  request.set_shards(2);
  request.set_watcher("front end");
  internal::v1::WatchAnswer answer;
  std::promise<absl::Status> told;
  ASSERT_TRUE(HandleWatch(Within(std::chrono::seconds(30)), request, &answer,
                          [&](const absl::Status& status) { told.set_value(status); })
                  .ok());
  ASSERT_TRUE(told.get_future().get().ok());
  EXPECT_EQ(answer.deployment(), shard_->identity());
  EXPECT_EQ(answer.epoch(), shard_->identity());
  EXPECT_EQ(answer.revision(), log_->End({}).value());
  EXPECT_GT(answer.lease_ms(), 0U);
  EXPECT_FALSE(answer.cut_off());
  CatalogueChanges changes;
  ASSERT_TRUE(Unflat(answer.changes(), changes).ok());
  EXPECT_TRUE(changes.whole);
  ASSERT_EQ(changes.memories.size(), 1U);
}

TEST_F(TellerHandlersTest, ReplicasAreSetThroughATellerAndOneProcessAloneHasNone) {
  ASSERT_TRUE(Change(SetReplicasCommand{1, {}, {"a:1"}, NewChangeRequest(), true}).ok());
  EXPECT_EQ(Change(SetReplicasCommand{1, {}, {"b:2"}, NewChangeRequest(), true}).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Change(SetReplicasCommand{1, {"a:1"}, {"a:1", "", "", "a:1"}, NewChangeRequest(), true}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(shard_->names().ReplicasOf(1), (ReplicaList{{"a:1"}, true})) << "the shard is told";
  const Tell<v1::ChangeReplicasResponse> tell = [](const v1::ChangeReplicasResponse&) { return true; };
  v1::ChangeReplicasRequest request;
  const auto code = [&] { return HandleChangeReplicas(Within(std::chrono::seconds(30)), request, tell).code(); };
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  request.set_add("nowhere");
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  request.set_add("a:1");
  request.set_drain("a:1");
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  request.set_drain("b:0");
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  request.set_drain("b:2");
  EXPECT_EQ(code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TellerHandlersTest, OneWhoseNamesHaveEndedSaysThatItHasFailed) {
  const auto describe = [this] {
    internal::v1::Answer answer;
    EXPECT_TRUE(HandleDescribeReplica(Within(std::chrono::seconds(30)), CallOf(Flat()), &answer).ok());
    ReplicaDescription told;
    EXPECT_TRUE(Unflat(answer.body(), told).ok());
    return told;
  };
  const ReplicaDescription serving = describe();
  EXPECT_EQ(serving.state, ReplicaState::kServing) << serving.detail;
  EXPECT_EQ(serving.address, "127.0.0.1:1");
  Append(CreateMemoryCommand{TokenMemory("wiki", 4), NewChangeRequest()}, shard_->identity() + 1);
  EXPECT_FALSE(opened_.teller->applier()
                   .AwaitHandled(100, testing::CatalogueTellers::Within(std::chrono::seconds(30)))
                   .ok());
  const ReplicaDescription failed = describe();
  EXPECT_EQ(failed.state, ReplicaState::kFailed) << "though its entries go on";
  EXPECT_THAT(failed.detail, HasSubstr("it tells no names"));
}

TEST_F(TellerHandlersTest, TheOthersAreAnsweredAlsoWhileItReplays) {
  ASSERT_TRUE(Change(CreateMemoryCommand{TokenMemory("wiki", 4), NewChangeRequest()}).ok());
  front_end_.SetReplaying(true);
  const CallContext context = Within(std::chrono::seconds(30));
  internal::v1::Answer answer;
  const Sequence all = log_->End({}).value();
  const std::string behind = Flat(std::string("other:1"), SystemClock().NowMs(), all - 1);
  EXPECT_EQ(HandlePromise(context, CallOf(behind), &answer).code(), absl::StatusCode::kUnavailable)
      << "it lacks something, and may tell no names by a promise";
  ASSERT_TRUE(HandlePromise(context, CallOf(Flat(std::string("other:1"), SystemClock().NowMs(), all)), &answer).ok());
  Sequence handled = 0;
  int64_t now_ms = 0;
  ASSERT_TRUE(Unflat(answer.body(), handled, now_ms).ok());
  EXPECT_EQ(handled, log_->End({}).value());
  EXPECT_TRUE(HandleConfirm(context, CallOf(Flat(LogOffset{handled - 1})), &answer).ok());
  // Who does not know the deployment yet is told it.
  ASSERT_TRUE(HandleSnapshot(context, CallOf(Flat(), 0), &answer).ok());
  uint64_t deployment = 0;
  CatalogueSnapshot snapshot;
  ASSERT_TRUE(Unflat(answer.body(), deployment, snapshot).ok());
  EXPECT_EQ(deployment, shard_->identity());
  EXPECT_EQ(snapshot.applied, handled);
  EXPECT_EQ(snapshot.names.memories.size(), 1U);
  EXPECT_EQ(snapshot.remembered.size(), 2U) << "who tells names, and the memory";
  EXPECT_EQ(snapshot.names.replicas.at(0), (ReplicaList{{"127.0.0.1:1"}, false}));
  EXPECT_EQ(HandleSnapshot(context, CallOf(Flat(), shard_->identity() + 1), &answer).code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mneme
