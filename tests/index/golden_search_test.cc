// The exact search of the real kNN-LM datastore against golden neighbours that were made in f64 elsewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "index/search.h"
#include "tests/index/random_index.h"
#include "tests/index/shared_data.h"

namespace mneme {
namespace {

using testing::RandomKeys;
using testing::ReadNpy;
using testing::ScratchDirectory;
using testing::SharedData;

constexpr uint32_t kGoldenK = 1024;

struct Store {
  IndexSpec spec{128, Metric::kL2, Dtype::kF16, sizeof(Token)};
  EntryColumns entries;

  explicit Store(const std::vector<uint16_t>& halves) {
    const size_t rows = halves.size() / spec.dimension;
    entries.values.width = sizeof(Token);
    for (size_t row = 0; row < rows; ++row) {
      const Token token = static_cast<Token>(row % 11'356);
      EntryView entry;
      entry.id = row;
      entry.key = {reinterpret_cast<const char*>(halves.data() + row * spec.dimension), spec.KeyBytes()};
      entry.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
      entries.Append(entry);
    }
  }

  SearchRequest Ask(const std::vector<float>& queries, uint32_t k) const {
    SearchRequest request;
    request.spec = spec;
    request.queries = queries.data();
    request.query_count = queries.size() / spec.dimension;
    request.k = k;
    return request;
  }
  std::shared_ptr<const IndexVersion> AsTail(size_t from) const {
    Tail tail(spec, from);
    tail.Append(entries, from, entries.count);
    auto version = std::make_shared<IndexVersion>();
    version->tail = tail.TakeSnapshot();
    version->tail_from = from;
    return version;
  }
  // Segments of the rows below each of `cuts`, trained on a sample; the rest as tail.
  std::shared_ptr<const IndexVersion> Sealed(const std::vector<Row>& cuts, uint32_t lists) const {
    const ScratchDirectory scratch;
    std::vector<float> sample;
    const size_t stride = std::max<size_t>(1, entries.count / (size_t{lists} * 32));
    for (size_t row = 0; row < entries.count; row += stride) {
      sample.resize(sample.size() + spec.dimension);
      DecodeVector(spec.key_dtype, entries.At(row).key.data(), spec.dimension, &*sample.end() - spec.dimension);
    }
    const std::shared_ptr<Codebook> codebook = Codebook::Train(spec, 1, sample, lists).value();
    auto version = std::make_shared<IndexVersion>(*AsTail(cuts.back()));
    version->codebook = codebook;
    Row first = 0;
    for (const Row cut : cuts) {
      version->segments.push_back(testing::Seal(spec, entries, codebook, first, cut, {}, scratch));
      first = cut;
    }
    return version;
  }
};

void ExpectGolden(const SearchResult& found, const std::vector<int32_t>& ids, const std::vector<double>& distances) {
  ASSERT_EQ(found.neighbours.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_EQ(found.neighbours.ids[i], static_cast<EntryId>(ids[i]))
        << "query " << i / kGoldenK << " rank " << i % kGoldenK;
    ASSERT_LE(std::fabs(-found.neighbours.scores[i] - distances[i]), 1e-12 * distances[i]);
  }
}

TEST(GoldenSearch, FindsTheGoldenNeighboursOfTheWikiStoreInOrderBeforeAndAfterSealing) {
  const std::optional<std::string> shared = SharedData();
  if (!shared) {
    GTEST_SKIP() << "the shared data is absent (set MNEME_SHARED_DATA): the wiki store was NOT checked; the generated "
                    "stand-in below was";
  }
  const std::string root = *shared + "/knnlm_wiki";
  const Store store(ReadNpy<uint16_t>(root + "/store_keys.npy"));
  ASSERT_EQ(store.entries.count, 357'664U);
  const std::vector<float> all = testing::ToFloats(ReadNpy<uint16_t>(root + "/dev/query_keys.npy"));
  std::vector<float> queries;
  for (const int32_t row : ReadNpy<int32_t>(root + "/dev/golden_rows.npy")) {
    queries.insert(queries.end(), all.begin() + row * 128, all.begin() + (row + 1) * 128);
  }
  const std::vector<int32_t> ids = ReadNpy<int32_t>(root + "/dev/golden_top1024_ids.npy");
  const std::vector<double> distances = ReadNpy<double>(root + "/dev/golden_top1024_dist.npy");

  const auto tail = store.AsTail(0);
  const SearchResult flat = Search({&tail, 1}, store.Ask(queries, kGoldenK)).value();
  ExpectGolden(flat, ids, distances);
  const auto sealed = store.Sealed({200'000, 340'000}, 300);
  const SearchResult after = Search({&sealed, 1}, store.Ask(queries, kGoldenK)).value();
  testing::ExpectSameAnswer(flat.neighbours, after.neighbours);
}

TEST(GoldenSearch, OfAGeneratedStandInIsTheSameBeforeAndAfterSealingAndEqualsTheOracle) {
  RandomKeys random(12);
  // 30 % duplicated keys: ties at every rank.
  std::vector<float> keys = random.Normal(6000 * 128, 1.1);
  for (size_t i = 1; i < 6000; ++i) {
    if (random.Below(10) >= 3) continue;
    const size_t copied = random.Below(i);
    std::copy_n(keys.begin() + static_cast<ptrdiff_t>(copied * 128), 128,
                keys.begin() + static_cast<ptrdiff_t>(i * 128));
  }
  std::vector<uint16_t> halves(keys.size());
  EncodeVector(Dtype::kF16, keys.data(), keys.size(), reinterpret_cast<char*>(halves.data()));
  const Store store(halves);
  const std::vector<float> queries = random.Normal(40 * 128, 1.1);
  const SearchRequest request = store.Ask(queries, 300);
  const auto tail = store.AsTail(0);
  const SearchResult flat = Search({&tail, 1}, request).value();
  const auto sealed = store.Sealed({2500, 5000}, 32);
  testing::ExpectSameAnswer(flat.neighbours, Search({&sealed, 1}, request).value().neighbours);

  for (size_t q = 0; q < 40; ++q) {
    std::vector<std::pair<double, EntryId>> ranked;
    for (size_t row = 0; row < 6000; ++row) {
      const KeyShape shape{Metric::kL2, Dtype::kF16, 128};
      ranked.emplace_back(-ExactScoreScalar(shape, queries.data() + q * 128, store.entries.At(row).key.data()), row);
    }
    std::sort(ranked.begin(), ranked.end());
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_EQ(flat.neighbours.ids[q * 300 + i], ranked[i].second);
      ASSERT_EQ(-flat.neighbours.scores[q * 300 + i], ranked[i].first);
    }
  }
}

}  // namespace
}  // namespace mneme
