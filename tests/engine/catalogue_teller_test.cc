// Several that tell names: whichever is asked, whatever dies, nobody is told what was before an acknowledged change.
#include "engine/catalogue_teller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include "common/error_reason.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"
#include "tests/engine/catalogue_tellers.h"
#include "tests/engine/catalogue_watcher.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::AwaitLent;
using testing::CatalogueTellers;
using testing::Create;
using testing::Drop;
using testing::Set;
using testing::TestWatcher;
using Steady = std::chrono::steady_clock;

std::vector<std::string> NamesOf(const CatalogueTeller& teller) {
  std::vector<std::string> names;
  for (const MemoryHandle& memory : teller.names().List()) names.push_back(memory->spec.name);
  return names;
}

TEST(CatalogueTellerTest, AChangeAtOneIsKnownAtAllWhenItIsAcknowledged) {
  CatalogueTellers tellers(3);
  for (uint32_t number = 0; number < 3; ++number) {
    const auto made = tellers.Change(number, Create("m" + std::to_string(number)));
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ((*made)->number, number + 1);
    EXPECT_GT((*made)->created_ms, 0);
    for (uint32_t other = 0; other < 3; ++other) {
      EXPECT_EQ(tellers[other].names().FindByNumber(number + 1)->spec.name, "m" + std::to_string(number));
    }
  }
  ASSERT_TRUE(tellers.Change(1, Set("live", "m0")).ok());
  const auto before = tellers.Change(2, Set("live", "m1"));
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ((*before)->spec.name, "m0");
  ASSERT_TRUE(tellers.Change(0, Drop("m0")).ok());
  EXPECT_EQ(tellers.Change(0, Drop("m0")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(tellers.Change(0, Drop("m1")).status()), reason::kMemoryAliased);
  tellers.AwaitEven();
  for (uint32_t number = 0; number < 3; ++number) {
    EXPECT_THAT(NamesOf(tellers[number]), ElementsAre("m1", "m2"));
    EXPECT_EQ(tellers[number].names().revision(), tellers.log().End({}).value());
    EXPECT_EQ(tellers[number].names().next_number(), tellers[0].names().next_number());
  }
}

TEST(CatalogueTellerTest, TheFirstCreateOfANameWinsWhereverItIsAsked) {
  CatalogueTellers tellers(2);
  for (int round = 0; round < 5; ++round) {
    const std::string name = "m" + std::to_string(round);
    std::vector<std::future<absl::StatusOr<MemoryHandle>>> asked;
    for (uint32_t number = 0; number < 2; ++number) {
      asked.push_back(std::async(std::launch::async, [&tellers, &name, number] {
        return tellers.Change(number, Create(name, 4 + number));
      }));
    }
    std::vector<absl::StatusOr<MemoryHandle>> outcomes;
    for (auto& each : asked) outcomes.push_back(each.get());
    const size_t winner = outcomes[0].ok() ? 0 : 1;
    ASSERT_TRUE(outcomes[winner].ok()) << outcomes[winner].status();
    EXPECT_EQ(outcomes[1 - winner].status().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(ReasonOf(outcomes[1 - winner].status()), reason::kMemoryExists);
    for (uint32_t number = 0; number < 2; ++number) {
      EXPECT_EQ(tellers[number].names().Find(name).value()->spec.dimension, 4 + winner);
    }
  }
}

TEST(CatalogueTellerTest, AChangeThatIsHandedOverAgainIsDoneOnce) {
  CatalogueTellers tellers(2);
  const CreateMemoryCommand create = Create("wiki");
  const DropMemoryCommand drop = Drop("wiki");
  const auto first = tellers.Change(0, create);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = tellers.Change(1, create);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->number, (*first)->number);
  ASSERT_TRUE(tellers.Change(0, drop).ok());
  ASSERT_TRUE(tellers.Change(1, drop).ok());
  // What they ask would be done now; it was done then.
  EXPECT_EQ(tellers.Change(1, create).value()->number, (*first)->number);
  EXPECT_THAT(NamesOf(tellers[1]), IsEmpty());
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  ASSERT_TRUE(tellers.Change(0, drop).ok());
  EXPECT_THAT(NamesOf(tellers[0]), ElementsAre("wiki"));
  // A refusal stays one.
  const CreateMemoryCommand second = Create("wiki");
  EXPECT_EQ(tellers.Change(0, second).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(tellers.Change(0, Drop("wiki")).ok());
  const absl::Status refused = tellers.Change(1, second).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(refused), reason::kMemoryExists);
}

TEST(CatalogueTellerTest, AnAppendThatNobodyHeardOfMayBeDoneAndIsNotDoneTwice) {
  CatalogueTellers tellers(2);
  tellers.log().FailAppends(absl::UnavailableError("nobody knows"), 1, testing::MemoryLog::Fate::kAppended);
  const CreateMemoryCommand create = Create("wiki");
  EXPECT_EQ(tellers.Change(0, create).status().code(), absl::StatusCode::kUnavailable);
  const auto made = tellers.Change(1, create);
  ASSERT_TRUE(made.ok()) << made.status();
  tellers.AwaitEven();
  EXPECT_THAT(NamesOf(tellers[0]), ElementsAre("wiki"));
  EXPECT_EQ(tellers[0].names().next_number(), (*made)->number + 1);
}

TEST(CatalogueTellerTest, ARestartGoesOnWhereItWasAndForgetsNoRequest) {
  CatalogueTellers tellers(2);
  const CreateMemoryCommand create = Create("wiki");
  const MemoryNumber number = tellers.Change(0, create).value()->number;
  ASSERT_TRUE(tellers.Change(0, Set("live", "wiki")).ok());
  const Sequence applied = tellers.log().End({}).value();
  tellers.Kill(1);
  ASSERT_TRUE(tellers.Change(0, Create("missed")).ok());
  EXPECT_EQ(tellers.OpenCatalogue(1)->applied(), applied);
  tellers.Open(1);
  tellers.AwaitEven();
  EXPECT_THAT(NamesOf(tellers[1]), ElementsAre("missed", "wiki"));
  EXPECT_EQ(tellers[1].names().Find("live").value()->number, number);
  EXPECT_EQ(tellers[1].names().next_number(), tellers[0].names().next_number());
  EXPECT_EQ(tellers.Change(1, create).value()->number, number);
  EXPECT_EQ(tellers.Change(1, Create("wiki")).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(CatalogueTellerTest, OneThatTheLogDoesNotReachTakesWhatAnotherHas) {
  CatalogueTellers tellers(2);
  tellers.Kill(1);
  const CreateMemoryCommand create = Create("wiki");
  const MemoryNumber number = tellers.Change(0, create).value()->number;
  ASSERT_TRUE(tellers.Change(0, Create("gone")).ok());
  ASSERT_TRUE(tellers.Change(0, Drop("gone")).ok());
  ASSERT_TRUE(tellers.Change(0, Set("live", "wiki")).ok());
  tellers.log().DropBefore(tellers.log().End({}).value());
  // As it travels.
  CatalogueSnapshot snapshot;
  ASSERT_TRUE(Unflat(Flat(tellers[0].Snapshot()), snapshot).ok());
  {
    const auto catalogue = tellers.OpenCatalogue(1);
    ASSERT_TRUE(catalogue->Take(snapshot).ok());
    EXPECT_EQ(catalogue->Take(snapshot).code(), absl::StatusCode::kFailedPrecondition) << "it is as far";
    EXPECT_EQ(catalogue->applied(), snapshot.applied);
    EXPECT_EQ(catalogue->names().Find("live").value()->number, number);
  }
  tellers.Open(1);
  ASSERT_TRUE(tellers.Change(1, Create("next")).ok());
  EXPECT_THAT(NamesOf(tellers[1]), ElementsAre("next", "wiki"));
  EXPECT_EQ(tellers[1].names().next_number(), tellers[0].names().next_number());
  EXPECT_EQ(tellers.Change(1, create).value()->number, number) << "requests came with it";
  EXPECT_TRUE(tellers[1].applier().status().ok());
}

TEST(CatalogueTellerTest, WithoutASnapshotOneThatTheLogDoesNotReachSaysSo) {
  CatalogueTellers tellers(1);
  tellers.AwaitEven();
  tellers.Kill(0);
  for (const char* name : {"a", "b"}) tellers.AppendRecord(Create(name));
  tellers.log().DropBefore(3);
  tellers.Open(0);
  const absl::Status status =
      tellers[0].applier().AwaitHandled(4, CatalogueTellers::Within(std::chrono::seconds(30)));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("does not have offset 2"));
}

TEST(CatalogueTellerTest, ARecordOfAnotherDeploymentEndsIt) {
  CatalogueTellers tellers(1);
  // Who founded at the same moment, and came second, ends nothing.
  tellers.AppendRecord(FoundCommand{1}, CatalogueTellers::kDeployment + 2);
  ASSERT_TRUE(tellers.Change(0, Create("mine")).ok());
  tellers.AppendRecord(Create("wiki"), CatalogueTellers::kDeployment + 1);
  const absl::Status status =
      tellers[0].applier().AwaitHandled(100, CatalogueTellers::Within(std::chrono::seconds(30)));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("another deployment"));
  TestWatcher watcher;
  EXPECT_FALSE(watcher.Ask(tellers[0]));
  EXPECT_FALSE(tellers.Change(0, Create("more")).ok());
}

TEST(CatalogueTellerTest, OneThatIsNotListedLendsAndAcknowledgesNothingUntilItIs) {
  CatalogueTellers tellers(1);
  tellers.Open(1);
  tellers.AwaitEven();
  TestWatcher watcher;
  EXPECT_FALSE(watcher.Ask(tellers[1])) << "the other does not wait for it";
  const CreateMemoryCommand create = Create("wiki");
  EXPECT_EQ(tellers.Change(1, create).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(tellers.Change(0, create).ok()) << "it was made all the same";
  const auto both = CatalogueTellers::Addresses(2);
  ASSERT_TRUE(tellers[1].Enlist(both, CatalogueTellers::Within(std::chrono::seconds(30))).ok());
  ASSERT_TRUE(tellers[0].Enlist(both, CatalogueTellers::Within(std::chrono::seconds(30))).ok()) << "it says so already";
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  EXPECT_TRUE(watcher.Knows("wiki"));
  tellers.Kill(1);
  ASSERT_TRUE(tellers.Change(0, Drop("wiki")).ok());
  EXPECT_LE(watcher.until(), Steady::now());
}

TEST(CatalogueTellerTest, OneThatIsNotListedAnyMoreIsWaitedForOnceMore) {
  CatalogueTellers tellers(2);
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  TestWatcher watcher;
  ASSERT_TRUE(AwaitLent(tellers[1], watcher));
  // It does not hear of it, and lends what it may.
  tellers.line(1).Cut(true);
  tellers.CutOff(1, true);
  const CallLimits limits = CatalogueTellers::Within(std::chrono::seconds(30));
  ASSERT_TRUE(tellers[0].Enlist(CatalogueTellers::Addresses(1), limits).ok());
  (void)watcher.Ask(tellers[1]);
  ASSERT_TRUE(tellers.Change(0, Drop("wiki")).ok());
  EXPECT_LE(watcher.until(), Steady::now());
  std::this_thread::sleep_for(CatalogueTellers::kPromise);
  const Steady::time_point start = Steady::now();
  ASSERT_TRUE(tellers.Change(0, Create("wiki")).ok());
  EXPECT_LT(Steady::now(), start + CatalogueTellers::kLease) << "and then no more";
  tellers.line(1).Cut(false);
  tellers.AwaitEven();
  EXPECT_FALSE(watcher.Ask(tellers[1]));
}

TEST(CatalogueTellerTest, TwoThatEnlistAtOnceComeToOneList) {
  CatalogueTellers tellers(2);
  const std::vector<std::vector<std::string>> lists = {{"teller-0", "teller-1", "a"},
                                                       {"teller-0", "teller-1", "", "b"}};
  std::vector<std::future<absl::Status>> enlisting;
  for (uint32_t number = 0; number < 2; ++number) {
    enlisting.push_back(std::async(std::launch::async, [&tellers, &lists, number] {
      return tellers[number].Enlist(lists[number], CatalogueTellers::Within(std::chrono::seconds(30)));
    }));
  }
  for (auto& each : enlisting) EXPECT_TRUE(each.get().ok());
  tellers.AwaitEven();
  const auto list = tellers[0].Snapshot().names.replicas;
  EXPECT_EQ(list, tellers[1].Snapshot().names.replicas);
  EXPECT_TRUE(list.at(0).addresses == lists[0] || list.at(0).addresses == lists[1]);
}

TEST(CatalogueTellerTest, WhatAnOperatorSetsIsToldAndNoOptionsSetItBack) {
  CatalogueTellers tellers(2);
  tellers.Open(2);
  tellers.AwaitEven();
  const auto two = CatalogueTellers::Addresses(2);
  const auto three = CatalogueTellers::Addresses(3);
  const uint64_t before = tellers[1].names().revision();
  EXPECT_FALSE(tellers[2].listed());
  ASSERT_TRUE(tellers.Change(0, SetReplicasCommand{0, two, three, NewChangeRequest(), true}).ok());
  ASSERT_TRUE(tellers.Change(1, SetReplicasCommand{1, {}, {"a:1"}, NewChangeRequest(), true}).ok()) << "of any shard";
  tellers.AwaitEven();
  EXPECT_TRUE(tellers[2].listed());
  const ReplicaLists told = tellers[1].names().ChangesSince(before).replicas;
  EXPECT_EQ(told, (ReplicaLists{{0, ReplicaList{three, true}}, {1, ReplicaList{{"a:1"}, true}}}));
  EXPECT_TRUE(tellers[1].names().ChangesSince(tellers[1].names().revision()).replicas.empty());
  // Another list was expected, or it is one of options.
  EXPECT_EQ(tellers.Change(1, SetReplicasCommand{0, two, two, NewChangeRequest(), true}).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(tellers.Change(1, SetReplicasCommand{0, three, two, NewChangeRequest(), false}).status().code(),
            absl::StatusCode::kAborted);
  const CallLimits limits = CatalogueTellers::Within(std::chrono::seconds(30));
  EXPECT_TRUE(tellers[2].Enlist(two, limits).ok()) << "it goes by the list";
  // One that is drained is not waited for once it may not lend any more, and after a restart, too.
  const SetReplicasCommand drain{0, three, {"", "teller-1", "teller-2"}, NewChangeRequest(), true};
  EXPECT_EQ(tellers.Change(0, drain).status().code(), absl::StatusCode::kUnavailable) << "it is none of them any more";
  EXPECT_TRUE(tellers.Change(1, drain).ok()) << "and it was done all the same";
  tellers.AwaitEven();
  EXPECT_FALSE(tellers[0].listed());
  tellers.Kill(0);
  tellers.Kill(1);
  tellers.Open(1);
  tellers.AwaitEven();
  EXPECT_EQ(tellers[1].names().ReplicasOf(0), (ReplicaList{{"", "teller-1", "teller-2"}, true}));
  std::this_thread::sleep_for(CatalogueTellers::kPromise);
  const Steady::time_point start = Steady::now();
  ASSERT_TRUE(tellers.Change(2, Create("wiki")).ok());
  EXPECT_LT(Steady::now(), start + CatalogueTellers::kLease);
}

TEST(CatalogueTellerTest, OfTwoThatChangeAListAtOnceOneIsRefused) {
  CatalogueTellers tellers(2);
  tellers.AwaitEven();
  const auto two = CatalogueTellers::Addresses(2);
  std::vector<std::future<absl::Status>> setting;
  for (uint32_t number = 0; number < 2; ++number) {
    setting.push_back(std::async(std::launch::async, [&tellers, &two, number] {
      std::vector<std::string> wanted = two;
      wanted.push_back(number == 0 ? "a:1" : "b:2");
      return tellers.Change(number, SetReplicasCommand{1, {}, wanted, NewChangeRequest(), true}).status();
    }));
  }
  const absl::Status first = setting[0].get();
  const absl::Status second = setting[1].get();
  EXPECT_NE(first.ok(), second.ok()) << first << second;
  EXPECT_TRUE(absl::IsAborted(first.ok() ? second : first));
  tellers.AwaitEven();
  EXPECT_EQ(tellers[0].names().ReplicasOf(1), tellers[1].names().ReplicasOf(1));
  EXPECT_EQ(tellers[0].names().ReplicasOf(1).addresses.back(), first.ok() ? "a:1" : "b:2");
}

TEST(CatalogueTellerTest, WhoHandedAListToTheLogLendsByTheLogAloneUntilItKnowsWhatBecameOfIt) {
  CatalogueTellers tellers(2);
  tellers.AwaitEven();
  const auto two = CatalogueTellers::Addresses(2);
  const auto promise = [&] { return tellers[0].Promise("teller-1", tellers[0].applier().handled()); };
  ASSERT_TRUE(promise().ok());
  const auto await_lost = [&](bool lost) {
    const Steady::time_point end = Steady::now() + std::chrono::seconds(30);
    while (tellers[0].applier().lost() != lost && Steady::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(tellers[0].applier().lost(), lost);
  };
  // It is in the log, and applied, and who appended it has not heard so.
  tellers.log().HoldAppends();
  auto setting = std::async(std::launch::async, [&] {
    return tellers.Change(0, SetReplicasCommand{0, two, two, NewChangeRequest(), true}).status();
  });
  const Steady::time_point end = Steady::now() + std::chrono::seconds(30);
  while (promise().ok() && Steady::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(promise().status().code(), absl::StatusCode::kUnavailable);
  tellers.log().StopReading();
  std::this_thread::sleep_for(CatalogueTellers::kPoll);  // it may be asking
  const Steady::time_point stopped = Steady::now();
  for (uint32_t number = 0; number < 2; ++number) EXPECT_LE(tellers[number].known().at, stopped) << number;
  tellers.log().GoOnReading();
  tellers.log().ReleaseAppends();
  EXPECT_TRUE(setting.get().ok());
  EXPECT_TRUE(promise().ok());
  await_lost(false);
  // One that was refused may be there, until the log was seen to its end.
  tellers.log().FailAppends(absl::UnavailableError("nobody knows"), 1, testing::MemoryLog::Fate::kLost);
  const SetReplicasCommand lost{0, two, two, NewChangeRequest(), true};
  EXPECT_EQ(tellers.Change(0, lost).status().code(), absl::StatusCode::kUnavailable);
  tellers.AwaitEven();
  EXPECT_TRUE(promise().ok());
  // And where the log is not there none is handed to it: all are told names by promises meanwhile.
  tellers.line(0).Cut(true);
  await_lost(true);
  EXPECT_EQ(tellers.Change(0, lost).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(promise().ok());
}

TEST(CatalogueTest, TheOldestRequestsAreForgottenAlikeEverywhere) {
  TemporaryDirectory directory;
  StoreResources resources(4 << 20, 64 << 20);
  constexpr size_t kRemembered = 3;
  const auto open = [&](const std::string& name) {
    return Catalogue::OpenLogged(OpenLoggedCatalogueStore(directory / name, &resources).value(), kRemembered).value();
  };
  auto restarted = open("restarted");
  const auto kept = open("kept");
  std::vector<CreateMemoryCommand> changes;
  for (int i = 0; i < 6; ++i) changes.push_back(Create("m" + std::to_string(i)));
  // Two are handed over again when they are forgotten, and one when it is not.
  for (const int again : {1, 0, 5}) changes.push_back(CreateMemoryCommand(changes[again]));
  for (LogOffset offset = 0; offset < changes.size(); ++offset) {
    restarted.reset();
    restarted = open("restarted");
    const LogRecord record = CatalogueTellers::RecordOf(changes[offset]);
    const auto first = restarted->Apply(offset, record);
    const auto second = kept->Apply(offset, record);
    ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
    EXPECT_EQ(first->outcome.status(), second->outcome.status()) << offset;
    const bool refused = offset >= 6 && offset < 8;  // forgotten: it is a second create of the name
    EXPECT_EQ(first->outcome.ok(), !refused) << offset << ": " << first->outcome.status();
  }
  EXPECT_EQ(Flat(restarted->Snapshot()), Flat(kept->Snapshot()));
  EXPECT_EQ(kept->Snapshot().remembered.size(), kRemembered);
}

}  // namespace
}  // namespace mneme
