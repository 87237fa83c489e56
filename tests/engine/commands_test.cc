#include "engine/commands.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

TEST(CallLimitsTest, WithinIsTheSoonerOfBothAndCancelledByTheSame) {
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  CallLimits limits;
  limits.cancelled = cancelled;
  const Steady::time_point before = Steady::now();
  const CallLimits minute = limits.Within(std::chrono::minutes(1));
  EXPECT_GE(minute.deadline, before + std::chrono::minutes(1));
  EXPECT_LE(minute.deadline, Steady::now() + std::chrono::minutes(1));
  EXPECT_EQ(minute.Within(std::chrono::hours(1)).deadline, minute.deadline);
  EXPECT_LT(minute.Within(std::chrono::seconds(1)).deadline, minute.deadline);
  EXPECT_TRUE(minute.Check().ok());
  EXPECT_EQ(minute.Within(std::chrono::seconds(0)).Check().code(), absl::StatusCode::kDeadlineExceeded);
  *cancelled = true;
  EXPECT_EQ(minute.Check().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(limits.deadline, Steady::time_point::max());
}

}  // namespace
}  // namespace mneme
