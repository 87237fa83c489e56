#include "security/grant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/limits.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MatchesPatternTest, AStarStandsForAnyCharactersAndNone) {
  for (const char* pattern : {"*", "wiki", "wiki*", "*wiki", "w*i", "w*k*", "**", "*i*i*", "wiki***"}) {
    EXPECT_TRUE(MatchesPattern(pattern, "wiki")) << pattern;
  }
  for (const char* pattern : {"", "wik", "wiki-", "wiki-*", "*-wiki", "i*", "w*x", "*w", "w*k"}) {
    EXPECT_FALSE(MatchesPattern(pattern, "wiki")) << pattern;
  }
}

TEST(MatchesPatternTest, OnlyStarsMatchTheEmptyName) {
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_FALSE(MatchesPattern("a*", ""));
  EXPECT_FALSE(MatchesPattern("*a", ""));
}

TEST(MatchesPatternTest, ManyStarsOverALongNameEndSoon) {
  std::string pattern;
  for (size_t i = 0; i < limits::kMaxMemoryNameBytes / 2; ++i) pattern += "a*";
  EXPECT_FALSE(MatchesPattern(pattern + "b", std::string(limits::kMaxMemoryNameBytes, 'a')));
}

TEST(ParseGrantTest, ReadsRightPatternAndPartitions) {
  const auto grant = ParseGrant("write:chat-*/7,10-19");
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->right, Right::kWrite);
  EXPECT_EQ(grant->memories, "chat-*");
  ASSERT_EQ(grant->partitions.size(), 2U);
  EXPECT_EQ(grant->partitions[0].first, 7U);
  EXPECT_EQ(grant->partitions[0].last, 7U);
  EXPECT_EQ(grant->partitions[1].first, 10U);
  EXPECT_EQ(grant->partitions[1].last, 19U);
  EXPECT_TRUE(ParseGrant("admin:*")->partitions.empty());
  EXPECT_EQ(ParseGrant("read:a/18446744073709551615")->partitions[0].last, UINT64_MAX);
}

TEST(ParseGrantTest, WhatMayBeATokenIsNotRepeated) {
  const std::string secret(64, 'C');
  for (const char* before : {"", "own:", "read:", "read:a/", "read:*/7,"}) {
    const std::string message(ParseGrant(before + secret).status().message());
    EXPECT_THAT(message, HasSubstr(std::to_string(std::string(before).size() + secret.size()))) << before;
    EXPECT_THAT(message, Not(HasSubstr(secret))) << before;
  }
}

TEST(ParseGrantTest, WhatIsNoGrantIsRefusedWithTheReason) {
  for (const char* text : {"", "read", "wiki", ":wiki", "own:wiki", "READ:wiki", "read wiki"}) {
    EXPECT_THAT(std::string(ParseGrant(text).status().message()), HasSubstr("is no grant")) << text;
  }
  for (const char* text : {"read:", "read:Wiki", "read:a b", "read:a:b", "read:/7"}) {
    EXPECT_THAT(std::string(ParseGrant(text).status().message()), HasSubstr("names no memories")) << text;
  }
  EXPECT_FALSE(ParseGrant("read:" + std::string(limits::kMaxMemoryNameBytes + 1, 'a')).ok());
  for (const char* text : {"read:a/", "read:a/b", "read:a/-1", "read:a/+1", "read:a/1,", "read:a/,1", "read:a/9-1",
                           "read:a/1-", "read:a/1--2", "read:a/1-2-3", "read:a/*", "read:a/1/2", "read:a/ 1",
                           "read:a/18446744073709551616"}) {
    EXPECT_THAT(std::string(ParseGrant(text).status().message()), HasSubstr("names no partitions")) << text;
  }
  std::string many = "read:a/0";
  for (size_t i = 1; i <= limits::kMaxGrantRanges; ++i) many += ",1";
  EXPECT_THAT(std::string(ParseGrant(many).status().message()), HasSubstr("257"));
}

}  // namespace
}  // namespace mneme
