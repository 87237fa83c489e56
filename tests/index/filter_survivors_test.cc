#include "index/filter_survivors.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/index/random_index.h"

namespace mneme {
namespace {

using testing::RandomEntries;
using testing::RandomKeys;
using testing::ScratchDirectory;
using testing::Seal;
using testing::TrainOn;

constexpr uint64_t kSeed = 31;
constexpr size_t kRows = 3000;

template <typename T>
std::optional<std::vector<T>> MaybeList(RandomKeys& random, const std::vector<T>& choices) {
  if (random.Below(2) == 0) return std::nullopt;
  std::vector<T> list;
  for (uint64_t i = random.Below(4); i > 0; --i) list.push_back(choices[random.Below(choices.size())]);
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

IndexVersion VersionOf(std::shared_ptr<const Segment> segment, const std::vector<Row>& dead) {
  IndexVersion version;
  version.segments = {std::move(segment)};
  version.dead = version.dead.With(dead);
  return version;
}

TEST(FilterSurvivors, AreWhatLookingAtEveryRowFinds) {
  RandomKeys random(kSeed);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(kSeed));
    const IndexSpec spec{3, Metric::kL2, Dtype::kF32, 4};
    EntryColumns entries = RandomEntries(spec, kRows, random);
    // Rows that come with their ids in order need no order of ids in the file.
    if (round % 2 == 0) std::sort(entries.ids.begin(), entries.ids.end());
    const ScratchDirectory scratch;
    const auto segment = Seal(spec, entries, TrainOn(spec, entries, 5), 0, kRows, {}, scratch);
    std::vector<Row> dead;
    for (uint64_t i = random.Below(100); i > 0; --i) dead.push_back(random.Below(kRows));
    const IndexVersion version = VersionOf(segment, dead);
    std::vector<EntryId> ids = {1, 1'000'000};
    for (int i = 0; i < 8; ++i) ids.push_back(entries.ids[random.Below(kRows)]);
    for (int ask = 0; ask < 20; ++ask) {
      RowFilter filter;
      filter.ids = MaybeList<EntryId>(random, ids);
      filter.labels = MaybeList<int64_t>(random, {-3, -2, -1, 0, 1, 2, 3});
      filter.sources = MaybeList<uint64_t>(random, {0, 1, 2, 3, 4, 5, 6});
      if (random.Below(3) == 0) filter.created_from_ms = static_cast<int64_t>(random.Below(500));
      filter.stamp_ms = static_cast<int64_t>(random.Below(1000));
      std::vector<uint32_t> expected;
      const RowBlock rows = segment->All();
      for (uint32_t at = 0; at < rows.count; ++at) {
        if (!version.dead.Contains(rows.RowAt(at)) && filter.Accepts(rows, at)) expected.push_back(at);
      }
      const auto found = FindSurvivors(version, *segment, filter, {});
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_EQ(*found, expected);
      // What is told to be selective is: the bound that is counted is never below the truth.
      const double share = EstimateSelectivity(version, filter);
      if (share < 0.02) {
        EXPECT_LE(expected.size(), 0.02 * kRows + 60);
      }
      if (!filter.AcceptsEverything() && filter.ids) {
        EXPECT_LE(share, 0.02);
      }
    }
  }
}

TEST(FilterSurvivors, OfListsThatAreLongBesideTheRowsAreFoundToo) {
  RandomKeys random(kSeed + 1);
  const IndexSpec spec{3, Metric::kL2, Dtype::kF32, 4};
  const EntryColumns entries = RandomEntries(spec, kRows, random);
  const ScratchDirectory scratch;
  const auto segment = Seal(spec, entries, TrainOn(spec, entries, 5), 0, kRows, {}, scratch);
  const IndexVersion version = VersionOf(segment, {});
  RowFilter filter;
  filter.ids = entries.ids;
  std::sort(filter.ids->begin(), filter.ids->end());
  filter.ids->resize(kRows / 2);
  const auto found = FindSurvivors(version, *segment, filter, {});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->size(), kRows / 2);
  EXPECT_NEAR(EstimateSelectivity(version, filter), 0.5, 0.1);
}

TEST(FilterSurvivors, OrdersOfASegmentAreThoseOfItsColumns) {
  RandomKeys random(kSeed + 2);
  const IndexSpec spec{3, Metric::kL2, Dtype::kF32, 4};
  for (int round = 0; round < 8; ++round) {
    const EntryColumns entries = RandomEntries(spec, 500, random);
    const ScratchDirectory scratch;
    const auto segment = Seal(spec, entries, TrainOn(spec, entries, 5), 0, 500, {}, scratch);
    const RowBlock rows = segment->All();
    const auto check = [&rows](absl::Span<const uint32_t> order, const auto* column) {
      EXPECT_EQ(order.size(), column == nullptr ? 0 : rows.count);
      for (size_t i = 1; i < order.size(); ++i) {
        EXPECT_LT(std::pair(column[order[i - 1]], order[i - 1]), std::pair(column[order[i]], order[i]));
      }
    };
    check(segment->ByLabel(), rows.labels);
    check(segment->BySource(), rows.sources);
    check(segment->ById(), rows.ids);
  }
}

}  // namespace
}  // namespace mneme
