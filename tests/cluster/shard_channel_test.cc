// Connections between processes, and what a watcher of the catalogue tells when it has lost it.
#include "cluster/shard_channel.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cluster/catalogue_watch.h"
#include "cluster/shard_fan.h"
#include "cluster/shard_stream.h"
#include "common/clock.h"
#include "common/error_reason.h"
#include "engine/flat_catalogue.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

// Shard 0 with an empty catalogue, whose leases are short.
class Owner final : public internal_wire::CatalogueService::Service {
 public:
  Owner() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Owner() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // Refuses from now on, or no more.
  void Refuse(bool refuses) { refuses_ = refuses; }
  // Its clock is ahead by so much.
  void SetClock(int64_t ahead_ms) { clock_ms_ = ahead_ms; }
  std::set<std::string> peers() const {
    MutexLock lock(&mutex_);
    return peers_;
  }

  // What the last watcher said of its clock.
  int64_t told_ms() const { return told_ms_; }

  grpc::Status Watch(grpc::ServerContext* context, const internal_wire::WatchRequest* request,
                     internal_wire::WatchAnswer* answer) override {
    told_ms_ = request->now_ms();
    {
      MutexLock lock(&mutex_);
      peers_.insert(context->peer());
    }
    if (refuses_) return {grpc::StatusCode::INTERNAL, "the disk is gone"};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CatalogueChanges changes;
    changes.whole = true;
    changes.next_number = 1;
    answer->set_deployment(7);
    answer->set_epoch(1);
    answer->set_lease_ms(200);
    answer->set_now_ms(SystemClock().NowMs() + clock_ms_);
    answer->set_changes(Flat(changes));
    return grpc::Status::OK;
  }

 private:
  int port_ = 0;
  std::atomic<bool> refuses_{false};
  std::atomic<int64_t> clock_ms_{0};
  std::atomic<int64_t> told_ms_{0};
  mutable Mutex mutex_;
  std::set<std::string> peers_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

bool Becomes(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

TEST(ShardChannelTest, EachChannelHasAConnectionOfItsOwn) {
  Owner owner;
  for (size_t i = 1; i <= 3; ++i) {
    const auto stub = internal_wire::CatalogueService::NewStub(MakeInternalChannel(owner.address(), nullptr));
    grpc::ClientContext context;
    internal_wire::WatchAnswer answer;
    ASSERT_TRUE(stub->Watch(&context, {}, &answer).ok());
  }
  EXPECT_EQ(owner.peers().size(), 3U);
}

// One replica of a shard, which says its name to whoever asks.
class Replica final : public internal_wire::ShardService::Service {
 public:
  explicit Replica(std::string name) : name_(std::move(name)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Replica() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Answer(grpc::Status status) {
    MutexLock lock(&mutex_);
    status_ = std::move(status);
  }
  void Sleep(std::chrono::milliseconds time) { sleeps_ms_ = static_cast<int>(time.count()); }
  // Answers nobody from now on, or goes on.
  void Hold(bool holds) { holds_ = holds; }
  int asked() const { return asked_; }
  // Calls that were cancelled while it held them.
  int cancelled() const { return cancelled_; }

  grpc::Status Count(grpc::ServerContext* context, const internal_wire::Call*,
                     internal_wire::Answer* answer) override {
    ++asked_;
    std::this_thread::sleep_for(std::chrono::milliseconds(sleeps_ms_));
    while (holds_ && !context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (context->IsCancelled()) ++cancelled_;
    answer->set_body(name_);
    MutexLock lock(&mutex_);
    return status_;
  }
  // Says its name, and ends as it was told.
  grpc::Status Visit(grpc::ServerContext*, const internal_wire::Call* call,
                     grpc::ServerWriter<internal_wire::Answer>* answers) override {
    internal_wire::Answer answer;
    answer.set_body(name_);
    if (call->body() == "say first") answers->Write(answer);
    MutexLock lock(&mutex_);
    if (status_.ok()) answers->Write(answer);
    return status_;
  }

 private:
  const std::string name_;
  int port_ = 0;
  std::atomic<int> sleeps_ms_{0};
  std::atomic<bool> holds_{false};
  std::atomic<int> asked_{0};
  std::atomic<int> cancelled_{0};
  Mutex mutex_;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

class ReplicasTest : public ::testing::Test {
 protected:
  static grpc::Status Away() { return {grpc::StatusCode::UNAVAILABLE, "it is away"}; }
  static CallLimits Within(std::chrono::milliseconds time) {
    CallLimits limits;
    limits.deadline = std::chrono::steady_clock::now() + time;
    return limits;
  }
  absl::StatusOr<std::string> Ask(uint32_t replica = kAnyReplica, std::chrono::milliseconds time = kLong) const {
    return channel_.AskAndWait(&ShardChannel::Async::Count, Question("", replica), Within(time));
  }
  // What was heard; its end last.
  std::vector<std::string> AskForMany(const std::string& body) const {
    std::vector<std::string> heard;
    const absl::Status ended = channel_.AskForMany(&ShardChannel::Stub::Visit, body, Within(kLong),
                                                   [&](std::string_view each) -> absl::Status {
                                                     heard.emplace_back(each);
                                                     return absl::OkStatus();
                                                   });
    heard.push_back(absl::StatusCodeToString(ended.code()));
    return heard;
  }
  Replica& at() { return channel_.at() == 0 ? first_ : second_; }

  static constexpr std::chrono::milliseconds kLong{20'000};
  Replica first_{"first"};
  Replica second_{"second"};
  Canceller canceller_;
  const ShardChannel channel_{internal_wire::Target(), {first_.address(), second_.address()}, nullptr, &canceller_};
};

TEST_F(ReplicasTest, AReplicaOfANumberIsAskedAlone) {
  EXPECT_EQ(channel_.replicas(), 2U);
  EXPECT_EQ(Ask(0).value(), "first");
  EXPECT_EQ(Ask(1).value(), "second");
  second_.Answer(Away());
  const absl::Status away = Ask(1).status();
  EXPECT_EQ(away.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(away.message()), HasSubstr(second_.address()));
}

TEST_F(ReplicasTest, TheOneThatAnsweredLastIsAskedAndTheNextWhenItIsAway) {
  at().Answer(Away());
  const std::string answered = Ask().value();
  EXPECT_EQ(Ask().value(), answered);
  // It is there again, and nobody goes back.
  first_.Answer(grpc::Status::OK);
  second_.Answer(grpc::Status::OK);
  EXPECT_EQ(Ask().value(), answered);
  first_.Answer(Away());
  second_.Answer(Away());
  const absl::Status none = Ask().status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(none), reason::kShardUnavailable);
}

// As gRPC itself does for a server that has begun to shut down.
TEST_F(ReplicasTest, OneThatCancelsACallThatNobodyCancelledIsAway) {
  at().Answer({grpc::StatusCode::CANCELLED, ""});
  EXPECT_TRUE(Ask().ok());
  first_.Answer({grpc::StatusCode::CANCELLED, ""});
  second_.Answer({grpc::StatusCode::CANCELLED, ""});
  const absl::Status none = Ask().status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(none), reason::kShardUnavailable);
  EXPECT_EQ(AskForMany(""), std::vector<std::string>{"UNAVAILABLE"});
  canceller_.CancelAll();
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(ReplicasTest, WhatAReplicaRefusesNoOtherIsAsked) {
  at().Answer({grpc::StatusCode::INVALID_ARGUMENT, "no"});
  const uint32_t before = channel_.at();
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(channel_.at(), before);
}

TEST_F(ReplicasTest, OfOneThatLagsIsToldRatherThanOfOneThatIsAway) {
  for (const std::string_view why : {reason::kReplicaLagging, reason::kStorageLow}) {
    google::rpc::ErrorInfo info;
    info.set_reason(std::string(why));
    google::rpc::Status details;
    details.add_details()->PackFrom(info);
    const grpc::Status lags(grpc::StatusCode::DEADLINE_EXCEEDED, "it lags", details.SerializeAsString());
    for (const bool first_lags : {false, true}) {
      first_.Answer(first_lags ? lags : Away());
      second_.Answer(first_lags ? Away() : lags);
      for (int again = 0; again < 2; ++again) {  // begins at the other
        EXPECT_EQ(ReasonOf(Ask().status()), why);
        EXPECT_EQ(AskForMany("").back(), "DEADLINE_EXCEEDED");
      }
    }
  }
}

TEST_F(ReplicasTest, OneThatSleepsCostsACallerItsDeadlineAndTheNextGoesToAnother) {
  Replica& asleep = at();
  const uint32_t before = channel_.at();
  asleep.Sleep(std::chrono::milliseconds(1'000));
  EXPECT_EQ(Ask(kAnyReplica, std::chrono::milliseconds(100)).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(channel_.at(), before);
  EXPECT_TRUE(Ask(kAnyReplica, std::chrono::milliseconds(900)).ok());
}

TEST_F(ReplicasTest, AStreamIsBegunAnewOnlyWhenNothingOfItWasHeard) {
  at().Answer(Away());
  const std::string other = &at() == &first_ ? "second" : "first";
  EXPECT_EQ(AskForMany("say first").back(), "UNAVAILABLE");
  // That one was left, and is asked again once the other is away.
  first_.Answer(grpc::Status::OK);
  second_.Answer(grpc::Status::OK);
  at().Answer(Away());
  const std::vector<std::string> heard = AskForMany("");
  EXPECT_EQ(heard.back(), "OK");
  EXPECT_EQ(heard.size(), 2U);
  EXPECT_NE(heard.front(), other);
}

TEST_F(ReplicasTest, AStreamIsTakenOneByOneByWhoAsked) {
  at().Answer(Away());
  const uint32_t away = channel_.at();
  {
    ShardStream stream(channel_, &ShardChannel::Stub::Visit, std::string("say first"), Within(kLong));
    ASSERT_TRUE(stream.Next()->has_value());
    EXPECT_EQ(stream.replica(), away);
    EXPECT_EQ(stream.Next().status().code(), absl::StatusCode::kUnavailable) << "it was heard, and is not left";
    EXPECT_FALSE(stream.Next()->has_value());
  }
  {
    ShardStream stream(channel_, &ShardChannel::Stub::Visit, Question("", away), Within(kLong));
    EXPECT_EQ(stream.Next().status().code(), absl::StatusCode::kUnavailable) << "it alone was meant";
  }
  ShardStream stream(channel_, &ShardChannel::Stub::Visit, std::string(), Within(kLong));
  const auto answer = stream.Next();
  ASSERT_TRUE(answer.ok() && answer->has_value()) << answer.status();
  EXPECT_NE(stream.replica(), away);
  EXPECT_EQ(**answer, away == 0 ? "second" : "first");
  EXPECT_FALSE(stream.Next()->has_value());
}

TEST_F(ReplicasTest, WhatWasAcknowledgedIsWaitedForByEveryLaterRead) {
  const ShardFan fan(7, {{first_.address()}, {second_.address()}}, nullptr);
  const auto sequence_of = [&](uint32_t shard, const Version& version) {
    const Version part = fan.PartOf(version, shard);
    return part.parts.empty() ? 0 : part.parts.front().sequence;
  };
  const Version version{3, {{0, 10}, {1, 20}}};
  EXPECT_EQ(sequence_of(1, {}), 0U);
  EXPECT_EQ(sequence_of(1, version), 20U);
  fan.shard(1).Saw(15);
  fan.shard(1).Saw(12);
  EXPECT_EQ(sequence_of(0, {}), 0U);
  EXPECT_EQ(sequence_of(1, {}), 15U);
  EXPECT_EQ(sequence_of(1, version), 20U);
  fan.shard(1).Saw(25);
  EXPECT_EQ(sequence_of(1, version), 25U);
}

TEST_F(ReplicasTest, OneThatIsTakenOutAnswersWhatItWasAskedAndIsAskedNothingMore) {
  ShardChannel channel(internal_wire::Target(), {first_.address(), second_.address()}, nullptr, &canceller_);
  const auto ask = [&](uint32_t replica) {
    return channel.AskAndWait(&ShardChannel::Async::Count, Question("", replica), Within(kLong));
  };
  first_.Hold(true);
  auto asked = std::async(std::launch::async, [&] { return ask(0); });
  ASSERT_TRUE(Becomes([&] { return first_.asked() == 1; }));
  channel.SetReplicas({"", second_.address()});
  EXPECT_EQ(channel.replicas(), 1U);
  EXPECT_FALSE(channel.Has(0));
  EXPECT_EQ(channel.at(), 1U);
  EXPECT_EQ(channel.Next(1), 1U);
  ASSERT_EQ(channel.places().size(), 1U);
  EXPECT_EQ(channel.places().front().replica, 1U);
  EXPECT_EQ(channel.places().front().address, second_.address());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(kAnyReplica).value(), "second");
  EXPECT_EQ(ask(0).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ask(7).status().code(), absl::StatusCode::kUnavailable);
  {
    ShardStream stream(channel, &ShardChannel::Stub::Visit, Question("", 0), Within(kLong));
    EXPECT_EQ(stream.Next().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_FALSE(stream.Next()->has_value());
  }
  first_.Hold(false);
  EXPECT_EQ(asked.get().value(), "first");
  EXPECT_EQ(first_.asked(), 1);
}

TEST_F(ReplicasTest, APlaceMayBeTakenByAnother) {
  Replica third("third");
  ShardChannel channel(internal_wire::Target(), {first_.address(), second_.address()}, nullptr, &canceller_);
  const auto ask = [&](uint32_t replica) {
    return channel.AskAndWait(&ShardChannel::Async::Count, Question("", replica), Within(kLong));
  };
  channel.SetReplicas({third.address(), second_.address(), first_.address()});
  EXPECT_EQ(channel.replicas(), 3U);
  EXPECT_EQ(ask(0).value(), "third");
  EXPECT_EQ(ask(1).value(), "second");
  EXPECT_EQ(ask(2).value(), "first");
  channel.SetReplicas({"", ""});
  EXPECT_EQ(channel.replicas(), 3U) << "a shard has one at least";
}

// Reads that are late.
class HedgedReadsTest : public ReplicasTest {
 protected:
  // So many answers, all in time, after which it is known what late is.
  HedgedReadsTest() {
    for (int i = 0; i < 32; ++i) EXPECT_TRUE(Read(hedged_).ok());
    before_ = hedged_.hedging().hedged();
  }

  static absl::StatusOr<std::string> Read(const ShardChannel& channel, uint32_t replica = kAnyReplica,
                                          std::chrono::milliseconds time = kLong) {
    return channel.AskAndWait(&ShardChannel::Async::Count, Question("", replica, HedgedRead::kGet), Within(time));
  }
  // Those of the test.
  uint64_t hedges() const { return hedged_.hedging().hedged() - before_; }
  Replica& asked() { return hedged_.at() == 0 ? first_ : second_; }
  Replica& other() { return hedged_.at() == 0 ? second_ : first_; }

  CallTimer timer_;
  uint64_t before_ = 0;  // a machine that stood still before
  ShardChannel hedged_{internal_wire::Target(), {first_.address(), second_.address()}, nullptr, &canceller_, &timer_};
};

TEST_F(HedgedReadsTest, OneThatIsLateIsAnsweredByAnotherReplicaAndTheFirstCallIsCancelled) {
  Replica& asleep = asked();
  Replica& other_one = other();
  const std::string awake = &other_one == &first_ ? "first" : "second";
  asleep.Hold(true);
  EXPECT_EQ(Read(hedged_).value(), awake);
  EXPECT_EQ(hedges(), 1U);
  EXPECT_EQ(hedged_.hedging().won(), 1U);
  EXPECT_TRUE(Becomes([&] { return asleep.cancelled() == 1; }));
  EXPECT_EQ(&asked(), &other_one) << "those after it go to the one that answered";
  EXPECT_EQ(Read(hedged_).value(), awake);
}

TEST_F(HedgedReadsTest, OnlyReadsThatAnyReplicaMayAnswerAre) {
  Replica& asleep = asked();
  const int had = asleep.asked();
  asleep.Hold(true);
  constexpr std::chrono::milliseconds kShort{1'000};
  EXPECT_EQ(Read(hedged_, hedged_.at(), kShort).status().code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(Becomes([&] { return asleep.asked() == had + 1; }));
  first_.Hold(true);
  second_.Hold(true);
  const int before = first_.asked() + second_.asked();
  const auto no_read = hedged_.AskAndWait(&ShardChannel::Async::Count, Question(""), Within(kShort));
  EXPECT_EQ(no_read.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Becomes([&] { return first_.asked() + second_.asked() > before; }));
  EXPECT_EQ(first_.asked() + second_.asked(), before + 1);
  EXPECT_EQ(hedges(), 0U);
}

TEST_F(HedgedReadsTest, ARefusalOfTheSecondIsNoAnswerWhileTheFirstMayGiveOne) {
  asked().Sleep(std::chrono::milliseconds(300));
  other().Answer({grpc::StatusCode::RESOURCE_EXHAUSTED, "searches wait"});
  const std::string late = &asked() == &first_ ? "first" : "second";
  EXPECT_EQ(Read(hedged_).value(), late);
  EXPECT_EQ(hedges(), 1U);
  EXPECT_EQ(hedged_.hedging().won(), 0U);
}

TEST_F(HedgedReadsTest, WhenNeitherAnswersTheLastErrorIsTold) {
  asked().Sleep(std::chrono::milliseconds(300));
  asked().Answer(Away());
  other().Answer({grpc::StatusCode::RESOURCE_EXHAUSTED, "searches wait"});
  EXPECT_EQ(Read(hedged_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(hedges(), 1U);
}

TEST_F(HedgedReadsTest, WhereTheSecondIsAwayTheThirdIsAskedBesideTheOneThatSleeps) {
  Replica third("third");
  ShardChannel channel(internal_wire::Target(), {first_.address(), second_.address(), third.address()}, nullptr,
                       &canceller_, &timer_);
  const std::array<Replica*, 3> all = {&first_, &second_, &third};
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(Read(channel).ok());
  const uint32_t asleep = channel.at();
  const uint32_t away = channel.Next(asleep);
  const uint32_t left = channel.Next(away);
  all.at(asleep)->Hold(true);
  all.at(away)->Answer(Away());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Read(channel).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, kLong / 2);
  EXPECT_EQ(channel.at(), left);
}

TEST_F(HedgedReadsTest, ACallerThatCancelsEndsBothCalls) {
  first_.Hold(true);
  second_.Hold(true);
  CallLimits limits = Within(kLong);
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  limits.cancelled = cancelled;
  std::promise<absl::StatusOr<std::string>> told;
  const auto asked = [&] { return first_.asked() + second_.asked(); };
  const int before = asked();
  hedged_.Ask(&ShardChannel::Async::Count, Question("", kAnyReplica, HedgedRead::kGet), limits,
              [&](absl::StatusOr<std::string> answer) { told.set_value(std::move(answer)); });
  // Both have it: of a call that is cancelled on its way a replica hears nothing.
  ASSERT_TRUE(Becomes([&] { return asked() == before + 2; }));
  EXPECT_EQ(hedges(), 1U);
  cancelled->store(true);
  EXPECT_EQ(told.get_future().get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Becomes([&] { return first_.cancelled() + second_.cancelled() == 2; }));
}

TEST_F(HedgedReadsTest, AChannelMayEndOnceItsCallersWereTold) {
  for (int i = 0; i < 10; ++i) {
    const ShardChannel channel(internal_wire::Target(), {first_.address(), second_.address()}, nullptr, &canceller_,
                               &timer_);
    for (int j = 0; j < 32; ++j) ASSERT_TRUE(Read(channel).ok());
    Replica& asleep = channel.at() == 0 ? first_ : second_;
    asleep.Hold(true);
    EXPECT_TRUE(Read(channel).ok());
    asleep.Hold(false);
  }
}

TEST(CatalogueWatchTest, SaysWhenNamesCannotBeToldAndWhy) {
  Owner owner;
  Mutex mutex;
  std::vector<std::string> events;
  const auto said = [&](const std::string& event) {
    MutexLock lock(&mutex);
    return std::count(events.begin(), events.end(), event) != 0;
  };
  const auto hear = [&](std::string_view event, std::string_view) {
    MutexLock lock(&mutex);
    events.emplace_back(event);
  };
  const auto watch = CatalogueWatch::Start({{owner.address()}, 2, hear}, [] { return false; }).value();
  EXPECT_TRUE(Becomes([&] { return watch->Check().ok(); }));
  owner.Refuse(true);
  ASSERT_TRUE(Becomes([&] { return said("names_lost"); }));
  const absl::Status lost = watch->Check();
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(lost), reason::kShardUnavailable);
  EXPECT_THAT(std::string(lost.message()), HasSubstr("the disk is gone"));
  EXPECT_FALSE(said("catalogue_found"));
  owner.Refuse(false);
  ASSERT_TRUE(Becomes([&] { return said("catalogue_found"); }));
  EXPECT_TRUE(Becomes([&] { return watch->Check().ok(); }));
}

TEST(CatalogueWatchTest, KnowsAClockThatIsFarFromTheOwners) {
  Owner owner;
  Mutex mutex;
  std::vector<std::string> events;
  const auto hear = [&](std::string_view event, std::string_view) {
    MutexLock lock(&mutex);
    events.emplace_back(event);
  };
  const auto last_event = [&] {
    MutexLock lock(&mutex);
    return events.empty() ? "" : events.back();
  };
  StampCheck stamp_check;
  const auto check = [&] { return stamp_check(SystemClock().NowMs()); };
  {
    const auto watch = CatalogueWatch::Start({{owner.address()}, 2, hear}, [] { return false; }).value();
    stamp_check = watch->stamp_check();
    EXPECT_TRUE(check().ok());
    EXPECT_LT(std::abs(watch->clock_ahead_ms()), 10'000);
    EXPECT_LT(std::abs(owner.told_ms() - SystemClock().NowMs()), 30'000);
    owner.SetClock(-3'600'000);
    EXPECT_TRUE(Becomes([&] { return last_event() == "clock_wrong"; }));
    EXPECT_GT(watch->clock_ahead_ms(), 3'500'000);
    EXPECT_TRUE(stamp_check(SystemClock().NowMs() - 3'600'000).ok()) << "of before the clock was set";
    owner.SetClock(0);
    EXPECT_TRUE(Becomes([&] { return last_event() == "clock_right"; }));
    owner.SetClock(-3'600'000);
    EXPECT_TRUE(Becomes([&] { return !check().ok(); }));
    EXPECT_EQ(check().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(check().message()), HasSubstr("ms ahead of that of shard 0"));
    owner.SetClock(3'600'000);
    EXPECT_TRUE(Becomes([&] { return absl::StrContains(check().message(), "is -"); }));
  }
  EXPECT_FALSE(check().ok()) << "what was known last, when the watch has gone";
}

}  // namespace
}  // namespace mneme
