#include "cluster/progress_teller.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace mneme {
namespace {

constexpr std::chrono::milliseconds kAgain{5};
constexpr std::chrono::hours kNever{1};

bool Becomes(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TEST(ProgressTellerTest, TellsEachStepOnce) {
  std::vector<uint64_t> told;
  {
    ProgressTeller teller({}, {"reading", 0, 0},
                          [&](const FlatProgress& step) {
                            told.push_back(step.done);
                            return true;
                          },
                          kNever);
    for (uint64_t done = 1; done <= 3; ++done) EXPECT_TRUE(teller.Tell({"training", done, 3}));
    EXPECT_TRUE(teller.limits().Check().ok());
  }
  EXPECT_EQ(told, (std::vector<uint64_t>{1, 2, 3}));
}

TEST(ProgressTellerTest, ACallerThatWantsNoMoreIsNoticedWhileAShardSaysNothing) {
  std::atomic<bool> wanted{true};
  std::atomic<int> told{0};
  ProgressTeller teller({}, {"reading", 0, 0},
                        [&](const FlatProgress& step) {
                          EXPECT_EQ(step.stage, "reading");
                          ++told;
                          return wanted.load();
                        },
                        kAgain);
  const CallLimits limits = teller.limits();
  EXPECT_TRUE(Becomes([&] { return told > 2; }));
  EXPECT_TRUE(limits.Check().ok());
  wanted = false;
  EXPECT_TRUE(Becomes([&] { return absl::IsCancelled(limits.Check()); }));
  wanted = true;
  EXPECT_FALSE(teller.Tell({"reading", 1, 1})) << "it stays so";
}

TEST(ProgressTellerTest, WhatTheCallIsGivenHoldsForTheWork) {
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  CallLimits given;
  given.cancelled = cancelled;
  given.deadline = std::chrono::steady_clock::now() + std::chrono::hours(1);
  ProgressTeller teller(given, {"searching", 0, 0}, [](const FlatProgress&) { return true; }, kAgain);
  EXPECT_EQ(teller.limits().deadline, given.deadline);
  cancelled->store(true);
  EXPECT_TRUE(Becomes([&] { return absl::IsCancelled(teller.limits().Check()); }));
}

}  // namespace
}  // namespace mneme
