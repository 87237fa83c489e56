// Replicas that are added and drained by a front end, over processes that say what a test wants.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/remote_deployment.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_checkpoints.h"
#include "engine/log_record.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MemoryLog;
using Steady = std::chrono::steady_clock;

namespace wire = internal::v1;

constexpr uint64_t kDeployment = 7;

// The one teller: takes lists as a catalogue does, and answers once its watcher has them.
class Names final : public wire::CatalogueService::Service {
 public:
  ReplicaList Of(uint32_t shard) const {
    MutexLock lock(&mutex_);
    const auto at = lists_.find(shard);
    return at == lists_.end() ? ReplicaList() : at->second;
  }
  // Another sets this list just before the next change.
  void SetBeforeNext(uint32_t shard, std::vector<std::string> addresses) {
    MutexLock lock(&mutex_);
    meanwhile_ = {{shard, ReplicaList{std::move(addresses), true}}};
  }
  int changes() const { return changes_; }
  int watched() const { return watched_; }

  grpc::Status Watch(grpc::ServerContext*, const wire::WatchRequest* request, wire::WatchAnswer* answer) override {
    if (request->leaving()) return grpc::Status::OK;
    ++watched_;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CatalogueChanges changes;
    changes.whole = request->epoch() == 0;
    changes.next_number = 1;
    MutexLock lock(&mutex_);
    taken_ = std::max(taken_, request->revision());
    changes.replicas = lists_;
    changes.revision = revision_;
    answer->set_deployment(kDeployment);
    answer->set_epoch(kDeployment);
    answer->set_revision(revision_);
    answer->set_lease_ms(5'000);
    answer->set_now_ms(SystemClock().NowMs());
    answer->set_changes(Flat(changes));
    return grpc::Status::OK;
  }
  grpc::Status Change(grpc::ServerContext*, const wire::Call* call, wire::Answer*) override {
    ++changes_;
    const auto record = DecodeLogRecord(call->body());
    if (!record.ok()) return {grpc::StatusCode::INVALID_ARGUMENT, record.status().ToString()};
    const auto* const set = std::get_if<SetReplicasCommand>(&record->operation);
    if (set == nullptr || !set->fixed) return {grpc::StatusCode::INVALID_ARGUMENT, "it sets no replicas for good"};
    const bool done = Apply(*set);
    while (!Told()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return done ? grpc::Status::OK : grpc::Status(grpc::StatusCode::ABORTED, "another list was expected");
  }

 private:
  bool Apply(const SetReplicasCommand& set) {
    MutexLock lock(&mutex_);
    for (auto& [shard, list] : std::exchange(meanwhile_, {})) {
      lists_[shard] = list;
      ++revision_;
    }
    ReplicaList& list = lists_[set.shard];
    if (list.addresses != set.expected) return false;
    list = {set.replicas, true};
    ++revision_;
    return true;
  }
  bool Told() const {
    MutexLock lock(&mutex_);
    return taken_ >= revision_;
  }

  std::atomic<int> changes_{0};
  std::atomic<int> watched_{0};
  mutable Mutex mutex_;
  ReplicaLists lists_ ABSL_GUARDED_BY(mutex_);
  ReplicaLists meanwhile_ ABSL_GUARDED_BY(mutex_);
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A process, which says of itself what a test wants.
class Process final : public wire::ShardService::Service {
 public:
  explicit Process(wire::CatalogueService::Service* names = nullptr) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    if (names != nullptr) builder.RegisterService(names);
    server_ = builder.BuildAndStart();
  }
  ~Process() override { Stop(); }
  void Stop() { server_->Shutdown(Deadline()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Be(ReplicaState state) { state_ = state; }
  // As its own options have it.
  void CallItself(const std::string& own) {
    MutexLock lock(&mutex_);
    own_ = own;
  }
  void Refuse(const std::string& why) {
    MutexLock lock(&mutex_);
    why_ = why;
  }

  grpc::Status DescribeReplica(grpc::ServerContext*, const wire::Call*, wire::Answer* answer) override {
    ReplicaDescription told;
    {
      MutexLock lock(&mutex_);
      if (!why_.empty()) return {grpc::StatusCode::FAILED_PRECONDITION, why_};
      told.address = own_.empty() ? address() : own_;
    }
    told.state = state_;
    if (told.state == ReplicaState::kFailed) told.detail = "its disk is full";
    told.applied = 3;
    answer->set_body(Flat(told));
    return grpc::Status::OK;
  }

 private:
  static std::chrono::system_clock::time_point Deadline() {
    return std::chrono::system_clock::now() + std::chrono::milliseconds(100);
  }

  int port_ = 0;
  std::atomic<ReplicaState> state_{ReplicaState::kServing};
  Mutex mutex_;
  std::string why_ ABSL_GUARDED_BY(mutex_);
  std::string own_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

// Two shards: 0 with names, and 1 with one replica that options name.
class ReplicaChangesTest : public ::testing::Test {
 protected:
  ReplicaChangesTest() {
    RemoteDeploymentOptions options;
    options.shards = {{zero_.address()}, {first_.address()}};
    options.logs = {std::make_shared<MemoryLog>(), std::make_shared<MemoryLog>()};
    options.search_threads = 1;
    deployment_ = RemoteDeployment::Open(std::move(options)).value();
  }

  absl::StatusOr<ReplicaChangeOutcome> Change(const std::string& add, const std::string& drain, uint32_t shard = 1) {
    CallLimits limits;
    limits.deadline = Steady::now() + std::chrono::seconds(60);
    return deployment_->ChangeReplicas({add, drain, shard}, limits, [this](const ReplicaChangeStep& step) {
      MutexLock lock(&mutex_);
      const bool waits = std::string(step.stage) == "waiting";
      if (!waits) noted_ = step.replica.detail;
      std::string said = waits ? absl::StrCat(step.stage, static_cast<int>(step.replica.state)) : step.stage;
      if (said_.empty() || said_.back() != said) said_.push_back(std::move(said));
      return true;
    });
  }
  std::vector<std::string> said() {
    MutexLock lock(&mutex_);
    return std::exchange(said_, {});
  }
  // Of the list that was changed last.
  std::string noted() {
    MutexLock lock(&mutex_);
    return noted_;
  }
  // Whom the front end asks.
  std::vector<std::string> Asked(uint32_t shard) const {
    std::vector<std::string> addresses;
    const absl::Status status = deployment_->DescribeReplicas({}, [&](const ReplicaDescription& told) {
      if (told.shard == shard) addresses.push_back(told.address);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return addresses;
  }

  Names names_;
  Process zero_{&names_};
  Process first_;
  Process second_;
  Process third_;
  Mutex mutex_;
  std::vector<std::string> said_ ABSL_GUARDED_BY(mutex_);
  std::string noted_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<RemoteDeployment> deployment_;
};

TEST_F(ReplicaChangesTest, OneIsAddedOnceItServes) {
  second_.Be(ReplicaState::kReplaying);
  auto adding = std::async(std::launch::async, [this] { return Change(second_.address(), ""); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(names_.changes(), 0);
  EXPECT_THAT(Asked(1), ElementsAre(first_.address()));
  second_.Be(ReplicaState::kServing);
  const auto added = adding.get();
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(added->shard, 1U);
  EXPECT_THAT(added->replicas, ElementsAre(first_.address(), second_.address()));
  EXPECT_THAT(said(), ElementsAre("waiting2", "waiting1", "adding"));
  EXPECT_THAT(noted(), HasSubstr(first_.address() + " with this change")) << "whoever else was one is none";
  EXPECT_EQ(names_.Of(1), (ReplicaList{{first_.address(), second_.address()}, true}));
  EXPECT_THAT(Asked(1), ElementsAre(first_.address(), second_.address())) << "when it is acknowledged";
  EXPECT_THAT(Asked(0), ElementsAre(zero_.address()));
  // Once more is no more.
  EXPECT_THAT(Change(second_.address(), "")->replicas, ElementsAre(first_.address(), second_.address()));
  EXPECT_EQ(names_.changes(), 1);
  EXPECT_EQ(noted(), "") << "it was set by hand before";
}

TEST_F(ReplicaChangesTest, OneIsDrainedWhileAnotherServes) {
  const absl::Status last = Change("", first_.address()).status();
  EXPECT_EQ(last.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(last.message()), HasSubstr("it is the only one"));
  ASSERT_TRUE(Change(second_.address(), "").ok());
  second_.Be(ReplicaState::kFailed);
  const absl::Status failed = Change("", first_.address()).status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("its disk is full"));
  second_.Be(ReplicaState::kServing);
  const auto drained = Change("", first_.address());
  ASSERT_TRUE(drained.ok()) << drained.status();
  EXPECT_THAT(drained->replicas, ElementsAre("", second_.address())) << "numbers stay";
  EXPECT_THAT(Asked(1), ElementsAre(second_.address()));
  const absl::Status again = Change("", first_.address()).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(again.message()), HasSubstr("one that was drained may be stopped 8 s from now"));
  // Nor was anything moved to one that options name.
  EXPECT_EQ(Change(zero_.address(), first_.address()).status().code(), absl::StatusCode::kNotFound);
  // Its number is free.
  EXPECT_THAT(Change(third_.address(), "")->replicas, ElementsAre(third_.address(), second_.address()));
  EXPECT_THAT(Change("", second_.address())->replicas, ElementsAre(third_.address()));
}

TEST_F(ReplicaChangesTest, AMoveIsBothAndIsDoneOnce) {
  for (int again = 0; again < 2; ++again) {
    const auto moved = Change(second_.address(), first_.address(), /*shard=*/0);
    ASSERT_TRUE(moved.ok()) << moved.status();
    EXPECT_EQ(moved->shard, 1U) << "of what is drained";
    EXPECT_THAT(moved->replicas, ElementsAre("", second_.address()));
    EXPECT_EQ(names_.changes(), 2 + again) << "that all have been told is known by another change";
  }
  EXPECT_THAT(said(), ElementsAre("waiting1", "adding", "draining"));
  EXPECT_THAT(Asked(1), ElementsAre(second_.address()));
}

TEST_F(ReplicaChangesTest, WhatAnotherSetMeanwhileStays) {
  names_.SetBeforeNext(1, {first_.address(), third_.address()});
  const auto added = Change(second_.address(), "");
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_THAT(added->replicas, ElementsAre(first_.address(), third_.address(), second_.address()));
  EXPECT_EQ(names_.changes(), 2);
  // Of two drains at once the second finds that it would take the last.
  ASSERT_TRUE(Change("", third_.address()).ok());
  names_.SetBeforeNext(1, {first_.address()});
  EXPECT_EQ(Change("", first_.address()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(names_.Of(1).addresses, ElementsAre(first_.address()));
}

TEST_F(ReplicaChangesTest, WhatCannotBeAReplicaIsRefused) {
  const auto code = [this](const std::string& add, uint32_t shard) { return Change(add, "", shard).status().code(); };
  EXPECT_EQ(code(second_.address(), 2), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(zero_.address(), 1), absl::StatusCode::kInvalidArgument) << "it is one of shard 0";
  second_.Refuse("this is shard 0 of 2; asked was shard 1 of 2");
  const absl::Status other = Change(second_.address(), "").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr(second_.address()));
  EXPECT_THAT(std::string(other.message()), HasSubstr("asked was shard 1"));
  third_.Be(ReplicaState::kFailed);
  EXPECT_EQ(code(third_.address(), 1), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Change("", "127.0.0.1:1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(names_.changes(), 0);
}

TEST_F(ReplicaChangesTest, OneIsGivenByTheAddressByWhichItKnowsItself) {
  second_.CallItself("own:1");
  const absl::Status other = Change(second_.address(), "").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("is own:1 by its own --shard-addresses"));
  EXPECT_EQ(names_.changes(), 0);
  // Nor does one that is listed so count as another that serves; whoever looks at it reaches it all the same.
  second_.CallItself(second_.address());
  ASSERT_TRUE(Change(second_.address(), "").ok());
  second_.CallItself("own:1");
  EXPECT_THAT(Asked(1), ElementsAre(first_.address(), second_.address()));
  const absl::Status last = Change("", first_.address()).status();
  EXPECT_EQ(last.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(last.message()), HasSubstr("is own:1 by its own"));
}

// It was told of one teller, and that has gone; who came since is where its options say.
TEST_F(ReplicaChangesTest, WhoMissedAMoveAsksThoseOfItsOptions) {
  Process other(&names_);
  deployment_.reset();
  RemoteDeploymentOptions options;
  options.shards = {{zero_.address(), other.address()}, {first_.address()}};
  options.logs = {std::make_shared<MemoryLog>(), std::make_shared<MemoryLog>()};
  options.search_threads = 1;
  deployment_ = RemoteDeployment::Open(std::move(options)).value();
  ASSERT_TRUE(Change("", other.address()).ok());
  ASSERT_EQ(names_.Of(0), (ReplicaList{{zero_.address()}, true}));
  zero_.Stop();
  const int before = names_.watched();
  const Steady::time_point end = Steady::now() + std::chrono::seconds(30);
  while (names_.watched() == before && Steady::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GT(names_.watched(), before);
}

TEST_F(ReplicaChangesTest, WhoIsNotHeardAnyMoreEndsIt) {
  second_.Be(ReplicaState::kReplaying);
  const absl::Status ended = deployment_
                                 ->ChangeReplicas({second_.address(), "", 1}, {},
                                                  [](const ReplicaChangeStep&) { return false; })
                                 .status();
  EXPECT_EQ(ended.code(), absl::StatusCode::kCancelled);
  CallLimits limits;
  limits.deadline = Steady::now() + std::chrono::milliseconds(200);
  const auto hears = [](const ReplicaChangeStep&) { return true; };
  EXPECT_EQ(deployment_->ChangeReplicas({second_.address(), "", 1}, limits, hears).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace mneme
