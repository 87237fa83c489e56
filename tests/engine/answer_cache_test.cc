#include "engine/answer_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>

#include "engine/partition_index.h"

namespace mneme {
namespace {

constexpr uint32_t kDimension = 4;
constexpr uint64_t kPlenty = 1 << 20;

class AnswerCacheTest : public ::testing::Test {
 protected:
  AnswerCacheTest() { Append(0, 500); }

  void Append(EntryId first, size_t count, int64_t expiry_ms = 0) {
    EntryColumns columns;
    columns.values.width = sizeof(Token);
    for (EntryId id = first; id < first + count; ++id) {
      const std::vector<float> key = RandomKey();
      const Token token = static_cast<Token>(id);
      Attributes attributes;
      attributes.expiry_ms = expiry_ms;
      columns.Append({id,
                      {reinterpret_cast<const char*>(key.data()), spec_.KeyBytes()},
                      {reinterpret_cast<const char*>(&token), sizeof(token)},
                      attributes});
    }
    index_.Append(columns, 0, columns.count);
    version_ = index_.MakeVersion();
  }

  std::vector<float> RandomKey() {
    std::vector<float> key(kDimension);
    for (float& x : key) x = static_cast<float>(random_() % 1000);
    return key;
  }

  SearchRequest Request(const std::vector<float>& keys, uint32_t k = 10) const {
    SearchRequest request;
    request.spec = spec_;
    request.queries = keys.data();
    request.query_count = keys.size() / kDimension;
    request.k = k;
    return request;
  }

  // Asks, and expects what a search without a cache says.
  SearchStatistics Ask(AnswerCache& cache, const SearchRequest& request) {
    const auto answer = cache.Search({&version_, 1}, request);
    const auto expected = Search({&version_, 1}, request);
    EXPECT_TRUE(answer.ok() && expected.ok());
    EXPECT_EQ(answer->neighbours.offsets, expected->neighbours.offsets);
    EXPECT_EQ(answer->neighbours.ids, expected->neighbours.ids);
    EXPECT_EQ(answer->neighbours.scores, expected->neighbours.scores);
    EXPECT_EQ(answer->neighbours.values.bytes, expected->neighbours.values.bytes);
    EXPECT_EQ(answer->neighbours.weights, expected->neighbours.weights);
    EXPECT_EQ(answer->statistics.rows_total, expected->statistics.rows_total);
    EXPECT_EQ(answer->statistics.tail_rows, expected->statistics.tail_rows);
    EXPECT_EQ(answer->statistics.exact, expected->statistics.exact);
    return answer->statistics;
  }

  std::mt19937_64 random_{3};
  const IndexSpec spec_{kDimension, Metric::kL2, Dtype::kF32, sizeof(Token)};
  PartitionIndex index_{spec_, {}};
  std::shared_ptr<const IndexVersion> version_;
};

TEST_F(AnswerCacheTest, KnowsAKeyFromTheThirdTimeOn) {
  AnswerCache cache(kPlenty);
  const std::vector<float> key = RandomKey();
  for (uint64_t time = 0; time < 5; ++time) {
    const SearchStatistics statistics = Ask(cache, Request(key));
    EXPECT_EQ(statistics.rows_scanned, time < 2 ? 500U : 0U);
    EXPECT_EQ(cache.counts().answered, time < 2 ? 0 : time - 1);
  }
  EXPECT_EQ(cache.counts().asked, 5U);
  EXPECT_GT(cache.counts().ram_bytes, 0U);
}

TEST_F(AnswerCacheTest, TakesABatchApartAndPutsItTogether) {
  AnswerCache cache(kPlenty);
  std::vector<float> keys;
  for (int i = 0; i < 8; ++i) {
    const std::vector<float> key = RandomKey();
    keys.insert(keys.end(), key.begin(), key.end());
  }
  // Every second one is known.
  for (int time = 0; time < 2; ++time) {
    for (size_t q = 0; q < 8; q += 2) {
      Ask(cache, Request({keys.begin() + static_cast<ptrdiff_t>(q * kDimension),
                          keys.begin() + static_cast<ptrdiff_t>((q + 1) * kDimension)}));
    }
  }
  const SearchStatistics statistics = Ask(cache, Request(keys));
  EXPECT_EQ(statistics.rows_scanned, 250U);
  EXPECT_EQ(cache.counts().answered, 4U);
}

TEST_F(AnswerCacheTest, ForgetsNothingThatDecidesAnAnswer) {
  AnswerCache cache(kPlenty);
  const std::vector<float> key = RandomKey();
  for (int time = 0; time < 3; ++time) Ask(cache, Request(key));
  ASSERT_EQ(cache.counts().answered, 1U);
  // Another k, another version, another sign of zero: another search.
  Ask(cache, Request(key, 11));
  Append(1000, 100);
  Ask(cache, Request(key));
  EXPECT_EQ(cache.counts().answered, 1U);
  // The row that is nearest dies.
  for (int time = 0; time < 3; ++time) Ask(cache, Request(key));
  const auto nearest = Search({&version_, 1}, Request(key));
  const EntryId id = nearest->neighbours.ids.front();
  index_.MarkDead({id < 1000 ? id : id - 500});
  version_ = index_.MakeVersion();
  Ask(cache, Request(key));
  EXPECT_NE(cache.Search({&version_, 1}, Request(key))->neighbours.ids.front(), id);
}

TEST_F(AnswerCacheTest, LeavesAloneWhatItCannotKnow) {
  AnswerCache cache(kPlenty);
  const std::vector<float> key = RandomKey();
  SearchRequest excluding = Request(key);
  const EntryId excluded[] = {3};
  excluding.exclude_ids = excluded;
  SearchRequest filtered = Request(key);
  RowFilter filter;
  filter.labels = {0};
  filtered.filter = &filter;
  SearchRequest with_keys = Request(key);
  with_keys.with_keys = true;
  for (const SearchRequest& request : {excluding, filtered, with_keys}) {
    for (int time = 0; time < 4; ++time) Ask(cache, request);
  }
  Append(2000, 1, 1'000'000);
  for (int time = 0; time < 4; ++time) Ask(cache, Request(key));
  EXPECT_EQ(cache.counts().asked, 0U);
  AnswerCache none(0);
  for (int time = 0; time < 4; ++time) Ask(none, Request(key));
  EXPECT_EQ(none.counts().ram_bytes, 0U);
}

TEST_F(AnswerCacheTest, StaysWithinItsRamAndKeepsWhatIsUsed) {
  constexpr uint64_t kLittle = 20'000;
  AnswerCache cache(kLittle);
  const std::vector<float> loved = RandomKey();
  for (int i = 0; i < 200; ++i) {
    const std::vector<float> key = RandomKey();
    for (int time = 0; time < 2; ++time) Ask(cache, Request(key));
    Ask(cache, Request(loved));
    EXPECT_LE(cache.counts().ram_bytes, kLittle);
  }
  EXPECT_EQ(cache.counts().answered, 198U);
  // What is larger than all there is, is not kept.
  AnswerCache tiny(600);
  for (int time = 0; time < 4; ++time) Ask(tiny, Request(loved, 100));
  EXPECT_EQ(tiny.counts().answered, 0U);
  EXPECT_EQ(tiny.counts().ram_bytes, 0U);
}

TEST_F(AnswerCacheTest, AnswersManyThreads) {
  AnswerCache cache(60'000);
  std::vector<std::vector<float>> keys(40);
  for (auto& key : keys) key = RandomKey();
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 400; ++i) Ask(cache, Request(keys[(i * (t + 1)) % keys.size()]));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(cache.counts().answered, 500U);
}

}  // namespace
}  // namespace mneme
