// Working memory over real shards: random operations against plain maps, batches that are atomic by session, retries.
#include "engine/working_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/expiry_queue.h"
#include "engine/routing.h"
#include "engine/session_bytes.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TestDeployment;
using testing::TokenMemory;

class WorkingMemoryTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  WorkingMemoryTest() : deployment_(GetParam()) { memory_ = deployment_.Create(TokenMemory("wiki", 2)); }

  absl::StatusOr<JoinedStates> Apply(std::vector<StateCommand> commands, std::string request_id = "") {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Apply(memory_, {std::move(commands)},
                                        {std::move(request_id), Durability::kWritten},
                                        [&](auto joined) { promise.set_value(std::move(joined)); });
    return promise.get_future().get();
  }
  StateAnswer One(const std::string& session, const std::string& name, StateAction action) {
    const auto joined = Apply({{session, name, std::move(action)}});
    EXPECT_TRUE(joined.ok()) << joined.status();
    return joined.ok() ? joined->outcome.answers[0] : StateAnswer{};
  }
  StateAnswer Read(const std::string& session, const std::string& name, StateAction action = RegisterGet{}) {
    auto outcome = deployment_->working_memory().Read(memory_, {{{session, name, std::move(action)}}}, {});
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? outcome->answers[0] : StateAnswer{};
  }
  uint64_t Reset(std::vector<std::string> sessions, std::string request_id = "") {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Reset(memory_, {std::move(sessions)}, {std::move(request_id), Durability::kSync},
                                        [&](auto joined) { promise.set_value(std::move(joined)); });
    const auto joined = promise.get_future().get();
    EXPECT_TRUE(joined.ok()) << joined.status();
    return joined.ok() ? joined->outcome.count : 0;
  }
  absl::Status Fork(ForkSession fork) {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Fork(memory_, std::move(fork), {"", Durability::kWritten},
                                       [&](auto joined) { promise.set_value(std::move(joined)); });
    return promise.get_future().get().status();
  }
  absl::Status Put(PutSession put) {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Put(memory_, std::move(put), {"", Durability::kWritten},
                                      [&](auto joined) { promise.set_value(std::move(joined)); });
    return promise.get_future().get().status();
  }
  static std::string RootOf(const std::string& session) { return std::string(RootOfSession(session)); }
  std::vector<std::string> List(const std::string& prefix = "", size_t limit = 1000) {
    std::vector<std::string> names;
    std::string after;
    do {
      const auto page = deployment_->working_memory().List(memory_, prefix, after, limit, {});
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const auto& each : page->sessions) names.push_back(each.session);
      after = page->next;
    } while (!after.empty());
    return names;
  }

  // A register of a session that goes at `expiry_ms`; 0: never.
  void PutExpiring(const std::string& session, const std::string& name, const std::string& value, int64_t expiry_ms) {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Apply(memory_, {{{session, name, RegisterPut{value}}}, expiry_ms},
                                        {"", Durability::kWritten},
                                        [&](auto joined) { promise.set_value(std::move(joined)); });
    ASSERT_TRUE(promise.get_future().get().ok());
  }
  ExpiredStates Expired() {
    const DeploymentStatistics statistics = deployment_->Statistics();
    return {statistics.expired_sessions, statistics.expired_states};
  }
  void AwaitExpired(ExpiredStates expected) {
    for (int i = 0; i < 600; ++i) {
      if (Expired().sessions >= expected.sessions && Expired().states >= expected.states) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(Expired().sessions, expected.sessions);
    EXPECT_EQ(Expired().states, expected.states);
  }
  // Until the background has removed everything that expired so long ago that it must be gone: what expires goes in
  // the order of its time, so that these sessions, some of them on each shard, go last.
  void AwaitNothingDue() {
    const int64_t due_ms = deployment_.clock().NowMs() - kExpirySlackMs;
    const ExpiredStates before = Expired();
    for (int i = 0; i < 32; ++i) PutExpiring(absl::StrCat("marker", i), "x", "1", due_ms);
    for (int i = 0; i < 600 && Expired().sessions < before.sessions + 32; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(Expired().sessions, before.sessions + 32);
  }
  // Nothing is left of any session in any store. Closes the deployment.
  void ExpectNothingStored() {
    deployment_.Close();
    for (uint32_t shard = 0; shard < GetParam(); ++shard) {
      StoreResources resources(1 << 20, 1 << 20);
      auto store =
          OpenRocksDbEntryStore({deployment_.path(absl::StrCat("shard-00", shard, "/db")), &resources, nullptr});
      ASSERT_TRUE(store.ok()) << store.status();
      EXPECT_THAT(*(*store)->ReadStates()->Memories(), ElementsAre());
      EXPECT_THAT(*(*store)->ReadStates()->ScanExpiries(0, 10), ElementsAre());
    }
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
};

TEST_P(WorkingMemoryTest, ABatchReadsWhatItWroteInOrder) {
  const auto joined = Apply({{"s", "x", RegisterGet{}},
                             {"s", "x", RegisterPut{"0"}},
                             {"s", "x", RegisterGet{}},
                             {"t", "x", RegisterGet{}},
                             {"s", "x", RegisterPut{"1"}},
                             {"s", "x", RegisterGet{}}});
  ASSERT_TRUE(joined.ok()) << joined.status();
  const auto& answers = joined->outcome.answers;
  EXPECT_FALSE(answers[0].found);
  EXPECT_EQ(answers[1].version, 1U);
  EXPECT_EQ(answers[2].value, "0");
  EXPECT_FALSE(answers[3].found);
  EXPECT_TRUE(answers[4].found);
  EXPECT_EQ(answers[5].value, "1");
  EXPECT_EQ(answers[5].version, 2U);
  EXPECT_EQ(Read("s", "x").value, "1");
  EXPECT_FALSE(Read("t", "x").found) << "reading makes no session";
  EXPECT_THAT(List(), ElementsAre("s"));
}

TEST_P(WorkingMemoryTest, AFailedOperationTakesItsSessionAlongAndNoOther) {
  const auto joined = Apply({{"s", "x", RegisterPut{"1"}},
                             {"t", "x", RegisterPut{"2"}},
                             {"s", "y", RegisterCas{7, "no"}},
                             {"s", "z", RegisterGet{}}});
  ASSERT_TRUE(joined.ok()) << joined.status();
  const auto& answers = joined->outcome.answers;
  EXPECT_EQ(ReasonOf(answers[0].status), reason::kSessionNotApplied);
  EXPECT_TRUE(answers[1].status.ok());
  EXPECT_TRUE(absl::IsAborted(answers[2].status));
  EXPECT_EQ(ReasonOf(answers[2].status), reason::kVersionMismatch);
  EXPECT_THAT(answers[2].status.message(), HasSubstr("expected_version is 7, but the version is 0"));
  EXPECT_EQ(ReasonOf(answers[3].status), reason::kSessionNotApplied);
  EXPECT_FALSE(Read("s", "x").found);
  EXPECT_EQ(Read("t", "x").value, "2");
  EXPECT_THAT(List(), ElementsAre("t"));
}

TEST_P(WorkingMemoryTest, CompareAndSetWritesOnlyOverTheExpectedVersion) {
  EXPECT_EQ(One("s", "x", RegisterCas{0, "a"}).version, 1U);
  EXPECT_FALSE(One("s", "x", RegisterCas{0, "b"}).status.ok());
  EXPECT_EQ(One("s", "x", RegisterCas{1, "c"}).version, 2U);
  EXPECT_EQ(Read("s", "x").value, "c");
  EXPECT_TRUE(One("s", "x", RemoveState{}).found);
  EXPECT_FALSE(Read("s", "x").found);
  EXPECT_EQ(One("s", "x", RegisterCas{0, "d"}).version, 1U);
}

TEST_P(WorkingMemoryTest, ARetryIsAppliedOnceAndGetsTheSameAnswers) {
  const std::vector<StateCommand> commands = {
      {"s", "x", RegisterPut{"1"}}, {"t", "x", RegisterPut{"2"}}, {"s", "x", RegisterGet{}}, {"u", "x", RegisterCas{5, ""}}};
  const auto first = Apply(commands, "id");
  One("s", "x", RegisterPut{"later"});
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  const auto again = Apply(commands, "id");
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_FALSE(first->replayed);
  EXPECT_TRUE(again->replayed);
  for (size_t i = 0; i < commands.size(); ++i) {
    EXPECT_EQ(first->outcome.answers[i].status, again->outcome.answers[i].status);
    EXPECT_EQ(first->outcome.answers[i].version, again->outcome.answers[i].version);
    EXPECT_EQ(first->outcome.answers[i].value, again->outcome.answers[i].value);
  }
  EXPECT_EQ(Read("s", "x").value, "later");
  const auto other = Apply({{"s", "x", RegisterPut{"other"}}}, "id");
  // Another shard than those of the first call does not know the id.
  if (GetParam() == 1) EXPECT_EQ(ReasonOf(other.status()), reason::kRequestIdReused);
}

TEST_P(WorkingMemoryTest, AnAnswerTooLargeToRememberIsReadAgain) {
  const std::string large(limits::kMaxRememberedAnswerBytes + 1, 'x');
  const std::vector<StateCommand> commands = {{"s", "x", RegisterPut{large}}, {"s", "x", RegisterGet{}}};
  ASSERT_TRUE(Apply(commands, "id").ok());
  One("s", "x", RegisterPut{"later"});
  const auto again = Apply(commands, "id");
  ASSERT_TRUE(again.ok() && again->replayed);
  EXPECT_EQ(again->outcome.answers[0].version, 1U);
  EXPECT_FALSE(again->outcome.answers[0].reread);
  EXPECT_EQ(again->outcome.answers[1].value, "later");
  EXPECT_TRUE(again->outcome.answers[1].reread);
}

TEST_P(WorkingMemoryTest, AnExpiredRegisterIsAsIfItWereNotThere) {
  const int64_t now = deployment_.clock().NowMs();
  One("s", "x", RegisterPut{"1", now + 10});
  EXPECT_EQ(Read("s", "x").expiry_ms, now + 10);
  deployment_.clock().Advance(10);
  EXPECT_FALSE(Read("s", "x").found);
  EXPECT_EQ(One("s", "x", RegisterPut{"2"}).version, 1U);
}

TEST_P(WorkingMemoryTest, LimitsAreAnsweredAndNothingIsApplied) {
  const std::string most(limits::kMaxStateBytes, 'x');
  EXPECT_TRUE(One("s", "x", RegisterPut{most}).status.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(One("s", "x", RegisterPut{most + "y"}).status));
  EXPECT_TRUE(absl::IsResourceExhausted(One("s", "y", RegisterPut{most}).status)) << "the session is full";
  EXPECT_TRUE(One("t", "y", RegisterPut{most}).status.ok());
  EXPECT_TRUE(One("s", "x", RegisterPut{"small"}).status.ok());
  EXPECT_TRUE(One("s", "y", RegisterPut{most}).status.ok()) << "there is room again";
}

TEST_P(WorkingMemoryTest, SessionsAreListedPageByPageAndGoWhole) {
  std::vector<std::string> names;
  for (int i = 0; i < 25; ++i) names.push_back(absl::StrCat("chat", 10 + i));
  for (const std::string& name : names) One(name, "x", RegisterPut{"1"});
  EXPECT_EQ(List("chat", 4), names);
  EXPECT_THAT(List("chat1", 100), ::testing::SizeIs(10));
  EXPECT_EQ(Reset({"chat10", "nobody", "chat11"}, "id"), 2U);
  EXPECT_EQ(Reset({"chat10", "nobody", "chat11"}, "id"), 2U) << "a retry";
  EXPECT_EQ(Reset({"chat10"}), 0U);
  EXPECT_EQ(List("chat1").size(), 8U);
  EXPECT_FALSE(Read("chat10", "x").found);
}

TEST_P(WorkingMemoryTest, ADroppedMemoryTakesItsSessionsAlong) {
  One("s", "x", RegisterPut{"1"});
  ASSERT_TRUE(deployment_->DropMemory("wiki").ok());
  EXPECT_TRUE(absl::IsNotFound(Apply({{"s", "x", RegisterPut{"2"}}}).status()));
  memory_ = deployment_.Create(TokenMemory("wiki", 2));
  EXPECT_FALSE(Read("s", "x").found);
  EXPECT_THAT(List(), ElementsAre());
  deployment_.Restart();
}

TEST_P(WorkingMemoryTest, RandomOperationsAgreeWithPlainMaps) {
  std::mt19937_64 random(11);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  struct Cell {
    std::string value;
    uint64_t version = 0;
  };
  std::map<std::string, std::map<std::string, Cell>> model;
  for (int round = 0; round < 300; ++round) {
    std::vector<StateCommand> commands;
    for (uint64_t i = 1 + below(12); i > 0; --i) {
      StateCommand command{absl::StrCat("s", below(6)), absl::StrCat("n", below(4)), RegisterGet{}};
      const std::string value = absl::StrCat(random());
      switch (below(5)) {
        case 0: case 1: command.action = RegisterPut{value}; break;
        case 2: command.action = RegisterCas{below(4), value}; break;
        case 3: if (below(3) == 0) command.action = RemoveState{}; break;
        default: break;
      }
      commands.push_back(std::move(command));
    }
    const auto joined = Apply(commands);
    ASSERT_TRUE(joined.ok()) << joined.status();
    std::map<std::string, std::map<std::string, Cell>> before = model;
    std::map<std::string, size_t> failed;
    for (size_t i = 0; i < commands.size(); ++i) {
      const StateCommand& command = commands[i];
      auto& cells = model[command.session];
      const uint64_t version = cells[command.name].version;
      if (const auto* cas = std::get_if<RegisterCas>(&command.action); cas != nullptr && cas->expected_version != version) {
        failed.emplace(command.session, i);
      }
      if (failed.contains(command.session)) continue;
      if (const auto* put = std::get_if<RegisterPut>(&command.action)) cells[command.name] = {put->value, version + 1};
      if (const auto* cas = std::get_if<RegisterCas>(&command.action)) cells[command.name] = {cas->value, version + 1};
      if (std::holds_alternative<RemoveState>(command.action)) cells[command.name] = {};
      const StateAnswer& answer = joined->outcome.answers[i];
      if (answer.status.ok()) {
        EXPECT_EQ(answer.found, version != 0);
        EXPECT_EQ(answer.version, cells[command.name].version);
        if (IsRead(command.action)) EXPECT_EQ(answer.value, cells[command.name].value);
      }
    }
    for (const auto& [session, i] : failed) model[session] = before[session];
    for (size_t i = 0; i < commands.size(); ++i) {
      EXPECT_EQ(joined->outcome.answers[i].status.ok(), !failed.contains(commands[i].session));
    }
    if (below(10) == 0) {
      const std::string session = absl::StrCat("s", below(6));
      Reset({session});
      model.erase(session);
    }
    if (round % 100 == 99) {
      deployment_.Restart();
      memory_ = deployment_.Find("wiki");
    }
  }
  for (const auto& [session, cells] : model) {
    for (const auto& [name, cell] : cells) {
      EXPECT_EQ(Read(session, name).value, cell.value);
      EXPECT_EQ(Read(session, name).version, cell.version);
    }
  }
}

TEST_P(WorkingMemoryTest, ForkTreesAgreeWithCopiesOfMaps) {
  std::mt19937_64 random(5);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  std::map<std::string, std::map<std::string, std::string>> model;
  const auto name_of = [&] { return absl::StrCat("chat", below(2), below(4) == 0 ? "" : absl::StrCat("/", below(5))); };
  const auto expect_all = [&](int round) {
    for (const auto& [session, cells] : model) {
      for (int n = 0; n < 5; ++n) {
        const std::string name = absl::StrCat("n", n);
        const StateAnswer answer = Read(session, name);
        ASSERT_EQ(answer.found, cells.contains(name)) << session << " " << name << " round " << round;
        if (answer.found) ASSERT_EQ(answer.value, cells.at(name)) << session << " " << name << " round " << round;
      }
    }
    std::vector<std::string> names;
    for (const auto& [session, cells] : model) names.push_back(session);
    ASSERT_EQ(List(), names) << "round " << round;
  };
  for (int round = 0; round < 600; ++round) {
    const std::string session = name_of();
    const std::string name = absl::StrCat("n", below(5));
    switch (below(6)) {
      case 0: case 1:
        One(session, name, RegisterPut{absl::StrCat(round)});
        model[session][name] = absl::StrCat(round);
        break;
      case 2:
        One(session, name, RemoveState{});
        if (model.contains(session)) model[session].erase(name);
        break;
      case 3: if (below(4) == 0) { Reset({session}); model.erase(session); } break;
      default: {
        const std::string to = absl::StrCat(RootOf(session), "/", below(5));
        if (to == session) break;
        const absl::Status forked = Fork({session, to, true});
        ASSERT_EQ(forked.ok(), model.contains(session)) << forked;
        if (forked.ok()) model[to] = std::map<std::string, std::string>(model[session]);
      }
    }
    if (round % 100 == 99) {
      deployment_.Restart();
      memory_ = deployment_.Find("wiki");
      expect_all(round);
    }
  }
  // A chain deeper than the bases that a session may have.
  Reset({"deep"});
  for (int i = 0; i < 60; ++i) {
    const std::string at = i == 0 ? "deep" : absl::StrCat("deep/", i);
    One(at, absl::StrCat("own", i), RegisterPut{absl::StrCat(i)});
    ASSERT_TRUE(Fork({at, absl::StrCat("deep/", i + 1), false}).ok());
  }
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Read("deep/60", absl::StrCat("own", i)).value, absl::StrCat(i));
  EXPECT_FALSE(Read("deep/7", "own8").found);
}

TEST_P(WorkingMemoryTest, WhatNobodyNeedsAnyMoreIsGone) {
  for (int i = 0; i < 3; ++i) {
    const std::string beam = absl::StrCat("chat/", i);
    One("chat", "n", RegisterPut{absl::StrCat(i)});
    ASSERT_TRUE(Fork({"chat", beam, false}).ok());
    One(beam, "n", RegisterPut{"own"});
  }
  EXPECT_TRUE(absl::IsAlreadyExists(Fork({"chat", "chat/1", false})));
  EXPECT_TRUE(absl::IsNotFound(Fork({"chat/9", "chat/1", false})));
  EXPECT_EQ(Reset({"chat", "chat/0", "chat/1", "chat/2"}), 4U);
  deployment_.Restart();
  ExpectNothingStored();
}

TEST_P(WorkingMemoryTest, AWholeSessionComesBackAsItWas) {
  One("s", "x", RegisterPut{"1"});
  One("s", "x", RegisterPut{"2"});
  One("s", "m", LinearApply{.keys = {{1, 0, 0, -1}, 2}, .values = {{1, 2, 3, 4}, 2}});
  One("s", "c", CountersAdd{{1, 1}, {2, 5}, {}});
  const auto bytes = deployment_->working_memory().Get(memory_, "s");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto states = DecodeSessionBytes(*bytes);
  ASSERT_TRUE(states.ok()) << states.status();
  ASSERT_TRUE(Put({"t", *states, 0}).ok());
  EXPECT_EQ(*deployment_->working_memory().Get(memory_, "t"), *bytes);
  EXPECT_EQ(Read("t", "x").version, 2U);
  for (size_t i = 0; i < bytes->size(); ++i) {
    std::string damaged = *bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeSessionBytes(damaged).status())) << i;
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeSessionBytes(bytes->substr(0, i)).status())) << i;
  }
  EXPECT_TRUE(absl::IsNotFound(deployment_->working_memory().Get(memory_, "nobody").status()));
}

TEST_P(WorkingMemoryTest, AnExpiredSessionIsAsIfItWereNotThere) {
  const int64_t now = deployment_.clock().NowMs();
  std::promise<absl::StatusOr<JoinedStates>> promise;
  deployment_->working_memory().Apply(memory_, {{{"s", "x", RegisterPut{"1"}}}, now + 10}, {},
                                      [&](auto joined) { promise.set_value(std::move(joined)); });
  ASSERT_TRUE(promise.get_future().get().ok());
  EXPECT_THAT(List(), ElementsAre("s"));
  deployment_.clock().Advance(10);
  EXPECT_THAT(List(), ElementsAre());
  EXPECT_FALSE(Read("s", "x").found);
  EXPECT_EQ(One("s", "y", RegisterPut{"2"}).version, 1U);
  EXPECT_FALSE(Read("s", "x").found) << "it went whole";
  EXPECT_THAT(List(), ElementsAre("s"));
}

// --- What is past its expiry goes by itself ------------------------------------------------------------------------

TEST_P(WorkingMemoryTest, ExpiredSessionsGoByThemselvesWithTheSpacesThatNoOtherNeeds) {
  const int64_t now = deployment_.clock().NowMs();
  for (int i = 0; i < 3000; ++i) PutExpiring(absl::StrCat("s", i), "x", "1", i % 3 == 0 ? 0 : now + 1000);
  PutExpiring("chat", "x", "old", now + 1000);
  ASSERT_TRUE(Fork({"chat", "chat/1", false}).ok());
  PutExpiring("chat/1", "y", "new", now + 500'000);
  deployment_.clock().Advance(10'999);
  const uint64_t before = Expired().sessions;
  EXPECT_EQ(before, 0U) << "not before the slack is over";
  deployment_.clock().Advance(1);
  AwaitExpired({2001, 0});
  EXPECT_EQ(List("s").size(), 1000U);
  EXPECT_EQ(Read("s0", "x").value, "1");
  EXPECT_EQ(Read("chat/1", "x").value, "old") << "the fork still needs the space of its parent";
  deployment_.clock().Advance(600'000);
  AwaitExpired({2002, 0});
  for (int i = 0; i < 3000; i += 3) Reset({absl::StrCat("s", i)});
  ExpectNothingStored();
}

TEST_P(WorkingMemoryTest, WhatIsWrittenAnewBeforeItExpiresStays) {
  const int64_t now = deployment_.clock().NowMs();
  PutExpiring("s", "x", "1", now + 1000);
  PutExpiring("s", "x", "2", now + 100'000);
  One("t", "x", RegisterPut{"1", now + 1000});
  One("t", "x", RegisterPut{"2", now + 100'000});
  One("t", "y", RegisterPut{"1", now + 1000});
  One("t", "y", RegisterPut{"2"});
  One("t", "z", RegisterPut{"1", now + 1000});
  deployment_.clock().Advance(50'000);
  AwaitExpired({0, 1});
  EXPECT_EQ(Read("s", "x").value, "2");
  EXPECT_EQ(Read("t", "x").value, "2");
  EXPECT_EQ(Read("t", "y").value, "2");
  EXPECT_FALSE(Read("t", "z").found);
  deployment_.clock().Advance(100'000);
  AwaitExpired({1, 2});
  Reset({"t"});
  ExpectNothingStored();
}

TEST_P(WorkingMemoryTest, ExpiredRegistersGiveTheirBytesBackInForksToo) {
  const int64_t now = deployment_.clock().NowMs();
  const std::string large(1000, 'x');
  One("chat", "own", RegisterPut{large, now + 1000});
  One("chat", "stays", RegisterPut{large});
  One("chat", "base", RegisterPut{large, now + 2000});
  ASSERT_TRUE(Fork({"chat", "chat/1", false}).ok());
  One("chat", "own", RegisterPut{large, now + 1000});
  One("chat/1", "base", RegisterPut{large, now + 3000});
  deployment_.clock().Advance(60'000);
  AwaitExpired({0, 4});  // two in the base, and two of the sessions' own
  for (const std::string session : {"chat", "chat/1"}) {
    EXPECT_FALSE(Read(session, "own").found) << session;
    EXPECT_FALSE(Read(session, "base").found) << session;
    EXPECT_EQ(Read(session, "stays").value, large) << session;
    EXPECT_EQ(One(session, "base", RegisterPut{"new"}).version, 1U) << session;
    EXPECT_TRUE(One(session, "base", RemoveState{}).found) << session;
    One(session, "own", RegisterPut{"1"});
    One(session, "own", RemoveState{});
    One(session, "stays", RemoveState{});
  }
  // What was counted came out even.
  const auto page = deployment_->working_memory().List(memory_, "", "", 10, {});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->sessions.size(), 2U);
  for (const SessionDescription& each : page->sessions) {
    EXPECT_EQ(each.states, 0U) << each.session;
    EXPECT_EQ(each.bytes, 0U) << each.session;
  }
  Reset({"chat", "chat/1"});
  ExpectNothingStored();
}

TEST_P(WorkingMemoryTest, WhatExpiredWhileTheServerWasDownGoesAfterItsStart) {
  const int64_t now = deployment_.clock().NowMs();
  for (int i = 0; i < 20; ++i) PutExpiring(absl::StrCat("s", i), "x", "1", now + 1000);
  One("t", "x", RegisterPut{"1", now + 1000});
  One("t", "y", RegisterPut{"1", now + 200'000});
  deployment_.Close();
  deployment_.clock().Advance(60'000);
  deployment_.Open();
  memory_ = deployment_.Find("wiki");
  AwaitExpired({20, 1});
  EXPECT_EQ(Read("t", "y").value, "1");
  ASSERT_TRUE(deployment_->DropMemory("wiki").ok());
  deployment_.clock().Advance(600'000);
  memory_ = deployment_.Create(TokenMemory("other", 2));
  AwaitNothingDue();
  EXPECT_EQ(Expired().states, 1U) << "what went with its memory did not expire";
  ExpectNothingStored();
}

TEST_P(WorkingMemoryTest, RandomExpiriesAgreeWithPlainMaps) {
  std::mt19937_64 random(23);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  struct Cell {
    std::string value;
    int64_t expiry_ms = 0;
  };
  std::map<std::string, std::map<std::string, Cell>> model;
  const auto purge = [&](int64_t now) {
    for (auto& [session, cells] : model) {
      std::erase_if(cells, [&](const auto& each) { return each.second.expiry_ms != 0 && each.second.expiry_ms <= now; });
    }
  };
  for (int round = 0; round < 800; ++round) {
    const int64_t now = deployment_.clock().NowMs();
    purge(now);
    const std::string session = absl::StrCat("chat", below(2), "/", below(4));
    const std::string name = absl::StrCat("n", below(5));
    switch (below(8)) {
      case 0: case 1: case 2: {
        const int64_t expiry = below(3) == 0 ? 0 : now + 1 + static_cast<int64_t>(below(30'000));
        One(session, name, RegisterPut{absl::StrCat(round), expiry});
        model[session][name] = {absl::StrCat(round), expiry};
        break;
      }
      case 3:
        One(session, name, RemoveState{});
        if (model.contains(session)) model[session].erase(name);
        break;
      case 4: if (below(6) == 0) { Reset({session}); model.erase(session); } break;
      case 5: case 6: deployment_.clock().Advance(static_cast<int64_t>(below(8'000))); break;
      default: {
        const std::string to = absl::StrCat(RootOf(session), "/", below(4));
        if (to == session || !Fork({session, to, true}).ok()) break;
        model[to] = std::map<std::string, Cell>(model[session]);
      }
    }
    if (round % 100 == 99) {
      if (round % 200 == 199) {
        deployment_.Restart();
        memory_ = deployment_.Find("wiki");
      }
      AwaitNothingDue();
      purge(deployment_.clock().NowMs());
      for (const auto& [each, cells] : model) {
        for (int n = 0; n < 5; ++n) {
          const std::string of = absl::StrCat("n", n);
          const StateAnswer answer = Read(each, of);
          ASSERT_EQ(answer.found, cells.contains(of)) << each << " " << of << " round " << round;
          if (answer.found) ASSERT_EQ(answer.value, cells.at(of).value) << each << " " << of << " round " << round;
        }
      }
    }
  }
  deployment_.clock().Advance(100'000);
  AwaitNothingDue();
  for (const auto& [session, cells] : model) {
    for (const auto& [name, cell] : cells) One(session, name, RemoveState{});
  }
  const auto page = deployment_->working_memory().List(memory_, "", "", 100, {});
  ASSERT_TRUE(page.ok());
  for (const SessionDescription& each : page->sessions) {
    // A state that expired in a base is counted until the session writes over it, or goes.
    EXPECT_LE(each.states, 5U) << each.session;
    Reset({each.session});
  }
  ExpectNothingStored();
}

INSTANTIATE_TEST_SUITE_P(Shards, WorkingMemoryTest, ::testing::Values(1, 4));

}  // namespace
}  // namespace mneme
