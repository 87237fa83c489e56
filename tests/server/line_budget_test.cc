#include "server/line_budget.h"

#include <gtest/gtest.h>

namespace mneme {
namespace {

TEST(LineBudgetTest, ASecondsWorthIsWrittenAndTheRestIsCounted) {
  LineBudget budget;
  const LineBudget::Time start = std::chrono::steady_clock::now();
  uint64_t left_out = 99;
  for (int i = 0; i < LineBudget::kLinesPerSecond; ++i) {
    EXPECT_TRUE(budget.Take(&left_out, start));
    EXPECT_EQ(left_out, 0U);
  }
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(budget.Take(&left_out, start + std::chrono::milliseconds(999)));
  EXPECT_TRUE(budget.Take(&left_out, start + std::chrono::seconds(1)));
  EXPECT_EQ(left_out, 1000U);
  EXPECT_TRUE(budget.Take(&left_out, start + std::chrono::seconds(1)));
  EXPECT_EQ(left_out, 0U) << "it was told";
}

}  // namespace
}  // namespace mneme
