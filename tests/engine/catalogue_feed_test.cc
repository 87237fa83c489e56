// Who is told of changes of the catalogue, and when a change is known to all who might answer from what they knew.
#include "engine/catalogue_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TokenMemory;
using Steady = std::chrono::steady_clock;

MemoryRecord Record(MemoryNumber number, const std::string& name) {
  MemoryRecord record;
  record.number = number;
  record.spec = TokenMemory(name, 4);
  return record;
}

class CatalogueFeedTest : public ::testing::Test {
 protected:
  void Start(std::chrono::milliseconds lease = std::chrono::milliseconds(300), bool fresh = true,
             std::chrono::milliseconds poll = std::chrono::milliseconds(60)) {
    feed_ = std::make_unique<CatalogueFeed>(&names_,
                                            CatalogueFeedOptions{.lease = lease, .poll = poll, .fresh = fresh});
  }
  void Create(MemoryNumber number, const std::string& name) {
    CatalogueChanges changes;
    changes.memories.push_back(Record(number, name));
    changes.next_number = number + 1;
    ASSERT_TRUE(names_.Apply(changes).ok());
  }
  void Drop(MemoryNumber number) {
    CatalogueChanges changes;
    changes.removed.push_back(number);
    ASSERT_TRUE(names_.Apply(changes).ok());
  }
  CatalogueFeed::Answer Watch(const std::string& watcher, const CatalogueFeed::Known& known) {
    std::promise<CatalogueFeed::Answer> told;
    feed_->Watch(watcher, known, [&](CatalogueFeed::Answer answer) { told.set_value(std::move(answer)); });
    return told.get_future().get();
  }
  static CatalogueFeed::Known KnownFrom(const CatalogueFeed::Answer& answer) {
    return {answer.epoch, answer.changes.revision};
  }
  // How long a change waits to be known.
  std::chrono::milliseconds PublishTime() {
    const auto start = Steady::now();
    EXPECT_TRUE(feed_->Publish({}).ok());
    return std::chrono::duration_cast<std::chrono::milliseconds>(Steady::now() - start);
  }
  static std::vector<std::string> NamesOf(const CatalogueChanges& changes) {
    std::vector<std::string> names;
    for (const MemoryRecord& memory : changes.memories) names.push_back(memory.spec.name);
    return names;
  }

  CatalogueNames names_;
  std::unique_ptr<CatalogueFeed> feed_;
};

TEST(WatcherClocksTest, AClockIsWrongWhenMoreThanHalfOfTheOthersAreFarFromIt) {
  const auto clocks = std::make_shared<WatcherClocks>();
  const auto check = [&] { return clocks->Check(SystemClock().NowMs()); };
  EXPECT_EQ(check().code(), absl::StatusCode::kUnavailable) << "nobody has said that it is right";
  CatalogueNames names;
  const CatalogueFeed feed(&names, {.lease = std::chrono::minutes(1), .fresh = true, .clocks = clocks});
  feed.NoteClock("a", -86'400'000);
  EXPECT_EQ(check().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(check().message()), ::testing::HasSubstr("1 of 1 other processes"));
  feed.NoteClock("b", 50);
  EXPECT_TRUE(check().ok());
  feed.NoteClock("c", 60'010);
  EXPECT_EQ(check().code(), absl::StatusCode::kFailedPrecondition);
  feed.NoteClock("c", 59'990);
  EXPECT_TRUE(check().ok());
  for (const char* gone : {"b", "c"}) clocks->Note(gone, 0, Steady::now());
  EXPECT_EQ(check().code(), absl::StatusCode::kFailedPrecondition) << "only who still asks counts";
}

TEST(WatcherClocksTest, AClockThatIsSetIsWrongBeforeAnybodyHasSaidMore) {
  ManualClock own(1'700'000'000'000);
  WatcherClocks clocks(&own);
  clocks.Note("a", 0, Steady::now() + std::chrono::minutes(1));
  EXPECT_TRUE(clocks.Check(own.NowMs()).ok());
  for (const int64_t ms : {3'600'000, -3'600'000}) {
    own.Advance(ms);
    const int64_t stamp_ms = own.NowMs();
    EXPECT_EQ(clocks.Check(stamp_ms).code(), absl::StatusCode::kFailedPrecondition);
    own.Advance(-ms);
    EXPECT_TRUE(clocks.Check(own.NowMs()).ok());
    EXPECT_EQ(clocks.Check(stamp_ms).code(), absl::StatusCode::kFailedPrecondition) << "a stamp of when it was wrong";
  }
}

TEST_F(CatalogueFeedTest, AWatcherThatKnowsNothingIsToldEverythingAtOnce) {
  Start();
  Create(1, "a");
  Create(2, "b");
  const auto answer = Watch("front", {});
  EXPECT_TRUE(answer.changes.whole);
  EXPECT_THAT(NamesOf(answer.changes), ElementsAre("a", "b"));
  EXPECT_EQ(answer.changes.next_number, 3U);
}

TEST_F(CatalogueFeedTest, LaterOnlyWhatChanged) {
  Start();
  Create(1, "a");
  const auto first = Watch("front", {});
  Create(2, "b");
  Drop(1);
  const auto second = Watch("front", KnownFrom(first));
  EXPECT_FALSE(second.changes.whole);
  EXPECT_THAT(NamesOf(second.changes), ElementsAre("b"));
  EXPECT_THAT(second.changes.removed, ElementsAre(1));
  const auto third = Watch("front", KnownFrom(second));
  EXPECT_THAT(third.changes.memories, IsEmpty()) << "nothing happened: an answer all the same, as a lease";
  EXPECT_EQ(third.changes.revision, second.changes.revision);
}

TEST_F(CatalogueFeedTest, AChangeAnswersWhoWaits) {
  Start(std::chrono::minutes(5), /*fresh=*/true, /*poll=*/std::chrono::minutes(2));
  const auto first = Watch("front", {});
  std::thread creator([&] {
    Create(1, "a");
    EXPECT_TRUE(feed_->Publish({.deadline = Steady::now() + std::chrono::milliseconds(100)}).ok() == false)
        << "the watcher never says that it took it";
  });
  const auto second = Watch("front", KnownFrom(first));
  creator.join();
  EXPECT_THAT(NamesOf(second.changes), ElementsAre("a"));
}

TEST_F(CatalogueFeedTest, WithoutWatchersNobodyIsWaitedFor) {
  Start(std::chrono::seconds(30));
  Create(1, "a");
  EXPECT_LT(PublishTime().count(), 5'000);
}

TEST_F(CatalogueFeedTest, AChangeWaitsUntilAWatcherHasTakenIt) {
  Start(std::chrono::seconds(30));
  auto answer = Watch("front", {});
  Create(1, "a");
  std::atomic<bool> known{false};
  std::thread publisher([&] {
    EXPECT_TRUE(feed_->Publish({}).ok());
    known = true;
  });
  answer = Watch("front", KnownFrom(answer));  // told, but it has not said that it took it
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(known.load());
  (void)Watch("front", KnownFrom(answer));
  publisher.join();
  EXPECT_TRUE(known.load());
}

TEST_F(CatalogueFeedTest, AWatcherThatIsGoneIsWaitedForUntilItsLeaseIsOver) {
  Start(std::chrono::milliseconds(300));
  (void)Watch("front", {});
  Create(1, "a");
  const auto waited = PublishTime();
  EXPECT_GE(waited.count(), 250);
  EXPECT_LT(waited.count(), 20'000);
  EXPECT_LT(PublishTime().count(), 250) << "nobody is left to wait for";
}

TEST_F(CatalogueFeedTest, AWatcherThatAsksOnAndNeverTakesIsWaitedForOnce) {
  Start(std::chrono::milliseconds(300));
  const auto first = Watch("front", {});
  Create(1, "a");
  std::atomic<bool> known{false};
  std::thread asker([&] {
    while (!known) (void)Watch("front", KnownFrom(first));  // each a lease, which comes with the change
  });
  const auto waited = PublishTime();
  known = true;
  asker.join();
  EXPECT_GE(waited.count(), 250);
  EXPECT_LT(waited.count(), 20'000);
}

TEST_F(CatalogueFeedTest, AWatcherThatLeavesIsNotWaitedFor) {
  Start(std::chrono::seconds(30));
  const auto first = Watch("front", {});
  Create(1, "a");
  std::thread leaver([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    feed_->Leave("front");
  });
  EXPECT_LT(PublishTime().count(), 10'000);
  leaver.join();
}

TEST_F(CatalogueFeedTest, AnOwnerThatWasStartedAnewWaitsForTheLeasesOfTheOneBefore) {
  Start(std::chrono::milliseconds(300), /*fresh=*/false);
  Create(1, "a");
  EXPECT_GE(PublishTime().count(), 200);
}

TEST_F(CatalogueFeedTest, WhoWasToldByAnotherOwnerIsToldEverything) {
  Start();
  Create(1, "a");
  const auto before = Watch("front", {});
  Start();  // anew, with the names as they are
  const auto after = Watch("front", KnownFrom(before));
  EXPECT_TRUE(after.changes.whole);
  EXPECT_NE(after.epoch, before.epoch);
}

TEST_F(CatalogueFeedTest, WhoMissedTooMuchIsToldEverything) {
  Start();
  Create(1, "first");
  const auto first = Watch("front", {});
  for (MemoryNumber number = 2; number < 5'000; ++number) Create(number, "m" + std::to_string(number));
  const auto second = Watch("front", KnownFrom(first));
  EXPECT_TRUE(second.changes.whole);
  EXPECT_EQ(second.changes.memories.size(), 4'999U);
}

TEST_F(CatalogueFeedTest, ACallerWhoseTimeIsOverDoesNotWait) {
  Start(std::chrono::seconds(30));
  (void)Watch("front", {});
  Create(1, "a");
  const absl::Status status = feed_->Publish({.deadline = Steady::now() + std::chrono::milliseconds(30)});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(CatalogueFeedTest, ItsEndAnswersWhoWaits) {
  Start(std::chrono::seconds(30));
  const auto first = Watch("front", {});
  std::promise<void> told;
  feed_->Watch("front", KnownFrom(first), [&](const CatalogueFeed::Answer&) { told.set_value(); });
  feed_.reset();
  EXPECT_EQ(told.get_future().wait_for(std::chrono::seconds(0)), std::future_status::ready);
}

// One of several that tell the same names.
class FeedOfSeveralTest : public CatalogueFeedTest {
 protected:
  static constexpr std::chrono::milliseconds kLease{1'000};

  FeedOfSeveralTest() {
    CatalogueChanges none;
    none.whole = true;
    EXPECT_TRUE(names_.ApplyAt(10, none).ok());
    CatalogueFeedOptions options;
    options.lease = kLease;
    options.poll = std::chrono::milliseconds(60);
    options.fresh = true;
    options.epoch = 7;
    options.known = [this] {
      const auto at = Steady::now() - std::chrono::milliseconds(behind_ms_.load());
      return NamesKnown{at, at + kLease + std::chrono::milliseconds(longer_ms_.load())};
    };
    feed_ = std::make_unique<CatalogueFeed>(&names_, std::move(options));
  }

  std::atomic<int> behind_ms_{0};
  std::atomic<int> longer_ms_{0};
};

TEST_F(FeedOfSeveralTest, ALeaseCountsFromWhenTheNamesWereAllThereAre) {
  behind_ms_ = 200;
  const auto answer = Watch("front", {7, 10, /*at_once=*/true});
  EXPECT_EQ(answer.epoch, 7U);
  EXPECT_EQ(answer.changes.revision, 10U);
  EXPECT_FALSE(answer.cut_off);
  EXPECT_LE(answer.lease, kLease - std::chrono::milliseconds(190));
  EXPECT_GT(answer.lease.count(), 0);
  EXPECT_EQ(answer.lease + answer.behind, kLease);
  behind_ms_ = 700;
  EXPECT_TRUE(Watch("front", {7, 10, /*at_once=*/true}).cut_off);
  // They may be told for longer: no lease is longer than any, and another teller may know more all the same.
  longer_ms_ = 2'000;
  const auto longer = Watch("front", {7, 10, /*at_once=*/true});
  EXPECT_EQ(longer.lease, kLease);
  EXPECT_TRUE(longer.cut_off);
  longer_ms_ = 0;
  behind_ms_ = 60'000;
  EXPECT_EQ(Watch("front", {7, 10, /*at_once=*/true}).lease.count(), 0);
}

TEST_F(FeedOfSeveralTest, WhoKnowsMoreThanThisOneIsNotToldAtOnce) {
  const auto start = Steady::now();
  const auto answer = Watch("front", {7, 12});
  EXPECT_GE(Steady::now(), start + std::chrono::milliseconds(50));
  EXPECT_EQ(answer.changes.revision, 10U);
  EXPECT_FALSE(answer.changes.whole) << "all of it, to be thrown away";
  CatalogueChanges made;
  made.memories.push_back(Record(1, "a"));
  made.next_number = 2;
  ASSERT_TRUE(names_.ApplyAt(13, made).ok());
  const auto told = Watch("front", {7, 10});
  EXPECT_EQ(told.changes.revision, 13U);
  EXPECT_FALSE(told.changes.whole);
  EXPECT_THAT(NamesOf(told.changes), ElementsAre("a"));
  EXPECT_TRUE(Watch("front", {7, 9}).changes.whole) << "what led to 10 is not known one by one";
}

TEST_F(FeedOfSeveralTest, WhatChangesMeanwhileIsNotWaitedFor) {
  const auto asked = Steady::now();
  (void)Watch("front", {7, 10, /*at_once=*/true});
  CatalogueChanges none;
  ASSERT_TRUE(names_.ApplyAt(11, none).ok());
  const auto now = Steady::now();
  EXPECT_TRUE(feed_->Publish(10, now, {}).ok());
  EXPECT_LT(Steady::now(), now + kLease / 2) << "it has taken 10";
  EXPECT_TRUE(feed_->Publish(11, now, {}).ok());
  EXPECT_GE(Steady::now(), asked + kLease - std::chrono::milliseconds(50)) << "of 11 it was told nothing";
}

TEST(CatalogueNamesTest, ChangesTakenTogetherFreeNamesBeforeTheyAreTaken) {
  CatalogueNames names;
  CatalogueChanges first;
  first.memories = {Record(1, "wiki")};
  first.aliases = {{2, "live", 1}};
  ASSERT_TRUE(names.Apply(first).ok());
  const MemoryHandle held = names.Find("live").value();
  CatalogueChanges second;
  second.removed = {2, 1};
  second.memories = {Record(3, "wiki"), Record(4, "live")};
  const auto gone = names.Apply(second);
  ASSERT_TRUE(gone.ok()) << gone.status();
  EXPECT_THAT(*gone, ElementsAre(held));
  EXPECT_EQ(names.Find("wiki").value()->number, 3U);
  EXPECT_EQ(names.Find("live").value()->number, 4U);
}

TEST(CatalogueNamesTest, AMemoryThatStaysKeepsItsHandle) {
  CatalogueNames names;
  CatalogueChanges whole;
  whole.whole = true;
  whole.memories = {Record(1, "a"), Record(2, "b")};
  ASSERT_TRUE(names.Apply(whole).ok());
  const MemoryHandle held = names.Find("a").value();
  whole.memories = {Record(1, "a")};
  const auto gone = names.Apply(whole);
  EXPECT_EQ(names.Find("a").value(), held);
  ASSERT_EQ(gone->size(), 1U);
  EXPECT_EQ(gone->front()->number, 2U);
}

TEST(CatalogueNamesTest, WhatAnOlderCopyOfTheCatalogueLacksIsNotGone) {
  CatalogueChanges changes;
  changes.whole = true;
  changes.memories = {Record(1, "a")};
  changes.next_number = 2;
  const CatalogueChanges older = changes;
  CatalogueNames names;
  ASSERT_TRUE(names.Apply(older).ok());
  ASSERT_TRUE(names.Apply(older).ok()) << "the same again";
  changes.memories.push_back(Record(2, "b"));
  changes.next_number = 3;
  ASSERT_TRUE(names.Apply(changes).ok());
  const uint64_t revision = names.revision();
  EXPECT_TRUE(absl::IsDataLoss(names.Apply(older).status()));
  // It has caught up, with another memory of the same number.
  CatalogueChanges other = older;
  other.memories.push_back(Record(2, "c"));
  other.next_number = 4;
  EXPECT_TRUE(absl::IsDataLoss(names.Apply(other).status()));
  EXPECT_EQ(names.Find("b").value()->number, 2U);
  EXPECT_EQ(names.revision(), revision);
  EXPECT_EQ(names.next_number(), 3U);
}

TEST(CatalogueNamesTest, ASwungAliasIsToldByItsNumber) {
  CatalogueNames names;
  CatalogueChanges first;
  first.memories = {Record(1, "a"), Record(2, "b")};
  first.aliases = {{3, "live", 1}};
  ASSERT_TRUE(names.Apply(first).ok());
  const uint64_t before = names.revision();
  CatalogueChanges swing;
  swing.aliases = {{3, "live", 2}};
  ASSERT_TRUE(names.Apply(swing).ok());
  const CatalogueChanges told = names.ChangesSince(before);
  EXPECT_THAT(told.aliases, ElementsAre(AliasRecord{3, "live", 2}));
  EXPECT_THAT(told.memories, IsEmpty());
  EXPECT_THAT(names.ChangesSince(names.revision()).aliases, IsEmpty());
}

}  // namespace
}  // namespace mneme
