#include "cluster/query_admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "cluster/write_admission.h"
#include "common/error_reason.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

TEST(QueryAdmissionTest, BoundsHowManyAndHowMuch) {
  QueryAdmission admission(3, 100);
  auto first = admission.Admit(60);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = admission.Admit(40);
  ASSERT_TRUE(second.ok()) << second.status();
  const absl::Status bytes = admission.Admit(1).status();
  EXPECT_EQ(bytes.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(bytes), reason::kQueueFull);
  EXPECT_THAT(std::string(bytes.message()), HasSubstr("2 queries of 100 bytes are with the shards; the bounds are 3 "));
  const auto third = admission.Admit(0);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(admission.Admit(0).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(admission.queries(), 3U);
  first->Leave();
  EXPECT_EQ(admission.bytes(), 40U);
  EXPECT_TRUE(admission.Admit(60).ok());
}

TEST(QueryAdmissionTest, OneAloneIsAdmittedWhateverItHolds) {
  QueryAdmission admission(3, 100);
  {
    const auto alone = admission.Admit(1'000);
    ASSERT_TRUE(alone.ok()) << alone.status();
    EXPECT_FALSE(admission.Admit(1).ok());
  }
  EXPECT_TRUE(admission.Admit(1).ok());
}

TEST(QueryAdmissionTest, WhatIsAdmittedLeavesOnceWhoeverHasIt) {
  QueryAdmission admission(3, 100);
  {
    QueryAdmission::Ticket kept;
    {
      QueryAdmission::Ticket first = *admission.Admit(10);
      QueryAdmission::Ticket moved = std::move(first);
      kept = std::move(moved);
    }
    EXPECT_EQ(admission.queries(), 1U);
    EXPECT_EQ(admission.bytes(), 10U);
    kept = *admission.Admit(20);  // in the place of the first
    EXPECT_EQ(admission.queries(), 1U);
    EXPECT_EQ(admission.bytes(), 20U);
    kept.Leave();
    EXPECT_EQ(admission.queries(), 0U);
    kept.Leave();
  }
  EXPECT_EQ(admission.queries(), 0U);
  EXPECT_EQ(admission.bytes(), 0U);
}

TEST(WriteAdmissionTest, WhatWasToldMakesRoom) {
  WriteAdmission admission(100);
  {
    const auto first = admission.Admit(60, "shard 1");
    ASSERT_TRUE(first.ok()) << first.status();
    const absl::Status more = admission.Admit(41, "shard 1").status();
    EXPECT_EQ(more.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(more), reason::kQueueFull);
    EXPECT_THAT(std::string(more.message()), HasSubstr("shard 1 has 60 bytes of writes to answer; the bound is 100"));
    EXPECT_EQ(admission.bytes(), 60U);
  }
  EXPECT_EQ(admission.bytes(), 0U);
  EXPECT_TRUE(admission.Admit(100, "shard 1").ok());
}

}  // namespace
}  // namespace mneme
