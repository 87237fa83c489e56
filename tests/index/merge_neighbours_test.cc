#include <gtest/gtest.h>

#include "index/search.h"
#include "tests/index/random_index.h"

namespace mneme {
namespace {

using testing::RandomKeys;

constexpr uint64_t kSeed = 10;

struct Neighbour {
  double score;
  EntryId id;
  PartitionId partition;

  friend auto operator<=>(const Neighbour&, const Neighbour&) = default;
};

bool Better(const Neighbour& a, const Neighbour& b) {
  return std::tuple(-a.score, a.id, a.partition) < std::tuple(-b.score, b.id, b.partition);
}

void SetShape(size_t value_width, NeighbourColumns& out) {
  out.values.width = value_width;
  out.key_bytes = 2;
}

// Every other column is a function of the entry, so that a mix-up shows.
void Append(const Neighbour& n, NeighbourColumns& out) {
  const size_t value_width = out.values.width;
  out.scores.push_back(n.score);
  out.ids.push_back(n.id);
  out.partitions.push_back(n.partition);
  out.values.Append(std::string(value_width != 0 ? value_width : n.id % 5, static_cast<char>('a' + n.id % 26)));
  out.weights.push_back(static_cast<float>(n.id));
  out.labels.push_back(-static_cast<int64_t>(n.id));
  out.sources.push_back(n.id + 1);
  out.positions.push_back(n.id + 2);
  out.keys.insert(out.keys.end(), 2, static_cast<char>(n.id % 100));
}

TEST(MergeNeighbours, EqualsSortingEverythingAndKeepsEqualEntriesOnce) {
  RandomKeys random(kSeed);
  for (int round = 0; round < 300; ++round) {
    const size_t width = random.Below(2) * 4;
    const uint32_t k = 1 + static_cast<uint32_t>(random.Below(12));
    const size_t queries = random.Below(4);
    std::vector<NeighbourColumns> parts(1 + random.Below(5));
    NeighbourColumns expected;
    for (NeighbourColumns& part : parts) SetShape(width, part);
    SetShape(width, expected);
    for (size_t q = 0; q < queries; ++q) {
      std::vector<Neighbour> all;
      for (NeighbourColumns& part : parts) {
        std::vector<Neighbour> row;
        for (uint64_t i = random.Below(8); i > 0; --i) {
          // The score is the entry's own: copies agree on it.
          const EntryId id = random.Below(30);
          const PartitionId partition = random.Below(2);
          row.push_back({static_cast<double>((id * 7 + partition) % 5), id, partition});
        }
        std::sort(row.begin(), row.end(), Better);
        row.erase(std::unique(row.begin(), row.end()), row.end());
        for (const Neighbour& n : row) Append(n, part);
        part.offsets.push_back(part.ids.size());
        all.insert(all.end(), row.begin(), row.end());
      }
      std::sort(all.begin(), all.end(), Better);
      all.erase(std::unique(all.begin(), all.end()), all.end());
      if (all.size() > k) all.resize(k);
      for (const Neighbour& n : all) Append(n, expected);
      expected.offsets.push_back(expected.ids.size());
    }
    std::vector<const NeighbourColumns*> pointers;
    for (const NeighbourColumns& part : parts) pointers.push_back(&part);
    SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(kSeed));
    testing::ExpectSameAnswer(MergeNeighbours(pointers, k), expected);
  }
}

TEST(MergeNeighbours, AttributesThatAreAbsentStayAbsent) {
  std::vector<NeighbourColumns> parts(3);  // the last finds nothing
  for (EntryId id = 0; id < 6; ++id) {
    SetShape(4, parts[id % 2]);
    Append({-static_cast<double>(id), id, 0}, parts[id % 2]);
  }
  for (NeighbourColumns& part : parts) {
    part.labels.clear();
    part.sources.clear();
    part.positions.clear();
    part.offsets.push_back(part.ids.size());
  }
  const std::vector<const NeighbourColumns*> pointers = {&parts[0], &parts[1], &parts[2]};
  const NeighbourColumns merged = MergeNeighbours(pointers, 5);
  EXPECT_EQ(merged.ids, (std::vector<EntryId>{0, 1, 2, 3, 4}));
  EXPECT_EQ(merged.weights, (std::vector<float>{0, 1, 2, 3, 4}));
  EXPECT_EQ(merged.values.At(3), "dddd");
  EXPECT_TRUE(merged.labels.empty());
  EXPECT_TRUE(merged.sources.empty());
  EXPECT_TRUE(merged.positions.empty());
}

TEST(MergeNeighbours, OfNothingIsNothing) { EXPECT_EQ(MergeNeighbours({}, 5).queries(), 0U); }

}  // namespace
}  // namespace mneme
