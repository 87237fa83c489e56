#include "index/search.h"

#include <gtest/gtest.h>

#include <limits>
#include <list>

#include "tests/index/random_partition.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::Asked;
using testing::ExpectRow;
using testing::ExpectSameAnswer;
using testing::Expected;
using testing::Partition;
using testing::RandomKeys;
using testing::ScratchDirectory;
using testing::Seal;
using testing::TrainOn;

constexpr uint64_t kSeed = 9;
constexpr int kRounds = kSanitized ? 3 : 12;

void ExpectOracle(const std::vector<const Partition*>& partitions, const SearchRequest& request,
                  const SearchResult& result) {
  ASSERT_EQ(result.neighbours.queries(), request.query_count);
  for (size_t q = 0; q < request.query_count; ++q) {
    std::vector<Expected> ranked;
    for (const Partition* partition : partitions) {
      const std::vector<Expected> part = partition->Rank(request, q);
      ranked.insert(ranked.end(), part.begin(), part.end());
    }
    std::sort(ranked.begin(), ranked.end());
    if (ranked.size() > request.k) ranked.resize(request.k);
    const size_t first = result.neighbours.offsets[q];
    ASSERT_EQ(result.neighbours.offsets[q + 1] - first, ranked.size()) << "query " << q;
    for (size_t i = 0; i < ranked.size(); ++i) ExpectRow(result.neighbours, first + i, ranked[i], request.spec);
  }
}

class SearchOf : public ::testing::TestWithParam<std::tuple<Metric, Dtype, size_t>> {
 protected:
  IndexSpec Spec(RandomKeys& random) const {
    const uint32_t dimensions[] = {1, 3, 8, 20, 33};
    return {dimensions[random.Below(5)], std::get<0>(GetParam()), std::get<1>(GetParam()), std::get<2>(GetParam())};
  }
};

TEST_P(SearchOf, AnswersExactlyWhatABruteForceSearchFindsHoweverTheRowsAreCut) {
  RandomKeys random(kSeed);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(kSeed));
    const IndexSpec spec = Spec(random);
    std::list<Partition> partitions;
    for (uint64_t p = 1 + random.Below(3); p > 0; --p) partitions.emplace_back(p, spec, 1 + random.Below(900), random);
    std::vector<const Partition*> all;
    for (const Partition& partition : partitions) all.push_back(&partition);
    for (int ask = 0; ask < 3; ++ask) {
      const Asked asked(spec, partitions.front().entries(), random);
      std::vector<std::shared_ptr<const IndexVersion>> versions, recut;
      for (const Partition& partition : partitions) {
        versions.push_back(partition.RandomVersion(random));
        recut.push_back(partition.RandomVersion(random));
      }
      const auto result = Search(versions, asked.request);
      ASSERT_TRUE(result.ok()) << result.status();
      ExpectOracle(all, asked.request, *result);
      EXPECT_TRUE(result->statistics.exact);
      // Everything, less what a filter left out before it was scanned.
      EXPECT_LE(result->statistics.rows_scanned, result->statistics.rows_total);
      if (asked.request.filter == nullptr || asked.request.filter->AcceptsEverything()) {
        EXPECT_EQ(result->statistics.rows_scanned, result->statistics.rows_total);
      }
      const auto again = Search(recut, asked.request);
      ASSERT_TRUE(again.ok());
      ExpectSameAnswer(result->neighbours, again->neighbours);
    }
  }
}

TEST_P(SearchOf, FindsAllThatMatchApproximatelyToo) {
  RandomKeys random(kSeed + 1);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(kSeed + 1));
    const IndexSpec spec = Spec(random);
    const Partition partition(3, spec, 60 + random.Below(600), random);
    Asked asked(spec, partition.entries(), random);
    asked.request.exact = false;
    asked.request.probes = 1 + static_cast<uint32_t>(random.Below(6));
    const auto version = partition.Version({1 + random.Below(partition.entries().count)}, random);
    const auto result = Search({&version, 1}, asked.request);
    ASSERT_TRUE(result.ok()) << result.status();
    for (size_t q = 0; q < asked.request.query_count; ++q) {
      const std::vector<Expected> ranked = partition.Rank(asked.request, q);
      const size_t first = result->neighbours.offsets[q];
      const size_t found = result->neighbours.offsets[q + 1] - first;
      // Fewer than k only when fewer match, and every neighbour is a true row with its true score, in order.
      ASSERT_EQ(found, std::min<size_t>(asked.request.k, ranked.size()));
      size_t next = 0;
      for (size_t i = first; i < first + found; ++i) {
        while (next < ranked.size() && ranked[next].id != result->neighbours.ids[i]) ++next;
        ASSERT_LT(next, ranked.size());
        ExpectRow(result->neighbours, i, ranked[next], spec);
      }
    }
    asked.request.probes = 6;
    const auto all = Search({&version, 1}, asked.request);
    ASSERT_TRUE(all.ok());
    EXPECT_TRUE(all->statistics.exact);
    ExpectOracle({&partition}, asked.request, *all);
  }
}

TEST_P(SearchOf, AnswersASelectiveFilterExactlyWhateverWasAsked) {
  RandomKeys random(kSeed + 7);
  const IndexSpec spec = Spec(random);
  const Partition partition(3, spec, 4000, random);
  const auto version = partition.Version({3500}, random);
  RowFilter filter;
  // About four rows in a thousand, and as many ids that are nowhere.
  std::vector<EntryId> ids;
  for (size_t i = 0; i < 16; ++i) ids.push_back(partition.entries().ids[random.Below(partition.entries().count)]);
  for (size_t i = 0; i < 16; ++i) ids.push_back(1'000'000 + i);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  filter.ids = ids;
  for (const bool exact : {false, true}) {
    Asked asked(spec, partition.entries(), random);
    asked.request.exact = exact;
    asked.request.probes = 1;
    asked.request.filter = &filter;
    const auto result = Search({&version, 1}, asked.request);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectOracle({&partition}, asked.request, *result);
    EXPECT_TRUE(result->statistics.exact);
    // The tail is scanned whole; of the segment only what the filter leaves.
    EXPECT_LE(result->statistics.rows_scanned, 500U + 16U);
  }
}

TEST_P(SearchOf, ScoresGivenRowsLikeASearchDoes) {
  RandomKeys random(kSeed + 2);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(kSeed + 2));
    const IndexSpec spec = Spec(random);
    const Partition partition(3, spec, 60 + random.Below(300), random);
    const Asked asked(spec, partition.entries(), random);
    const auto version = partition.RandomVersion(random);
    std::vector<size_t> offsets = {0};
    std::vector<RowReference> rows;
    std::vector<std::set<Row>> wanted(asked.request.query_count);
    for (auto& of_query : wanted) {
      for (uint64_t i = random.Below(30); i > 0; --i) {
        // Some do not exist, some are of a partition that was not asked for, some come twice.
        const Row row = random.Below(partition.entries().count + 10);
        const PartitionId id = random.Below(10) == 0 ? 4 : 3;
        rows.push_back({id, row});
        if (random.Below(5) == 0) rows.push_back({id, row});
        if (id == 3) of_query.insert(row);
      }
      offsets.push_back(rows.size());
    }
    const auto result = ScoreRows({&version, 1}, asked.request, offsets, rows);
    ASSERT_TRUE(result.ok()) << result.status();
    for (size_t q = 0; q < asked.request.query_count; ++q) {
      std::vector<Expected> ranked = partition.Rank(asked.request, q);
      std::erase_if(ranked, [&](const Expected& row) { return wanted[q].count(row.row) == 0; });
      const size_t first = result->neighbours.offsets[q];
      ASSERT_EQ(result->neighbours.offsets[q + 1] - first, ranked.size());
      for (size_t i = 0; i < ranked.size(); ++i) ExpectRow(result->neighbours, first + i, ranked[i], spec);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, SearchOf,
                         ::testing::Combine(::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine),
                                            ::testing::Values(Dtype::kF32, Dtype::kF16),
                                            ::testing::Values(0, 4, 12)));

class Searching : public ::testing::Test {
 protected:
  SearchRequest Ask(uint32_t k) const {
    SearchRequest request;
    request.spec = spec_;
    request.queries = query_.data();
    request.query_count = 1;
    request.k = k;
    return request;
  }
  // A tail of these keys with ids descending from the number of keys.
  std::shared_ptr<const IndexVersion> TailOf(const std::vector<float>& keys) const {
    EntryColumns entries;
    entries.values.width = 4;
    const std::string packed = testing::Encode(spec_.key_dtype, keys);
    const size_t count = keys.size() / spec_.dimension;
    for (size_t i = 0; i < count; ++i) {
      EntryView entry;
      entry.id = count - i;
      entry.key = std::string_view(packed).substr(i * spec_.KeyBytes(), spec_.KeyBytes());
      entry.value = "abcd";
      entries.Append(entry);
    }
    Tail tail(spec_, 0);
    tail.Append(entries, 0, count);
    auto version = std::make_shared<IndexVersion>();
    version->tail = tail.TakeSnapshot();
    return version;
  }

  IndexSpec spec_{4, Metric::kL2, Dtype::kF32, 4};
  const std::vector<float> query_ = {1.0F, 2.0F, 3.0F, 4.0F};
};

TEST_F(Searching, BreaksTiesOfManyEqualKeysByIdWithBoundedReranking) {
  std::vector<float> keys;
  for (int i = 0; i < 20'000; ++i) keys.insert(keys.end(), query_.begin(), query_.end());
  const auto version = TailOf(keys);
  const auto result = Search({&version, 1}, Ask(50));
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->neighbours.size(), 50U);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(result->neighbours.ids[i], i + 1);
  EXPECT_EQ(result->statistics.rows_reranked, 20'000U) << "every tie is scored once, none twice";
}

TEST_F(Searching, FindsNearNeighboursAmongKeysWhoseSquaresOverflowInF32) {
  std::vector<float> keys(4 * 5000, 3e19F);
  std::copy(query_.begin(), query_.end(), keys.begin() + 4 * 2500);
  keys[4 * 100] = 2.9e19F;
  const auto version = TailOf(keys);
  const auto result = Search({&version, 1}, Ask(3));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->neighbours.ids, (std::vector<EntryId>{2500, 4900, 1}));
}

TEST_F(Searching, OfAnEmptyPartitionFindsNothingAndIsNoError) {
  const std::shared_ptr<const IndexVersion> empty = std::make_shared<IndexVersion>();
  const auto result = Search({&empty, 1}, Ask(5));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->neighbours.offsets, (std::vector<size_t>{0, 0}));
  EXPECT_TRUE(result->statistics.exact);
  const auto nowhere = Search({}, Ask(5));
  ASSERT_TRUE(nowhere.ok());
  EXPECT_EQ(nowhere->neighbours.size(), 0U);
}

TEST_F(Searching, StopsWhenItIsToldTo) {
  const auto version = TailOf(std::vector<float>(4 * 300'000, 0.5F));
  SearchRequest request = Ask(5);
  int asked = 0;
  request.stop = [&] { return ++asked < 3 ? absl::OkStatus() : absl::DeadlineExceededError("late"); };
  EXPECT_EQ(Search({&version, 1}, request).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(asked, 3);
  request.stop = [] { return absl::CancelledError("gone"); };
  EXPECT_EQ(Search({&version, 1}, request).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(Searching, RefusesAKOfZeroAndARecallTargetOutOfRange) {
  const auto version = TailOf(query_);
  EXPECT_EQ(Search({&version, 1}, Ask(0)).status().code(), absl::StatusCode::kInvalidArgument);
  SearchRequest request = Ask(1);
  request.exact = false;
  for (const double target : {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    request.recall_target = target;
    EXPECT_EQ(Search({&version, 1}, request).status().code(), absl::StatusCode::kInvalidArgument) << target;
  }
  request.recall_target = 1.0;
  EXPECT_TRUE(Search({&version, 1}, request).ok());
}

TEST_F(Searching, CountsWhatItScannedAndReachesItsRecallTarget) {
  RandomKeys random(kSeed);
  spec_ = {16, Metric::kL2, Dtype::kF16, 4};
  const std::vector<float> centres = random.Normal(30 * 16, 3.0);
  std::vector<float> keys = random.Normal(12'000 * 16);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] += centres[i / 16 % 30 * 16 + i % 16];
  const std::string packed = testing::Encode(spec_.key_dtype, keys);
  EntryColumns entries;
  entries.values.width = 4;
  for (size_t i = 0; i < 12'000; ++i) {
    EntryView entry;
    entry.id = i;
    entry.key = std::string_view(packed).substr(i * spec_.KeyBytes(), spec_.KeyBytes());
    entry.value = "abcd";
    entries.Append(entry);
  }
  const ScratchDirectory scratch;
  auto version = std::make_shared<IndexVersion>();
  const auto codebook = TrainOn(spec_, entries, ListsFor(12'000));
  version->codebook = codebook;
  version->segments = {Seal(spec_, entries, codebook, 0, 5000, {}, scratch),
                       Seal(spec_, entries, codebook, 5000, 11'000, {}, scratch)};
  Tail tail(spec_, 11'000);
  tail.Append(entries, 11'000, 12'000);
  version->tail = tail.TakeSnapshot();
  version->tail_from = 11'000;
  const std::shared_ptr<const IndexVersion> shared = version;

  std::vector<float> queries = random.Normal(200 * 16);
  for (size_t i = 0; i < queries.size(); ++i) queries[i] += centres[i / 16 % 30 * 16 + i % 16];
  SearchRequest request = Ask(10);
  request.queries = queries.data();
  request.query_count = 200;
  const SearchResult exact = Search({&shared, 1}, request).value();
  EXPECT_EQ(exact.statistics.rows_scanned, 12'000U);
  EXPECT_EQ(exact.statistics.tail_rows, 1000U);
  EXPECT_EQ(exact.statistics.segments, 2U);

  request.exact = false;
  request.recall_target = 0.9;
  const SearchResult found = Search({&shared, 1}, request).value();
  EXPECT_FALSE(found.statistics.exact);
  EXPECT_EQ(found.statistics.rows_total, 12'000U);
  EXPECT_LT(found.statistics.rows_scanned, 8'000U);
  EXPECT_GE(found.statistics.rows_scanned, 1000U);
  EXPECT_EQ(found.statistics.lists_probed, codebook->ProbesFor(10, 0.9));
  size_t hits = 0;
  for (size_t q = 0; q < 200; ++q) {
    const std::set<EntryId> truth(exact.neighbours.ids.begin() + static_cast<ptrdiff_t>(10 * q),
                                  exact.neighbours.ids.begin() + static_cast<ptrdiff_t>(10 * q + 10));
    for (size_t i = 0; i < 10; ++i) hits += truth.count(found.neighbours.ids[10 * q + i]);
  }
  EXPECT_GE(hits, 1800U) << "recall " << static_cast<double>(hits) / 2000.0 << " seed " << kSeed;
}

}  // namespace
}  // namespace mneme
