#include "server/lease_shares.h"

#include <gtest/gtest.h>

#include "common/error_reason.h"
#include "common/limits.h"

namespace mneme {
namespace {

using std::chrono::seconds;

class LeaseSharesTest : public testing::Test {
 protected:
  bool Take(const Principal& principal, const std::string& lease, int at_s = 0) {
    const absl::Status status = shares_.Take(&principal, lease, 60'000, start_ + seconds(at_s));
    EXPECT_TRUE(status.ok() || ReasonOf(status) == reason::kMemoryLimit);
    return status.ok();
  }
  // All that it may have.
  void Fill(const Principal& principal) {
    for (size_t i = 0; i < limits::kMaxLeasesOfOne; ++i) EXPECT_TRUE(Take(principal, std::to_string(i))) << i;
    EXPECT_FALSE(Take(principal, "more"));
  }

  LeaseShares shares_;
  const LeaseShares::Time start_ = std::chrono::steady_clock::now();
  const Principal a_ = {.name = "a"};
  const Principal b_ = {.name = "b"};
};

TEST_F(LeaseSharesTest, OneCallerHasABoundThatIsNoneOfAnothers) {
  Fill(a_);
  EXPECT_TRUE(Take(b_, "0"));
  const Principal another_token = {.name = "a"};
  EXPECT_FALSE(Take(another_token, "more"));
}

TEST_F(LeaseSharesTest, ALeaseThatIsRenewedIsTheSame) {
  Fill(a_);
  EXPECT_TRUE(Take(a_, "7", 30));
  EXPECT_TRUE(Take(a_, "more", 61)) << "the others have ended";
  EXPECT_TRUE(Take(a_, "7", 89));
}

TEST_F(LeaseSharesTest, WhatIsGivenBackIsFreeAtOnce) {
  Fill(a_);
  shares_.GiveBack(&b_, "0");
  EXPECT_FALSE(Take(a_, "more"));
  shares_.GiveBack(&a_, "0");
  EXPECT_TRUE(Take(a_, "more"));
}

TEST_F(LeaseSharesTest, WhereNobodyIsAskedNothingIsCounted) {
  for (size_t i = 0; i < 2 * limits::kMaxLeasesOfOne; ++i) {
    EXPECT_TRUE(shares_.Take(nullptr, std::to_string(i), 60'000).ok());
  }
  shares_.GiveBack(nullptr, "0");
}

}  // namespace
}  // namespace mneme
