#include "engine/index_thresholds.h"

#include <gtest/gtest.h>

namespace mneme {
namespace {

TEST(IndexThresholdsTest, ATailGrowsWithWhatIsSealedWithinBounds) {
  const IndexThresholds thresholds{.seal_rows = 1000};
  EXPECT_EQ(thresholds.SealRows(0), 1000U);
  EXPECT_EQ(thresholds.SealRows(8000), 1000U);
  EXPECT_EQ(thresholds.SealRows(16'000), 2000U);
  EXPECT_EQ(thresholds.SealRows(32'000), 4000U);
  EXPECT_EQ(thresholds.SealRows(1'000'000'000), 4000U);
  EXPECT_EQ(thresholds.SealRows(IndexVersion()), 1000U);
}

// What must be sealed because it is long must not wait for more.
TEST(IndexThresholdsTest, ALongTailIsDueWhateverIsSealed) {
  const IndexThresholds thresholds;
  EXPECT_GE(thresholds.LongTailRows(), thresholds.SealRows(uint64_t{1} << 40));
}

}  // namespace
}  // namespace mneme
