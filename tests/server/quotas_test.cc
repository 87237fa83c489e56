#include "server/quotas.h"

#include <gtest/gtest.h>

#include "absl/strings/cord.h"
#include "common/error_reason.h"
#include "google/rpc/error_details.pb.h"
#include "server/request_error.h"

namespace mneme {
namespace {

using std::chrono::milliseconds;

class QuotasTest : public testing::Test {
 protected:
  static Principal Of(const std::string& name, const Quota& quota) { return {.name = name, .quota = quota}; }
  bool Take(const Principal& principal, Charge charge, int at_ms) {
    const absl::Status status = quotas_.Take(principal, charge, start_ + milliseconds(at_ms));
    EXPECT_TRUE(status.ok() || ReasonOf(status) == reason::kRateLimit);
    return status.ok();
  }

  Quotas quotas_;
  const Quotas::Time start_ = std::chrono::steady_clock::now();
};

TEST_F(QuotasTest, WithoutAQuotaEverythingIsTaken) {
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(Take(Of("a", {}), {1 << 30, 1 << 20}, 0));
}

TEST_F(QuotasTest, ASecondsWorthIsTakenAtOnceAndThenAsItComes) {
  const Principal a = Of("a", {.requests = 10});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Take(a, {}, 0)) << i;
  EXPECT_FALSE(Take(a, {}, 0));
  EXPECT_TRUE(Take(Of("b", {.requests = 10}), {}, 0)) << "another name has its own";
  EXPECT_TRUE(Take(a, {}, 150));
  EXPECT_TRUE(Take(a, {}, 160)) << "half of one is something";
  EXPECT_FALSE(Take(a, {}, 170));
  // An hour gives no more than a second does.
  int taken = 0;
  while (Take(a, {}, 3'600'000)) ++taken;
  EXPECT_EQ(taken, 10);
}

TEST_F(QuotasTest, OneThatIsLargerThanASecondsWorthPassesAndIsPaidFor) {
  const Principal a = Of("a", {.bytes = 100});
  EXPECT_TRUE(Take(a, {.bytes = 1'000}, 0));
  EXPECT_FALSE(Take(a, {.bytes = 1}, 8'900));
  EXPECT_TRUE(Take(a, {.bytes = 1}, 9'100));
}

TEST_F(QuotasTest, WhatIsRefusedTakesNothing) {
  const Principal a = Of("a", {.requests = 1, .bytes = 10});
  EXPECT_TRUE(Take(a, {.bytes = 20}, 0));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(Take(a, {.bytes = 20}, 500));
  EXPECT_TRUE(Take(a, {.bytes = 20}, 1'100));
}

TEST_F(QuotasTest, WhatWritesNothingNeedsNoEntries) {
  const Principal a = Of("a", {.entries = 5});
  EXPECT_TRUE(Take(a, {.entries = 6}, 0));
  EXPECT_FALSE(Take(a, {.entries = 1}, 0));
  EXPECT_TRUE(Take(a, {.entries = 0}, 0));
}

TEST_F(QuotasTest, AKindThatIsGivenLaterOwesNothingOfWhatWasBefore) {
  EXPECT_TRUE(Take(Of("a", {.requests = 200}), {.bytes = size_t{1} << 40, .entries = 1'000'000}, 0));
  EXPECT_TRUE(Take(Of("a", {.requests = 200, .bytes = 1'000}), {.bytes = 10}, 1));
  // Nor does one that was taken away and comes back, or another number.
  EXPECT_TRUE(Take(Of("a", {.bytes = 1'000}), {.bytes = size_t{1} << 40}, 2));
  EXPECT_FALSE(Take(Of("a", {.bytes = 1'000}), {.bytes = 10}, 3));
  EXPECT_TRUE(Take(Of("a", {.bytes = 2'000}), {.bytes = 10}, 4));
}

TEST_F(QuotasTest, WhatTakesNoRequestIsNotRefusedForWantOfOne) {
  const Principal a = Of("a", {.requests = 1, .entries = 10});
  EXPECT_TRUE(Take(a, {}, 0));
  EXPECT_TRUE(Take(a, {.entries = 20, .requests = 0}, 0));
  EXPECT_FALSE(Take(a, {.entries = 1, .requests = 0}, 1'000));
  EXPECT_TRUE(Take(a, {}, 1'000));
}

TEST_F(QuotasTest, AnswersAreTakenWhateverIsLeftAndRequestsWaitUntilTheyArePaidFor) {
  const Principal a = Of("a", {.answered = 100});
  EXPECT_TRUE(Take(a, {.bytes = 1 << 20, .entries = 1 << 20}, 0)) << "nothing else is counted";
  quotas_.TakeAnswer(a, 1'000, start_);
  EXPECT_FALSE(Take(a, {}, 8'900));
  EXPECT_GT(quotas_.AnswerPause(a, start_ + milliseconds(8'900)), absl::Milliseconds(99));
  EXPECT_LT(quotas_.AnswerPause(a, start_ + milliseconds(8'900)), absl::Milliseconds(101));
  EXPECT_TRUE(Take(a, {.entries = 1, .requests = 0}, 8'900)) << "a part of a request that was taken";
  EXPECT_TRUE(Take(a, {}, 9'100));
  EXPECT_EQ(quotas_.AnswerPause(a, start_ + milliseconds(9'100)), absl::ZeroDuration());
  EXPECT_EQ(quotas_.AnswerPause(Of("b", {.requests = 1}), start_), absl::ZeroDuration());
}

TEST_F(QuotasTest, ARefusalNamesTheCallerTheQuotaItsBoundAndWhatIsUsed) {
  const Principal a = Of("model", {.bytes = 100});
  EXPECT_TRUE(quotas_.Take(a, {.bytes = 350}, start_).ok());
  const absl::Status refused = quotas_.Take(a, {.bytes = 1}, start_);
  EXPECT_EQ(refused.message(), "\"model\" has used up its quota of 100 bytes of requests a second");
  EXPECT_EQ(QuotaOf(refused), "bytes/s");
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(std::string(*refused.GetPayload("type.googleapis.com/google.rpc.ErrorInfo"))));
  EXPECT_EQ(info.metadata().at("used"), "350");
}

TEST_F(QuotasTest, AClockThatStandsStillGivesNothing) {
  const Principal a = Of("a", {.requests = 1});
  EXPECT_TRUE(Take(a, {}, 1'000));
  EXPECT_FALSE(Take(a, {}, 0)) << "an earlier time";
}

}  // namespace
}  // namespace mneme
