#include "common/random_number.h"

#include <gtest/gtest.h>

#include <set>

namespace mneme {
namespace {

TEST(RandomNumberTest, NoneIsDrawnTwiceAndEveryBitIsDrawn) {
  std::set<uint64_t> drawn;
  uint64_t ones = 0;
  uint64_t zeros = 0;
  for (int i = 0; i < 1'000; ++i) {
    const uint64_t number = RandomNumber();
    EXPECT_TRUE(drawn.insert(number).second);
    ones |= number;
    zeros |= ~number;
  }
  EXPECT_FALSE(drawn.contains(0));
  EXPECT_EQ(ones, ~uint64_t{0});
  EXPECT_EQ(zeros, ~uint64_t{0});
}

}  // namespace
}  // namespace mneme
