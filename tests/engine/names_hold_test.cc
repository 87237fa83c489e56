// Changes of names wait while they are held, each for one hold, and none for longer than that may last.
#include "engine/names_hold.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Does not end by itself while a test lasts.
constexpr milliseconds kForEver = std::chrono::minutes(10);
constexpr milliseconds kAWhile{50};

std::future<absl::Status> BeginLater(NamesHold& hold) {
  return std::async(std::launch::async, [&hold] { return hold.Begin({}); });
}

template <typename T>
bool Waits(const std::future<T>& what) {
  return what.wait_for(kAWhile) == std::future_status::timeout;
}

TEST(NamesHoldTest, AChangeWaitsUntilNamesAreLetGoOf) {
  NamesHold hold(kForEver);
  ASSERT_TRUE(hold.Begin({}).ok());
  hold.End();
  hold.Hold(9);
  std::future<absl::Status> change = BeginLater(hold);
  EXPECT_TRUE(Waits(change));
  hold.LetGo(8);
  EXPECT_TRUE(Waits(change));
  hold.LetGo(9);
  EXPECT_TRUE(change.get().ok());
  EXPECT_TRUE(hold.Begin({}).ok());
  hold.LetGo(9);  // there is nothing
}

TEST(NamesHoldTest, AHoldEndsAtItsTime) {
  constexpr milliseconds kLongest{200};
  NamesHold hold(kLongest);
  const auto start = Steady::now();
  hold.Hold(9);
  EXPECT_TRUE(hold.Begin({}).ok());
  EXPECT_TRUE(Steady::now() - start >= kLongest);
}

TEST(NamesHoldTest, AChangeThatWaitsHeedsItsOwnTime) {
  NamesHold hold(kForEver);
  hold.Hold(9);
  CallLimits limits;
  limits.deadline = Steady::now() + kAWhile;
  EXPECT_EQ(hold.Begin(limits).code(), absl::StatusCode::kDeadlineExceeded);
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  CallLimits given_up;
  given_up.cancelled = cancelled;
  auto change = std::async(std::launch::async, [&] { return hold.Begin(given_up); });
  EXPECT_TRUE(Waits(change));
  cancelled->store(true);
  EXPECT_EQ(change.get().code(), absl::StatusCode::kCancelled);
  // Neither is under way: who holds has nobody to wait for.
  hold.LetGo(9);
  const auto start = Steady::now();
  hold.Hold(9);
  EXPECT_TRUE(Steady::now() - start < kForEver / 4);
}

TEST(NamesHoldTest, NamesAreHeldOnceChangesUnderWayHaveEnded) {
  NamesHold hold(kForEver);
  ASSERT_TRUE(hold.Begin({}).ok());
  ASSERT_TRUE(hold.Begin({}).ok());
  auto held = std::async(std::launch::async, [&hold] { hold.Hold(9); });
  EXPECT_TRUE(Waits(held));
  hold.End();
  EXPECT_TRUE(Waits(held));
  hold.End();
  held.get();
  std::future<absl::Status> change = BeginLater(hold);
  EXPECT_TRUE(Waits(change));
  hold.LetGo(9);
  EXPECT_TRUE(change.get().ok());
}

TEST(NamesHoldTest, AChangeThatDoesNotEndIsWaitedForAQuarterOfTheTime) {
  constexpr milliseconds kLongest{400};
  NamesHold hold(kLongest);
  ASSERT_TRUE(hold.Begin({}).ok());
  const auto start = Steady::now();
  hold.Hold(9);
  EXPECT_TRUE(Steady::now() - start >= kLongest / 4);
  EXPECT_TRUE(hold.Begin({}).ok());
  EXPECT_TRUE(Steady::now() - start >= kLongest);
}

TEST(NamesHoldTest, AChangeWaitsForOneHoldAtMost) {
  NamesHold hold(kForEver);
  hold.Hold(1);
  std::atomic<bool> made{false};
  std::thread change([&] {
    EXPECT_TRUE(hold.Begin({}).ok());
    made = true;
    hold.End();
  });
  // Names are held all the time, each hold in the place of the one before.
  uint64_t id = 1;
  const auto end = Steady::now() + std::chrono::seconds(60);
  while (!made && Steady::now() < end) {
    std::this_thread::sleep_for(milliseconds(1));
    hold.Hold(++id);
  }
  EXPECT_TRUE(made);
  hold.LetGo(id);
  change.join();
}

TEST(NamesHoldTest, NamesRestWhileTheyAreHeldHoweverOftenTheyChange) {
  NamesHold hold(kForEver);
  std::atomic<bool> going{true};
  std::atomic<int> changes{0};
  std::vector<std::thread> changers;
  for (int i = 0; i < 3; ++i) {
    changers.emplace_back([&] {
      while (going) {
        EXPECT_TRUE(hold.Begin({}).ok());
        ++changes;
        hold.End();
      }
    });
  }
  for (uint64_t id = 1; id <= 20; ++id) {
    hold.Hold(id);
    const int before = changes;
    std::this_thread::sleep_for(milliseconds(2));
    EXPECT_EQ(changes.load(), before);
    hold.LetGo(id);
    // They go on in between.
    const auto end = Steady::now() + std::chrono::seconds(60);
    while (changes == before && Steady::now() < end) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_NE(changes.load(), before);
  }
  going = false;
  for (std::thread& changer : changers) changer.join();
}

}  // namespace
}  // namespace mneme
