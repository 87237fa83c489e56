#include "index/dead_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "tests/index/random_keys.h"

namespace mneme {
namespace {

constexpr uint64_t kSeed = 3;

void ExpectSame(const DeadRows& dead, const std::set<Row>& expected, testing::RandomKeys& random, Row bound) {
  EXPECT_EQ(dead.count(), expected.size());
  for (const Row row : expected) EXPECT_TRUE(dead.Contains(row)) << row;
  for (int probe = 0; probe < 300; ++probe) {
    const Row row = random.Below(bound);
    EXPECT_EQ(dead.Contains(row), expected.count(row) != 0) << row << " seed " << kSeed;
    const Row last = row + random.Below(bound);
    const auto in_range = std::distance(expected.lower_bound(row), expected.lower_bound(last));
    EXPECT_EQ(dead.CountIn(row, last), static_cast<uint64_t>(in_range)) << row << ".." << last << " seed " << kSeed;
  }
}

TEST(DeadRows, AgreesWithASetAndOldVersionsDoNotChange) {
  testing::RandomKeys random(kSeed);
  const Row bound = 5 * DeadRows::kRowsPerChunk;
  std::vector<std::pair<DeadRows, std::set<Row>>> versions(1);
  for (int step = 0; step < 30; ++step) {
    auto [dead, expected] = versions.back();
    std::vector<Row> rows;
    for (uint64_t i = random.Below(200); i > 0; --i) {
      // Dense spots make repeats and full words likely; the middle chunk stays empty.
      Row row = random.Below(2) == 0 ? random.Below(300) : random.Below(bound);
      if (row / DeadRows::kRowsPerChunk == 2) row += DeadRows::kRowsPerChunk;
      rows.push_back(row);
    }
    dead = dead.With(rows);
    expected.insert(rows.begin(), rows.end());
    versions.emplace_back(dead, expected);
  }
  for (const auto& [dead, expected] : versions) ExpectSame(dead, expected, random, bound + 1000);
  for (size_t older = 0; older < versions.size(); older += 7) {
    std::vector<Row> fresh;
    const auto& [newest, all] = versions.back();
    std::set_difference(all.begin(), all.end(), versions[older].second.begin(), versions[older].second.end(),
                        std::back_inserter(fresh));
    EXPECT_EQ(newest.NotIn(versions[older].first), fresh);
    EXPECT_TRUE(versions[older].first.NotIn(newest).empty());
  }
}

TEST(DeadRows, AnEmptySetContainsNothing) {
  const DeadRows dead;
  EXPECT_EQ(dead.count(), 0U);
  EXPECT_FALSE(dead.Contains(0));
  EXPECT_EQ(dead.CountIn(0, 1'000'000), 0U);
  EXPECT_EQ(dead.With({}).count(), 0U);
}

}  // namespace
}  // namespace mneme
