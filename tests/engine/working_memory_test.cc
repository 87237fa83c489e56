// Working memory over real shards: random operations against plain maps, batches that are atomic by session, retries.
#include "engine/working_memory.h"

#include <map>
#include <random>

#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/session_bytes.h"
#include "tests/engine/working_memory_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TokenMemory;
using testing::WorkingMemoryTest;

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
      {"s", "x", RegisterPut{"1"}}, {"t", "x", RegisterPut{"2"}}, {"s", "x", RegisterGet{}},
      {"u", "x", RegisterCas{5, ""}}};
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
      const auto* cas = std::get_if<RegisterCas>(&command.action);
      if (cas != nullptr && cas->expected_version != version) {
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
  const auto bytes = deployment_->working_memory().Get(memory_, "s", {});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto states = DecodeSessionBytes(*bytes);
  ASSERT_TRUE(states.ok()) << states.status();
  ASSERT_TRUE(Put({"t", *states, 0}).ok());
  EXPECT_EQ(*deployment_->working_memory().Get(memory_, "t", {}), *bytes);
  EXPECT_EQ(Read("t", "x").version, 2U);
  for (size_t i = 0; i < bytes->size(); ++i) {
    std::string damaged = *bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeSessionBytes(damaged).status())) << i;
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeSessionBytes(bytes->substr(0, i)).status())) << i;
  }
  EXPECT_TRUE(absl::IsNotFound(deployment_->working_memory().Get(memory_, "nobody", {}).status()));
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

INSTANTIATE_TEST_SUITE_P(Shards, WorkingMemoryTest, ::testing::Values(1, 4));

}  // namespace
}  // namespace mneme
