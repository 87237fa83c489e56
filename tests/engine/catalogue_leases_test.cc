// What tellers of names lend, by the log and by what they promise each other: for how long, and who waits for it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/catalogue_teller.h"
#include "engine/log_record.h"
#include "tests/engine/catalogue_tellers.h"
#include "tests/engine/catalogue_watcher.h"

namespace mneme {
namespace {

using testing::AwaitLent;
using testing::AwaitNotLent;
using testing::CatalogueTellers;
using testing::Create;
using testing::Drop;
using testing::TestWatcher;
using Steady = std::chrono::steady_clock;

// One who asks a teller again and again, until he is to stop.
class Asker {
 public:
  Asker(CatalogueTeller& teller, TestWatcher& watcher) : thread_([this, &teller, &watcher] {
    while (!stop_) {
      (void)watcher.Ask(teller);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }) {}
  ~Asker() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// A drop at one teller is acknowledged when the lease that a watcher has of another is over.
void ExpectADropWaits(CatalogueTellers& tellers, uint32_t at, uint32_t other, TestWatcher& watcher) {
  Asker asker(tellers[other], watcher);
  const auto drop = tellers.Change(at, Drop("wiki"));
  const Steady::time_point acknowledged = Steady::now();
  asker.Stop();
  ASSERT_TRUE(drop.ok()) << drop.status();
  EXPECT_TRUE(watcher.Knows("wiki")) << "it was to be cut off";
  EXPECT_LE(watcher.until(), acknowledged);
}

TEST(CatalogueLeasesTest, OneThatIsCutOffLendsNoLongerThanWhatItWasPromised) {
  CatalogueTellers tellers(2);
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  tellers.line(1).Cut(true);
  tellers.CutOff(1, true);
  const Steady::time_point cut = Steady::now();
  {
    const Asker asker(tellers[1], watcher);
    ASSERT_TRUE(AwaitNotLent(tellers[1]));
  }
  EXPECT_FALSE(watcher.Ask(tellers[1]));
  EXPECT_LE(watcher.until(), cut + CatalogueTellers::kPromise);
  EXPECT_GT(watcher.until(), cut + CatalogueTellers::kLease) << "by what it was promised before";
  // The other lends by the log alone, and this one again once it is back.
  EXPECT_TRUE(AwaitLent(tellers[0], watcher));
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.line(1).Cut(false);
  TestWatcher later;
  ASSERT_TRUE(AwaitLent(tellers[1], later));
  EXPECT_TRUE(later.Knows("wiki")) << "it does not lend before it knows everything";
}

TEST(CatalogueLeasesTest, ADropIsNotAcknowledgedWhileAnybodyMayBeToldOfTheMemory) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  EXPECT_TRUE(watcher.Knows("wiki"));
  // Who told him is dead: nobody can ask what it lent.
  tellers.Kill(1);
  const auto dropped = tellers.Change(0, Drop("wiki"));
  const Steady::time_point acknowledged = Steady::now();
  ASSERT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_LE(watcher.until(), acknowledged);
  ASSERT_TRUE(AwaitLent(tellers[0], watcher));
  EXPECT_FALSE(watcher.Knows("wiki"));
}

TEST(CatalogueLeasesTest, WhileTheLogIsAwayAllThatPromiseLend) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.AwaitEven();
  for (uint32_t number = 0; number < 2; ++number) tellers.line(number).Cut(true);
  std::this_thread::sleep_for(2 * CatalogueTellers::kLease);
  for (uint32_t number = 0; number < 2; ++number) {
    TestWatcher watcher;
    EXPECT_TRUE(watcher.Ask(tellers[number])) << number;
    EXPECT_TRUE(watcher.Knows("wiki"));
  }
  EXPECT_EQ(tellers.Change(0, Create("other")).status().code(), absl::StatusCode::kUnavailable);
  // One that has the log again must wait for what it promised to the other, which has not.
  TestWatcher watcher;
  tellers.line(0).Cut(false);
  ASSERT_TRUE(watcher.Ask(tellers[1]));
  tellers.CutOff(1, true);
  const auto dropped = tellers.Change(0, Drop("wiki"));
  ASSERT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_LE(watcher.until(), Steady::now());
  EXPECT_TRUE(AwaitNotLent(tellers[1]));
}

TEST(CatalogueLeasesTest, OneThatLostTheLogAloneHoldsTheFirstChangeUpForAPromiseAndOthersForALease) {
  CatalogueTellers tellers(2);
  tellers.AwaitEven();
  tellers.line(1).Cut(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be reading
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher)) << "by what the other promises";
  Asker asker(tellers[1], watcher);  // which has it ask the other to promise, again and again
  const auto first = tellers.Change(0, Create("wiki"));
  const Steady::time_point acknowledged = Steady::now();
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = tellers.Change(0, Create("other"));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_LT(Steady::now(), acknowledged + CatalogueTellers::kPromise) << "it lacks the first, and is promised nothing";
  asker.Stop();
  EXPECT_LE(watcher.until(), acknowledged);
}

TEST(CatalogueLeasesTest, OneAloneLendsWithoutTheLog) {
  CatalogueTellers tellers(1);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.line(0).Cut(true);
  std::this_thread::sleep_for(2 * CatalogueTellers::kLease);
  TestWatcher watcher;
  EXPECT_TRUE(watcher.Ask(tellers[0]));
  EXPECT_TRUE(watcher.Knows("wiki"));
}

TEST(CatalogueLeasesTest, OneThatIsLeftAloneLendsForAsLongAsItWasPromised) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[0], watcher));
  tellers.Kill(1);
  tellers.line(0).Cut(true);
  const Steady::time_point alone = Steady::now();
  // Longer than by the log, whose leader may have died with it.
  static_assert(CatalogueTellers::kPromise / 2 > CatalogueTellers::kLease);
  std::this_thread::sleep_until(alone + CatalogueTellers::kPromise / 2);
  EXPECT_TRUE(watcher.Ask(tellers[0]));
  EXPECT_TRUE(watcher.Knows("wiki"));
  ASSERT_TRUE(AwaitNotLent(tellers[0]));
  EXPECT_FALSE(watcher.Ask(tellers[0]));
  EXPECT_LE(watcher.until(), alone + CatalogueTellers::kPromise);
}

TEST(CatalogueLeasesTest, AChangeWaitsForWhatOneThatIsCutOffWasPromisedAndThenForItsLeaseAlone) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.AwaitEven();
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  tellers.line(1).Cut(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be reading
  ASSERT_TRUE(watcher.Ask(tellers[1])) << "by what the other promises";
  tellers.CutOff(1, true);
  ExpectADropWaits(tellers, 0, 1, watcher);
  // It was promised nothing since.
  const Steady::time_point start = Steady::now();
  ASSERT_TRUE(tellers.Change(0, Create("other")).ok());
  EXPECT_GE(Steady::now(), start + CatalogueTellers::kLease) << "it may have reached the log";
  EXPECT_LT(Steady::now(), start + CatalogueTellers::kPromise);
}

TEST(CatalogueLeasesTest, AChangeThatNobodyWaitsForAnyMoreWaitsForNobody) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.AwaitEven();
  tellers.Kill(1);
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  CallLimits limits;
  limits.cancelled = cancelled;
  const Steady::time_point start = Steady::now();
  std::thread caller([&cancelled] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    *cancelled = true;
  });
  const auto dropped = tellers[0].Change(CatalogueTellers::RecordOf(Drop("wiki")), limits);
  EXPECT_LT(Steady::now(), start + CatalogueTellers::kLease) << "so long the dead one may have lent";
  EXPECT_EQ(dropped.status().code(), absl::StatusCode::kCancelled) << dropped.status();
  caller.join();
}

TEST(CatalogueLeasesTest, OneThatWasStartedWaitsForWhatItPromisedBefore) {
  for (const bool lost : {false, true}) {
    CatalogueTellers tellers(2);
    ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
    tellers.AwaitEven();
    tellers.line(1).Cut(true);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be reading
    TestWatcher watcher;
    ASSERT_TRUE(AwaitLent(tellers[1], watcher)) << "by what the other promises";
    tellers.CutOff(1, true);
    tellers.Kill(0);
    if (lost) tellers.Lose(0);
    tellers.Open(0);
    ExpectADropWaits(tellers, 0, 1, watcher);
  }
}

TEST(CatalogueLeasesTest, OneThatWasStartedWaitsForWhatItPromisedToWhoIsListedNoMore) {
  CatalogueTellers tellers(3);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.AwaitEven();
  tellers.line(1).Cut(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be reading
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  tellers.CutOff(1, true);
  const std::vector<std::string> left = {"teller-0", "", "teller-2"};
  tellers.AppendRecord(SetReplicasCommand{0, CatalogueTellers::Addresses(3), left, NewChangeRequest()});
  const CallLimits limits = CatalogueTellers::Within(std::chrono::seconds(30));
  for (const uint32_t number : {0U, 2U}) ASSERT_TRUE(tellers[number].applier().AwaitEnd(limits).ok());
  ASSERT_EQ(tellers[0].names().ReplicasOf(0).addresses, left);
  tellers.Kill(0);
  tellers.Open(0);
  ExpectADropWaits(tellers, 0, 1, watcher);
}

TEST(CatalogueLeasesTest, OneThatIsNewlyListedWaitsForWhatOthersPromisedBefore) {
  CatalogueTellers tellers(2);
  tellers.Open(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.AwaitEven();
  std::this_thread::sleep_for(CatalogueTellers::kPromise);  // of the one before it there was nothing
  tellers.line(1).Cut(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be reading
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  tellers.CutOff(1, true);
  const auto two = CatalogueTellers::Addresses(2);
  const auto three = CatalogueTellers::Addresses(3);
  auto listing = std::async(std::launch::async, [&] {
    return tellers.Change(0, SetReplicasCommand{0, two, three, NewChangeRequest(), true}).status();
  });
  const Steady::time_point end = Steady::now() + std::chrono::seconds(30);
  while (!tellers[2].listed() && Steady::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  // Nobody ever asked it for a promise.
  ExpectADropWaits(tellers, 2, 1, watcher);
  EXPECT_TRUE(listing.get().ok());
}

TEST(CatalogueLeasesTest, WhoHeardOfWhatItLacksLendsNothing) {
  CatalogueTellers tellers(2);
  tellers.AwaitEven();
  CatalogueApplier& applier = tellers[1].applier();
  const LogOffset end = tellers.log().End({}).value();
  // What it is told by whoever leads there no more; another teller has seen more.
  EXPECT_EQ(tellers[1].Confirm(end, CatalogueTellers::Within(std::chrono::milliseconds(50))).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(applier.known_at(), Steady::time_point::min());
  EXPECT_EQ(tellers[1].known().at, Steady::time_point::min()) << "whatever the other promises";
  EXPECT_EQ(tellers[1].known().until, Steady::time_point::min());
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  tellers.AwaitEven();
  EXPECT_GT(applier.known_at(), Steady::time_point::min());
  EXPECT_GT(tellers[1].known().at, Steady::time_point::min());
}

TEST(CatalogueLeasesTest, AWatcherGoesFromOneToAnotherAndNeverBack) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("a")).ok());
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[0], watcher));
  tellers.line(1).Cut(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it may be reading
  ASSERT_TRUE(tellers.Change(0, Drop("a")).ok());
  ASSERT_TRUE(AwaitLent(tellers[0], watcher));
  EXPECT_FALSE(watcher.Knows("a"));
  EXPECT_FALSE(watcher.Ask(tellers[1])) << "it has the memory that was dropped";
  EXPECT_FALSE(watcher.Knows("a"));
  tellers.line(1).Cut(false);
  tellers.AwaitEven();
  ASSERT_TRUE(tellers.Change(0, Create("b")).ok());
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  EXPECT_TRUE(watcher.Knows("b"));
}

}  // namespace
}  // namespace mneme
