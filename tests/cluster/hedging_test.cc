// When a read is late, and how many are asked twice.
#include "cluster/hedging.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <random>
#include <vector>

#include "cluster/call_timer.h"
#include "common/limits.h"

namespace mneme {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

void Answer(Hedging& hedging, HedgedRead read, int answers, Hedging::Duration time) {
  for (int i = 0; i < answers; ++i) hedging.Answered(read, time, /*hedge_won=*/false);
}

TEST(HedgingTest, ReadsAreLateAfterTheP95OfTheLastAnswers) {
  Hedging hedging;
  EXPECT_EQ(hedging.Begin(HedgedRead::kQuery), milliseconds(limits::kMaxHedgeMs)) << "nothing is known";
  Answer(hedging, HedgedRead::kQuery, 31, milliseconds(7));
  EXPECT_EQ(hedging.Begin(HedgedRead::kQuery), milliseconds(limits::kMaxHedgeMs)) << "little is known";
  Answer(hedging, HedgedRead::kQuery, 1, milliseconds(7));
  EXPECT_EQ(hedging.Begin(HedgedRead::kQuery), milliseconds(7));
  // Of the last 128, six are longer than what 122 take, and then seven.
  Answer(hedging, HedgedRead::kQuery, 122, milliseconds(10));
  Answer(hedging, HedgedRead::kQuery, 6, milliseconds(50));
  EXPECT_EQ(hedging.Begin(HedgedRead::kQuery), milliseconds(10));
  Answer(hedging, HedgedRead::kQuery, 121, milliseconds(10));
  Answer(hedging, HedgedRead::kQuery, 7, milliseconds(50));
  EXPECT_EQ(hedging.Begin(HedgedRead::kQuery), milliseconds(50));
  EXPECT_EQ(hedging.Begin(HedgedRead::kGet), milliseconds(limits::kMaxHedgeMs)) << "kinds have times of their own";
}

TEST(HedgingTest, LateHasBounds) {
  Hedging hedging;
  Answer(hedging, HedgedRead::kGet, 128, microseconds(80));
  EXPECT_EQ(hedging.Begin(HedgedRead::kGet), milliseconds(limits::kMinHedgeMs));
  Answer(hedging, HedgedRead::kGet, 128, milliseconds(20'000));
  EXPECT_EQ(hedging.Begin(HedgedRead::kGet), milliseconds(limits::kMaxHedgeMs));
}

TEST(HedgingTest, AShareOfReadsIsHedgedAndSomeAreSavedUp) {
  Hedging hedging;
  const auto now = steady_clock::now();
  for (uint64_t i = 0; i < limits::kMostHedgesAtOnce; ++i) ASSERT_TRUE(hedging.Take(now)) << i;
  EXPECT_TRUE(hedging.Take(now)) << "one is free";
  EXPECT_FALSE(hedging.Take(now));
  uint64_t taken = 0;
  for (uint64_t i = 0; i < 100 * limits::kReadsPerHedge; ++i) {
    hedging.Begin(HedgedRead::kQuery);
    if (hedging.Take(now)) ++taken;
  }
  EXPECT_EQ(taken, 100U);
  EXPECT_EQ(hedging.hedged(), limits::kMostHedgesAtOnce + 1 + 100);
  // Reads that are all in time save no more than that.
  for (uint64_t i = 0; i < 1'000 * limits::kReadsPerHedge; ++i) hedging.Begin(HedgedRead::kQuery);
  taken = 0;
  while (hedging.Take(now)) ++taken;
  EXPECT_EQ(taken, limits::kMostHedgesAtOnce);
  const auto later = now + milliseconds(limits::kMaxHedgeMs);
  EXPECT_FALSE(hedging.Take(later - milliseconds(1)));
  EXPECT_TRUE(hedging.Take(later)) << "callers that all wait for one that sleeps pay for nothing";
  EXPECT_FALSE(hedging.Take(later));
}

TEST(HedgingTest, WhatIsSavedUpStaysWhileReplicasAreAsTheyWere) {
  std::mt19937_64 random(7);
  std::exponential_distribution<double> mean_of_ten_ms(1 / 10.0);
  Hedging hedging;
  const auto now = steady_clock::now();
  ASSERT_TRUE(hedging.Take(now));
  int late = 0;
  for (int i = 0; i < 100'000; ++i) {
    const Hedging::Duration allowed = hedging.Begin(HedgedRead::kQuery);
    const microseconds time(static_cast<int64_t>(1'000 * mean_of_ten_ms(random)));
    if (time > allowed) {
      ++late;
      EXPECT_TRUE(hedging.Take(now)) << "read " << i;
    }
    hedging.Answered(HedgedRead::kQuery, time, /*hedge_won=*/false);
  }
  EXPECT_NEAR(late, 5'000, 1'000);
  uint64_t left = 0;
  while (hedging.Take(now)) ++left;
  EXPECT_GE(left, limits::kMostHedgesAtOnce / 2);
}

TEST(HedgingTest, CountsWhatTheSecondAnswered) {
  Hedging hedging;
  hedging.Answered(HedgedRead::kQuery, milliseconds(5), /*hedge_won=*/true);
  hedging.Answered(HedgedRead::kQuery, milliseconds(5), /*hedge_won=*/false);
  EXPECT_EQ(hedging.won(), 1U);
}

TEST(CallTimerTest, DoesEachAtItsTimeInTheirOrder) {
  CallTimer timer;
  std::vector<int> done;  // of the timer's thread alone, until the last has told
  std::promise<void> last;
  const auto now = steady_clock::now();
  steady_clock::time_point third;
  timer.At(now + milliseconds(400), [&] {
    done.push_back(3);
    third = steady_clock::now();
    last.set_value();
  });
  timer.At(now + milliseconds(200), [&] { done.push_back(2); });
  timer.At(now - milliseconds(1), [&] { done.push_back(1); });
  last.get_future().wait();
  EXPECT_EQ(done, (std::vector<int>{1, 2, 3}));
  EXPECT_GE(third, now + milliseconds(400));
}

TEST(CallTimerTest, WhatIsNotDueWhenItEndsIsLetGo) {
  const auto held = std::make_shared<bool>(false);
  {
    CallTimer timer;
    timer.At(steady_clock::now() + std::chrono::hours(1), [held] { *held = true; });
  }
  EXPECT_FALSE(*held);
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace mneme
