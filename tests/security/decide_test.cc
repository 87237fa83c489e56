// Who may do what: every rule against every right.
#include "security/decide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace mneme {
namespace {

using Scope = AccessTarget::Scope;

Principal With(const std::vector<std::string>& grants) {
  Principal principal;
  principal.name = "somebody";
  for (const std::string& text : grants) principal.grants.push_back(*ParseGrant(text));
  return principal;
}

AccessTarget Whole(std::string_view memory, Right right = Right::kRead) {
  return {.memory = memory, .scope = Scope::kWhole, .right = right};
}

AccessTarget Partitions(std::string_view memory, std::vector<uint64_t> partitions) {
  return {.memory = memory, .scope = Scope::kPartitions, .partitions = std::move(partitions)};
}

bool Allowed(const Principal& principal, Need need, std::vector<AccessTarget> targets) {
  const RpcRule rule{"service", "Method", need};
  return Decide(principal, &rule, targets).allowed;
}

TEST(DecideTest, ARightIncludesThoseBeforeIt) {
  const char* rights[] = {"read:wiki", "write:wiki", "admin:wiki"};
  const Need needs[] = {Need::kRead, Need::kWrite, Need::kAdmin};
  for (int right = 0; right < 3; ++right) {
    for (int need = 0; need < 3; ++need) {
      EXPECT_EQ(Allowed(With({rights[right]}), needs[need], {Whole("wiki")}), right >= need) << right << " " << need;
      EXPECT_FALSE(Allowed(With({rights[right]}), needs[need], {Whole("other")}));
    }
  }
}

// The whole table: by each principal, of its own memory and of another.
TEST(DecideTest, EveryRuleOfTheTableIsKept) {
  Principal peer = With({});
  peer.peer = true;
  for (const RpcRule& rule : AccessRules()) {
    SCOPED_TRACE(std::string(rule.method));
    const auto decide = [&rule](const Principal& principal, std::string_view memory) {
      return Decide(principal, &rule, {{Whole(memory)}}).allowed;
    };
    const bool any = rule.need == Need::kKnown;
    const int least = rule.need == Need::kRead ? 0 : rule.need == Need::kWrite ? 1 : rule.need == Need::kAdmin ? 2 : 3;
    EXPECT_EQ(decide(With({}), "wiki"), any);
    EXPECT_EQ(decide(With({"read:wiki"}), "wiki"), any || least <= 0);
    EXPECT_EQ(decide(With({"write:wiki"}), "wiki"), any || least <= 1);
    EXPECT_EQ(decide(With({"admin:wiki"}), "wiki"), any || least <= 2);
    EXPECT_EQ(decide(With({"admin:wiki"}), "other"), any);
    EXPECT_EQ(decide(With({"admin:*"}), "other"), any || least <= 2) << "all rights are none of a peer's";
    EXPECT_EQ(decide(peer, "wiki"), any || rule.need == Need::kPeer) << "a peer has no other right";
  }
}

TEST(DecideTest, WhatHasNoRuleOrNamesNothingIsRefused) {
  EXPECT_FALSE(Decide(With({"admin:*"}), nullptr, {{Whole("wiki")}}).allowed);
  for (const Need need : {Need::kRead, Need::kWrite, Need::kAdmin}) EXPECT_FALSE(Allowed(With({"admin:*"}), need, {}));
  EXPECT_FALSE(Allowed(With({"admin:*"}), Need::kRead, {Partitions("wiki", {})}));
}

TEST(DecideTest, EveryTargetMustBeCoveredAndTheFirstThatIsNotIsTold) {
  const RpcRule rule{"service", "Method", Need::kRead};
  const Principal principal = With({"read:a", "write:b"});
  EXPECT_TRUE(Decide(principal, &rule, {{Whole("a"), Whole("b")}}).allowed);
  Decision decision = Decide(principal, &rule, {{Whole("a"), Whole("c"), Whole("d")}});
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.target, 1U);
  // A target may need more than the rule.
  decision = Decide(principal, &rule, {{Whole("b", Right::kWrite), Whole("a", Right::kWrite)}});
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.target, 1U);
  EXPECT_EQ(decision.right, Right::kWrite);
}

TEST(DecideTest, PartitionsAreCoveredOneByOneByGrantsTogether) {
  const Principal principal = With({"read:chat/1-3", "write:chat/4", "read:wiki"});
  EXPECT_TRUE(Allowed(principal, Need::kRead, {Partitions("chat", {1, 2, 3, 4})}));
  EXPECT_FALSE(Allowed(principal, Need::kRead, {Partitions("chat", {1, 5})}));
  EXPECT_FALSE(Allowed(principal, Need::kRead, {Partitions("chat", {0})}));
  EXPECT_TRUE(Allowed(principal, Need::kWrite, {Partitions("chat", {4})}));
  EXPECT_FALSE(Allowed(principal, Need::kWrite, {Partitions("chat", {3, 4})}));
  EXPECT_TRUE(Allowed(principal, Need::kRead, {Partitions("wiki", {0, UINT64_MAX})}));
  // Some partitions are not the whole, and are enough to know what the memory is.
  EXPECT_FALSE(Allowed(principal, Need::kRead, {Whole("chat")}));
  EXPECT_TRUE(Allowed(principal, Need::kRead, {{.memory = "chat", .scope = Scope::kDescription}}));
  EXPECT_FALSE(Allowed(principal, Need::kRead, {{.memory = "cha", .scope = Scope::kDescription}}));
}

TEST(DecideTest, AllMemoriesAreThoseOfAPatternOfAllNames) {
  EXPECT_TRUE(Allowed(With({"read:*"}), Need::kRead, {Whole("")}));
  EXPECT_FALSE(Allowed(With({"admin:wiki-*", "admin:wiki"}), Need::kRead, {Whole("")}));
  EXPECT_FALSE(Allowed(With({"admin:*/1"}), Need::kRead, {Whole("")}));
}

TEST(DecideTest, WhatIsListedIsWhatAnyGrantNames) {
  const Principal principal = With({"read:wiki-*", "write:chat/7"});
  EXPECT_TRUE(MayList(principal, "wiki-1"));
  EXPECT_TRUE(MayList(principal, "chat"));
  EXPECT_FALSE(MayList(principal, "wiki"));
}

TEST(DecideTest, WhoWritesToPartitionsDoesNotWriteToTheWhole) {
  const Principal principal = With({"write:chat/0-18446744073709551615", "write:notes-*", "read:wiki", "admin:own-*"});
  EXPECT_FALSE(MayWriteWhole(principal, "chat")) << "its sessions are not his";
  EXPECT_TRUE(MayWriteWhole(principal, "notes-1"));
  EXPECT_FALSE(MayWriteWhole(principal, "wiki"));
  EXPECT_TRUE(MayWriteWhole(principal, "own-1"));
  EXPECT_TRUE(MayAdminister(principal, "own-1"));
  EXPECT_FALSE(MayAdminister(principal, "notes-1"));
}

TEST(DecideTest, PagesOfAProcessAreForWhoIsNamedForThemOrMayDoEverything) {
  Principal prometheus = With({});
  EXPECT_FALSE(MayReadMetrics(prometheus));
  prometheus.metrics = true;
  EXPECT_TRUE(MayReadMetrics(prometheus));
  EXPECT_FALSE(Allowed(prometheus, Need::kRead, {Whole("wiki")})) << "and nothing else";
  EXPECT_TRUE(MayReadMetrics(With({"admin:*"})));
  for (const char* grant : {"read:*", "write:*", "admin:wiki", "admin:*/7"}) {
    EXPECT_FALSE(MayReadMetrics(With({grant}))) << grant;
  }
  Principal peer = With({});
  peer.peer = true;
  EXPECT_FALSE(MayReadMetrics(peer));
}

TEST(AccessRulesTest, NamesAreThereOnce) {
  for (const RpcRule& rule : AccessRules()) EXPECT_EQ(FindRule(rule.service, rule.method), &rule) << rule.method;
  EXPECT_EQ(FindRule("mneme.v1.MemoryService", "Destroy"), nullptr);
  EXPECT_EQ(FindRule("mneme.v1.AdminService", "Query"), nullptr);
}

}  // namespace
}  // namespace mneme
