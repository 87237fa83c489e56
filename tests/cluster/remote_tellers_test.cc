// Several processes that tell names, as those who watch them and as the others of them ask them.
#include "cluster/remote_tellers.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/catalogue_watch.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"
#include "mneme/internal/v1/shard.grpc.pb.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

namespace wire = internal::v1;

constexpr uint64_t kDeployment = 7;
constexpr char kOwn[] = "127.0.0.1:1";
// When all have confirmed.
constexpr Steady::time_point kNever = Steady::time_point::min();

// A process that tells names, and does what a test says.
class Teller final : public wire::CatalogueService::Service {
 public:
  Teller() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Teller() override {
    sleeps_ = false;
    server_->Shutdown();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Refuse(bool refuses) { refuses_ = refuses; }
  // Answers nothing.
  void Sleep(bool sleeps) { sleeps_ = sleeps; }
  void CutOff(bool cut_off) { cut_off_ = cut_off; }
  // What who asked for a promise last had applied.
  Sequence asked_with() const { return asked_with_; }
  // Stands there, where the memory is, or is no more.
  void Stand(uint64_t revision, bool has_memory) {
    has_memory_ = has_memory;
    revision_ = revision;
  }
  void SetClock(int64_t ahead_ms) { clock_ms_ = ahead_ms; }
  // Of the replicas of shard 0, to who watches.
  void Tell(ReplicaList replicas) {
    MutexLock lock(&mutex_);
    replicas_ = std::move(replicas);
  }
  int watched() const { return watched_; }
  int left() const { return left_; }
  int asked_at_once() const { return at_once_; }
  std::string promised_to() const {
    MutexLock lock(&mutex_);
    return promised_to_;
  }

  grpc::Status Watch(grpc::ServerContext* context, const wire::WatchRequest* request,
                     wire::WatchAnswer* answer) override {
    if (request->leaving()) {
      ++left_;
      return grpc::Status::OK;
    }
    ++watched_;
    if (request->at_once()) ++at_once_;
    if (!Wakes(context)) return {grpc::StatusCode::UNAVAILABLE, "it sleeps"};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CatalogueChanges changes;
    changes.whole = request->epoch() != kDeployment || request->revision() != revision_;
    changes.next_number = 2;
    if (changes.whole && has_memory_) {
      MemoryRecord& memory = changes.memories.emplace_back();
      memory.number = 1;
      memory.spec.name = "wiki";
    }
    {
      MutexLock lock(&mutex_);
      if (!replicas_.addresses.empty()) changes.replicas[0] = replicas_;
    }
    answer->set_deployment(kDeployment);
    answer->set_epoch(kDeployment);
    answer->set_revision(revision_);
    answer->set_lease_ms(1'000);
    answer->set_cut_off(cut_off_);
    answer->set_now_ms(SystemClock().NowMs());
    answer->set_changes(Flat(changes));
    return grpc::Status::OK;
  }
  grpc::Status Confirm(grpc::ServerContext* context, const wire::Call* call, wire::Answer*) override {
    LogOffset offset = 0;
    EXPECT_TRUE(Unflat(call->body(), offset).ok());
    EXPECT_EQ(offset, 4711U);
    return Wakes(context) ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "it sleeps");
  }
  grpc::Status Promise(grpc::ServerContext* context, const wire::Call* call, wire::Answer* answer) override {
    std::string other;
    int64_t now_ms = 0;
    Sequence handled = 0;
    EXPECT_TRUE(Unflat(call->body(), other, now_ms, handled).ok());
    {
      MutexLock lock(&mutex_);
      promised_to_ = other;
    }
    asked_with_ = handled;
    if (!Wakes(context)) return {grpc::StatusCode::UNAVAILABLE, "it sleeps"};
    answer->set_body(Flat(Sequence{revision_}, SystemClock().NowMs() + clock_ms_));
    return grpc::Status::OK;
  }
  grpc::Status Snapshot(grpc::ServerContext* context, const wire::Call*, wire::Answer* answer) override {
    if (!Wakes(context)) return {grpc::StatusCode::UNAVAILABLE, "it sleeps"};
    CatalogueSnapshot snapshot;
    snapshot.applied = revision_;
    answer->set_body(Flat(kDeployment, snapshot));
    return grpc::Status::OK;
  }

 private:
  bool Wakes(grpc::ServerContext* context) const {
    while (sleeps_ && !context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return !sleeps_ && !refuses_;
  }

  int port_ = 0;
  std::atomic<bool> refuses_{false};
  std::atomic<bool> sleeps_{false};
  std::atomic<bool> cut_off_{false};
  std::atomic<Sequence> asked_with_{0};
  std::atomic<bool> has_memory_{true};
  std::atomic<uint64_t> revision_{10};
  std::atomic<int64_t> clock_ms_{0};
  std::atomic<int> watched_{0};
  std::atomic<int> left_{0};
  std::atomic<int> at_once_{0};
  mutable Mutex mutex_;
  std::string promised_to_ ABSL_GUARDED_BY(mutex_);
  ReplicaList replicas_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

bool Becomes(const std::function<bool()>& holds) {
  const auto end = Steady::now() + std::chrono::seconds(30);
  while (!holds()) {
    if (Steady::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

class WatchOfTwoTest : public ::testing::Test {
 protected:
  WatchOfTwoTest() {
    const auto hear = [this](std::string_view event, std::string_view) {
      MutexLock lock(&mutex_);
      events_.emplace(event);
    };
    watch_ = CatalogueWatch::Start({{first_.address(), second_.address()}, 2, hear}, [] { return false; }).value();
  }

  bool Said(const std::string& event) {
    MutexLock lock(&mutex_);
    return events_.contains(event);
  }
  // Who is watched now.
  Teller& watched() {
    const int before = first_.watched();
    const int other = second_.watched();
    EXPECT_TRUE(Becomes([&] { return first_.watched() + second_.watched() > before + other + 2; }));
    return first_.watched() - before > second_.watched() - other ? first_ : second_;
  }
  Teller& other(const Teller& teller) { return &teller == &first_ ? second_ : first_; }
  // Names are told all the while.
  void ExpectTold(const std::function<bool()>& until) {
    EXPECT_TRUE(Becomes([&] {
      EXPECT_TRUE(watch_->Check().ok()) << watch_->Check();
      return until();
    }));
  }

  Teller first_;
  Teller second_;
  Mutex mutex_;
  std::set<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<CatalogueWatch> watch_;
};

TEST_F(WatchOfTwoTest, TheOtherIsAskedWithinTheLeaseWhenOneIsAway) {
  Teller& away = watched();
  const int had = other(away).watched();
  away.Refuse(true);
  ExpectTold([&] { return other(away).watched() > had + 3; });
  EXPECT_GT(other(away).asked_at_once(), 0);
  EXPECT_FALSE(Said("names_lost"));
  EXPECT_TRUE(watch_->names().Find("wiki").ok());
}

TEST_F(WatchOfTwoTest, OneThatIsCutOffIsLeftForTheOther) {
  Teller& cut = watched();
  cut.CutOff(true);
  ExpectTold([&] { return &watched() == &other(cut); });
}

TEST_F(WatchOfTwoTest, OneThatStandsBeforeWhatIsKnownIsNotHeard) {
  Teller& ahead = watched();
  other(ahead).Stand(9, /*has_memory=*/true);
  ahead.Stand(11, /*has_memory=*/false);
  ASSERT_TRUE(Becomes([&] { return !watch_->names().Find("wiki").ok(); }));
  ahead.Refuse(true);
  const int had = other(ahead).watched();
  ASSERT_TRUE(Becomes([&] { return other(ahead).watched() > had + 3; }));
  EXPECT_FALSE(watch_->names().Find("wiki").ok()) << "it was dropped at 11";
  ASSERT_TRUE(Becomes([&] { return Said("names_lost"); }));
  other(ahead).Stand(11, /*has_memory=*/false);
  EXPECT_TRUE(Becomes([&] { return watch_->Check().ok(); }));
}

TEST_F(WatchOfTwoTest, BothHearThatItLeaves) {
  watch_.reset();
  EXPECT_EQ(first_.left() + second_.left(), 2);
}

TEST(CatalogueWatchTest, WhomAnOperatorHasSetAreAskedFromThenOn) {
  Teller first;
  Teller second;
  const auto watch = CatalogueWatch::Start({{first.address()}, 2, {}}, [] { return false; }).value();
  first.Tell({{second.address()}, false});
  const int had = first.watched();
  ASSERT_TRUE(Becomes([&] { return first.watched() > had + 3; }));
  EXPECT_EQ(second.watched(), 0) << "that is what options of others say";
  first.Tell({{"", second.address()}, true});
  ASSERT_TRUE(Becomes([&] { return second.watched() > 3; }));
  const int before = first.watched();
  ASSERT_TRUE(Becomes([&] { return second.watched() > 10; }));
  EXPECT_EQ(first.watched(), before);
  // When none of them answers those of options are asked as well: who was away may have missed a list.
  second.Refuse(true);
  ASSERT_TRUE(Becomes([&] { return first.watched() > before; }));
  first.Refuse(true);
  EXPECT_TRUE(Becomes([&] { return !watch->Check().ok(); }));
}

class RemoteTellersTest : public ::testing::Test {
 protected:
  RemoteTellersOptions Options() {
    RemoteTellersOptions options;
    options.address = kOwn;
    options.shards = 2;
    options.deployment = kDeployment;
    options.lease = std::chrono::milliseconds(1'000);
    options.promise = std::chrono::milliseconds(3'000);
    options.poll = std::chrono::milliseconds(20);
    options.clocks = clocks_;
    return options;
  }
  // Where nobody's time is over.
  static Steady::time_point Confirm(RemoteTellers& tellers, const OtherTellers::Until& until) {
    return tellers.Confirm(4711, until, CallLimits());
  }
  static OtherTellers::Until At(Steady::time_point until) {
    return [until](const std::string&) { return until; };
  }
  // Each its own.
  OtherTellers::Until First(Steady::time_point first, Steady::time_point second) const {
    return [this, first, second](const std::string& address) { return address == first_.address() ? first : second; };
  }
  std::vector<std::string> All() const { return {first_.address(), kOwn, "", second_.address()}; }

  Teller first_;
  Teller second_;
  const std::shared_ptr<WatcherClocks> clocks_ = std::make_shared<WatcherClocks>();
};

TEST_F(RemoteTellersTest, ItIsPromisedWhenAllOthersHave) {
  const auto start = Steady::now();
  RemoteTellers tellers(Options());
  tellers.SetReplicas(All());
  ASSERT_TRUE(Becomes([&] { return tellers.PromisedAt(10) >= start; }));
  EXPECT_EQ(first_.promised_to(), kOwn);
  tellers.SetHandled(12);
  EXPECT_TRUE(Becomes([&] { return first_.asked_with() == 12 && second_.asked_with() == 12; }));
  EXPECT_EQ(tellers.PromisedAt(9), Steady::time_point::min()) << "they have acknowledged what is not here";
  second_.Refuse(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto last = tellers.PromisedAt(10);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(tellers.PromisedAt(10), last) << "as old as the last that the second gave";
  second_.Refuse(false);
  EXPECT_TRUE(Becomes([&] { return tellers.PromisedAt(10) > last; }));
}

TEST_F(RemoteTellersTest, OneThatPromisesNothingForALeaseIsTold) {
  Mutex mutex;
  std::vector<std::string> told;
  const auto said = [&](const std::string& event) {
    MutexLock lock(&mutex);
    return std::find(told.begin(), told.end(), event) != told.end();
  };
  RemoteTellersOptions options = Options();
  options.events = [&](std::string_view event, std::string_view detail) {
    MutexLock lock(&mutex);
    told.push_back(absl::StrCat(std::string(event), detail.find(second_.address()) == detail.npos ? "" : " second"));
  };
  RemoteTellers tellers(std::move(options));
  tellers.SetReplicas(All());
  ASSERT_TRUE(Becomes([&] { return tellers.PromisedAt(10) > Steady::time_point::min(); }));
  EXPECT_FALSE(said("teller_lost second"));
  second_.Refuse(true);
  ASSERT_TRUE(Becomes([&] { return said("teller_lost second"); }));
  second_.Refuse(false);
  EXPECT_TRUE(Becomes([&] { return said("teller_found second"); }));
  EXPECT_FALSE(said("teller_lost")) << "the first promised all the while";
}

TEST_F(RemoteTellersTest, TheirClocksAreHeard) {
  for (Teller* teller : {&first_, &second_}) teller->SetClock(-3'600'000);
  RemoteTellers tellers(Options());
  tellers.SetReplicas(All());
  EXPECT_TRUE(Becomes([&] { return absl::IsFailedPrecondition(clocks_->Check(SystemClock().NowMs())); }));
  for (Teller* teller : {&first_, &second_}) teller->SetClock(0);
  EXPECT_TRUE(Becomes([&] { return clocks_->Check(SystemClock().NowMs()).ok(); }));
}

TEST_F(RemoteTellersTest, OfThoseThatDoNotConfirmTheLatestTimeIsSaid) {
  RemoteTellers tellers(Options());
  tellers.SetReplicas(All());
  const auto start = Steady::now();
  const auto sooner = start + std::chrono::seconds(30);
  const auto later = start + std::chrono::seconds(40);
  // Each for itself: what was promised to one may last longer.
  EXPECT_EQ(Confirm(tellers, First(sooner, later)), kNever) << "both have";
  second_.Refuse(true);
  EXPECT_EQ(Confirm(tellers, First(sooner, later)), later) << "it says at once that it does not";
  first_.Refuse(true);
  EXPECT_EQ(Confirm(tellers, First(sooner, later)), later);
  second_.Refuse(false);
  EXPECT_EQ(Confirm(tellers, First(sooner, later)), sooner) << "the second has confirmed";
  EXPECT_LT(Steady::now(), sooner) << "that is for who asks to wait for";
  first_.Refuse(false);
  second_.Refuse(true);
  first_.Sleep(true);
  const auto asleep_until = Steady::now() + std::chrono::milliseconds(400);
  EXPECT_EQ(Confirm(tellers, At(asleep_until)), asleep_until);
  EXPECT_GE(Steady::now(), asleep_until - std::chrono::milliseconds(100)) << "it might say so until then";
}

TEST_F(RemoteTellersTest, OneThatSleepsIsNotWaitedForOnceNobodyWaitsForTheChange) {
  RemoteTellers tellers(Options());
  tellers.SetReplicas(All());
  first_.Sleep(true);
  const auto until = Steady::now() + std::chrono::seconds(60);
  CallLimits limits;
  limits.deadline = Steady::now() + std::chrono::milliseconds(300);
  EXPECT_EQ(tellers.Confirm(4711, At(until), limits), until);
  EXPECT_LT(Steady::now(), until);
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  limits = CallLimits();
  limits.cancelled = cancelled;
  std::thread caller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    *cancelled = true;
  });
  EXPECT_EQ(tellers.Confirm(4711, At(until), limits), until);
  EXPECT_TRUE(*cancelled);
  EXPECT_LT(Steady::now(), until);
  caller.join();
}

TEST_F(RemoteTellersTest, TheOneThatHasAppliedMostGivesItsCatalogue) {
  second_.Stand(12, /*has_memory=*/true);
  const auto offered = AskForCatalogue(Options(), All());
  ASSERT_TRUE(offered.ok()) << offered.status();
  EXPECT_EQ(offered->deployment, kDeployment);
  EXPECT_EQ(offered->snapshot.applied, 12U);
  second_.Refuse(true);
  EXPECT_EQ(AskForCatalogue(Options(), All())->snapshot.applied, 10U);
  first_.Refuse(true);
  EXPECT_EQ(AskForCatalogue(Options(), All()).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RemoteTellersTest, OneThatIsGonePromisesNothingAndIsAskedWhileAPromiseLasts) {
  RemoteTellers tellers(Options());
  tellers.SetReplicas(All());
  ASSERT_TRUE(Becomes([&] { return tellers.PromisedAt(10) > Steady::time_point::min(); }));
  second_.Refuse(true);
  tellers.SetReplicas({first_.address(), kOwn});
  const auto gone = Steady::now();
  EXPECT_TRUE(Becomes([&] { return tellers.PromisedAt(10) > gone; })) << "of the first alone";
  const auto of_first = Steady::now() + std::chrono::seconds(40);
  const auto until = Steady::now() + std::chrono::seconds(30);
  EXPECT_EQ(Confirm(tellers, First(of_first, until)), until) << "what it lent may last";
  std::this_thread::sleep_until(gone + (Options().lease + Options().promise) / 2);
  EXPECT_EQ(Confirm(tellers, First(of_first, until)), until) << "for a promise, not for a lease alone";
  std::this_thread::sleep_until(gone + Options().promise);
  EXPECT_EQ(Confirm(tellers, First(of_first, until)), kNever) << "it is not asked any more";
  tellers.SetReplicas(All());
  EXPECT_EQ(Confirm(tellers, First(of_first, until)), until);
  second_.Refuse(false);
  EXPECT_EQ(Confirm(tellers, First(of_first, until)), kNever);
}

TEST_F(RemoteTellersTest, OneWithoutOthersWaitsForNobody) {
  RemoteTellers tellers(Options());
  tellers.SetReplicas({kOwn});
  const auto now = Steady::now();
  EXPECT_GE(tellers.PromisedAt(0), now);
  EXPECT_EQ(Confirm(tellers, At(now + std::chrono::seconds(30))), kNever);
  EXPECT_LT(Steady::now(), now + std::chrono::seconds(30));
}

}  // namespace
}  // namespace mneme
