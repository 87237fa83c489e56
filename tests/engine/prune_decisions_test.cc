// A prune of one part waits until who reckons the guard over all parts says that it may write.
#include "engine/prune_decisions.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>

namespace mneme {
namespace {

constexpr std::chrono::seconds kPatience(20);
constexpr std::chrono::milliseconds kMoment(30);

TEST(PruneDecisionsTest, ItWaitsUntilItIsToldToGoOn) {
  PruneDecisions decisions;
  PruneDecisions::Wait mine(decisions, 7);
  PruneDecisions::Wait other(decisions, 8);
  auto waiting = std::async(std::launch::async, [&] { return mine.Await(CallLimits()); });
  EXPECT_TRUE(decisions.GoOn(8).ok());
  EXPECT_EQ(waiting.wait_for(kMoment), std::future_status::timeout) << "another was meant";
  EXPECT_TRUE(decisions.GoOn(7).ok());
  ASSERT_EQ(waiting.wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(waiting.get().ok());
  EXPECT_TRUE(other.Await(CallLimits()).ok()) << "it was told before it waited";
}

TEST(PruneDecisionsTest, OneThatHasEndedIsNotFound) {
  PruneDecisions decisions;
  EXPECT_EQ(decisions.GoOn(7).code(), absl::StatusCode::kNotFound);
  { const PruneDecisions::Wait wait(decisions, 7); }
  EXPECT_EQ(decisions.GoOn(7).code(), absl::StatusCode::kNotFound);
}

TEST(PruneDecisionsTest, WhoAskedMayGoAway) {
  PruneDecisions decisions;
  PruneDecisions::Wait wait(decisions, 7);
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  CallLimits limits;
  limits.cancelled = gone;
  auto waiting = std::async(std::launch::async, [&] { return wait.Await(limits); });
  gone->store(true);
  ASSERT_EQ(waiting.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(waiting.get().code(), absl::StatusCode::kCancelled);
  CallLimits late;
  late.deadline = std::chrono::steady_clock::now();
  EXPECT_EQ(wait.Await(late).code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace mneme
