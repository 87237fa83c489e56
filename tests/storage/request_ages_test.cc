// Which requests a restore onto another number of shards takes along, and in what order.
#include "storage/request_ages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

TEST(RequestAgesTest, TheNewestAreHeldInTheOrderOfTheirAge) {
  std::mt19937_64 random(TestSeed());
  for (const size_t most : {1U, 7U, 100U}) {
    for (int round = 0; round < 50; ++round) {
      RequestAges ages(most);
      std::set<std::pair<int64_t, uint64_t>> all;
      std::vector<std::pair<int64_t, uint64_t>> added;
      for (uint64_t i = random() % 400; i > 0; --i) {
        // Some are added by several shards.
        if (added.empty() || random() % 3 != 0) {
          added.emplace_back(static_cast<int64_t>(random() % 300) - 20, random() % 50);
        } else {
          added.push_back(added[random() % added.size()]);
        }
        ages.Add(added.back().first, {.low = added.back().second, .high = 9});
        all.insert(added.back());
      }
      ages.Finish();
      ASSERT_EQ(ages.size(), std::min(all.size(), most));
      size_t rank = ages.size();
      for (auto each = all.rbegin(); each != all.rend(); ++each) {
        const auto found = ages.RankOf(each->first, {.low = each->second, .high = 9});
        if (rank == 0) {
          EXPECT_EQ(found, std::nullopt);
        } else {
          EXPECT_EQ(found, --rank);
        }
      }
      EXPECT_EQ(ages.RankOf(1000, {.low = 1, .high = 9}), std::nullopt);
      if (!all.empty()) {
        EXPECT_EQ(ages.newest_ms(), all.rbegin()->first);
      }
    }
  }
}

}  // namespace
}  // namespace mneme
