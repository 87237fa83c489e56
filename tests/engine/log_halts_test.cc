// Who waits for an offset of a log is let do his work there, or told that it was passed.
#include "engine/log_halts.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

namespace mneme {
namespace {

class LogHaltsTest : public ::testing::Test {
 protected:
  std::future<absl::Status> Ask(LogOffset offset, absl::Status outcome = absl::OkStatus(), CallLimits limits = {}) {
    return std::async(std::launch::async, [this, offset, outcome, limits] {
      return halts_.At(offset, limits, [this] { return over_ ? absl::UnavailableError("it stops") : absl::OkStatus(); },
                       [this, outcome] {
                         ++worked_;
                         return outcome;
                       });
    });
  }
  // As the applying thread does, once somebody waits.
  void RunOnceWanted(LogOffset from, LogOffset next) {
    while (!halts_.Wanted(next)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    halts_.Run(from, next);
  }

  LogHalts halts_;
  std::atomic<int> worked_{0};
  std::atomic<bool> over_{false};
};

TEST_F(LogHaltsTest, WorkIsDoneAtItsOffsetAndNoSooner) {
  EXPECT_FALSE(halts_.Wanted(100));
  auto asked = Ask(7);
  RunOnceWanted(3, 7);
  EXPECT_TRUE(asked.get().ok());
  EXPECT_EQ(worked_, 1);
  EXPECT_FALSE(halts_.Wanted(100));
  auto later = Ask(9);
  while (!halts_.Wanted(9)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(halts_.Wanted(8));
  halts_.Run(8, 8);
  EXPECT_EQ(later.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(worked_, 1);
  halts_.Run(9, 9);
  EXPECT_TRUE(later.get().ok());
  EXPECT_EQ(worked_, 2);
}

TEST_F(LogHaltsTest, AnOffsetThatWasPassedIsOutOfRange) {
  auto asked = Ask(7);
  RunOnceWanted(8, 8);
  EXPECT_EQ(asked.get().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(worked_, 0);
}

TEST_F(LogHaltsTest, SeveralMayWaitAndEachIsToldItsOwn) {
  auto fine = Ask(7);
  auto fails = Ask(7, absl::DataLossError("damaged"));
  auto later = Ask(8);
  while (!halts_.Wanted(7)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  while (worked_ < 2) halts_.Run(7, 7);
  EXPECT_TRUE(fine.get().ok());
  EXPECT_EQ(fails.get().code(), absl::StatusCode::kDataLoss);
  while (worked_ < 3) halts_.Run(8, 8);
  EXPECT_TRUE(later.get().ok());
}

TEST_F(LogHaltsTest, WhoWaitsGoesAtHisTimeOrWhenNothingMoreIsApplied) {
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  EXPECT_EQ(Ask(7, absl::OkStatus(), limits).get().code(), absl::StatusCode::kDeadlineExceeded);
  auto asked = Ask(7);
  over_ = true;
  EXPECT_EQ(asked.get().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(halts_.Wanted(7));
  EXPECT_EQ(worked_, 0);
}

}  // namespace
}  // namespace mneme
