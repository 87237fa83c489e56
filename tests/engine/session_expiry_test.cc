// Sessions and states that are past their expiry go by themselves: bounded, in forks, and after restarts.
#include <map>
#include <random>

#include "tests/engine/working_memory_fixture.h"

namespace mneme {
namespace {

using testing::TokenMemory;
using SessionExpiryTest = testing::WorkingMemoryTest;

TEST_P(SessionExpiryTest, ExpiredSessionsGoByThemselvesWithTheSpacesThatNoOtherNeeds) {
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

TEST_P(SessionExpiryTest, ADamagedStateKeepsNoOtherFromGoing) {
  const int64_t now = deployment_.clock().NowMs();
  One("s", "broken", RegisterPut{"1", now + 1000});
  for (int i = 0; i < 50; ++i) One(absl::StrCat("s", i), "x", RegisterPut{"1", now + 1000 + i});
  Plant("s", "broken",
        {.kind = StateKind::kCounterMatrix, .version = 1, .expiry_ms = now + 1000, .payload = "no list"});
  deployment_.clock().Advance(60'000);
  AwaitExpired({0, 50});
  EXPECT_EQ(One("s49", "x", RegisterPut{"2"}).version, 1U);
}

TEST_P(SessionExpiryTest, AnUpdateKeepsTheExpiryThatAPutGave) {
  const int64_t now = deployment_.clock().NowMs();
  const std::string cells("\x01\x00\x00\x02", 4);
  auto state = std::make_shared<const StateRecord>(
      StateRecord{.kind = StateKind::kCounters, .version = 1, .expiry_ms = now + 1000, .payload = cells});
  ASSERT_TRUE(Put({"s", {{"c", state}}, 0}).ok());
  EXPECT_EQ(One("s", "c", CountersAdd{{0}, {0}, {4}}).version, 2U);
  deployment_.clock().Advance(1000);
  EXPECT_FALSE(Read("s", "c", CountersGet{}).found);
}

TEST_P(SessionExpiryTest, WhatIsWrittenAnewBeforeItExpiresStays) {
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

TEST_P(SessionExpiryTest, ExpiredRegistersGiveTheirBytesBackInForksToo) {
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

TEST_P(SessionExpiryTest, WhatExpiredWhileTheServerWasDownGoesAfterItsStart) {
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
  ExpectNothingStored();  // whether "y" went with its memory or expired before that had its turn
}

TEST_P(SessionExpiryTest, RandomExpiriesAgreeWithPlainMaps) {
  std::mt19937_64 random(23);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  struct Cell {
    std::string value;
    int64_t expiry_ms = 0;
  };
  std::map<std::string, std::map<std::string, Cell>> model;
  const auto purge = [&](int64_t now) {
    for (auto& [session, cells] : model) {
      std::erase_if(cells, [&](const auto& each) {
        return each.second.expiry_ms != 0 && each.second.expiry_ms <= now;
      });
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

INSTANTIATE_TEST_SUITE_P(Shards, SessionExpiryTest, ::testing::Values(1, 4));

}  // namespace
}  // namespace mneme
