// Every codec, as a search uses it: what it costs in recall, and what it must never do.
#include "index/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "common/aligned_buffer.h"
#include "index/projection.h"
#include "index/rotation.h"
#include "tests/index/random_index.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::Encode;
using testing::RandomKeys;
using testing::ScratchDirectory;

constexpr uint64_t kSeed = 41;
constexpr size_t kRows = kSanitized ? 3000 : 6000;
constexpr size_t kQueries = 24;
constexpr uint32_t kK = 20;

struct Case {
  const char* index;
  Metric metric;
  // Recall of the k nearest with most lists probed, when distances are re-ranked and when they are not.
  double reranked;
  double by_codes;
};

class CodecOf : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    RandomKeys random(kSeed);
    spec_ = {32, GetParam().metric, Dtype::kF32, sizeof(Token), {}};
    spec_.index = ParseIndexChoice(GetParam().index, spec_.dimension).value();
    // Clusters of clusters, off the origin: what hidden states look like.
    const std::vector<float> centres = random.Normal(40 * 32, 2.0);
    std::vector<float> keys = random.Normal(kRows * 32, 0.7);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] += 3.0F + centres[i / 32 % 40 * 32 + i % 32];
    const std::string packed = Encode(spec_.key_dtype, keys);
    entries_.values.width = spec_.value_bytes;
    for (size_t i = 0; i < kRows; ++i) {
      EntryView entry;
      entry.id = i;
      entry.key = std::string_view(packed).substr(i * spec_.KeyBytes(), spec_.KeyBytes());
      entry.value = "abcd";
      entries_.Append(entry);
    }
    queries_ = random.Normal(kQueries * 32, 0.7);
    for (size_t i = 0; i < queries_.size(); ++i) queries_[i] += keys[i / 32 * 97 * 32 + i % 32];
    // Training is what takes long, and the same for each test of a case.
    static std::map<std::pair<std::string, Metric>, std::shared_ptr<Codebook>> trained;
    auto& codebook = trained[{GetParam().index, GetParam().metric}];
    if (codebook == nullptr) codebook = testing::TrainOn(spec_, entries_, 30);
    codebook_ = codebook;
  }

  std::shared_ptr<const IndexVersion> Version(const std::shared_ptr<const Codebook>& codebook) {
    auto version = std::make_shared<IndexVersion>();
    version->codebook = codebook;
    version->segments.push_back(testing::Seal(spec_, entries_, std::const_pointer_cast<Codebook>(codebook), 0,
                                              kRows, {}, scratch_));
    version->tail_from = kRows;
    return version;
  }

  SearchResult Ask(const std::shared_ptr<const IndexVersion>& version, bool exact, bool by_codes = false) const {
    SearchRequest request;
    request.spec = spec_;
    request.queries = queries_.data();
    request.query_count = kQueries;
    request.k = kK;
    request.exact = exact;
    request.probes = 29;
    request.approximate_distances = by_codes;
    return Search({&version, 1}, request).value();
  }

  static double Recall(const SearchResult& exact, const SearchResult& found) {
    size_t hits = 0;
    for (size_t q = 0; q < kQueries; ++q) {
      const auto begin = exact.neighbours.ids.begin() + static_cast<ptrdiff_t>(q * kK);
      const std::set<EntryId> truth(begin, begin + kK);
      for (size_t i = q * kK; i < (q + 1) * kK; ++i) hits += truth.count(found.neighbours.ids[i]);
    }
    return static_cast<double>(hits) / static_cast<double>(kQueries * kK);
  }

  IndexSpec spec_;
  EntryColumns entries_;
  std::vector<float> queries_;
  std::shared_ptr<Codebook> codebook_;
  ScratchDirectory scratch_;
};

TEST_P(CodecOf, FindsTheNearestAndTellsTheirTrueScores) {
  const auto version = Version(codebook_);
  const SearchResult exact = Ask(version, true);
  const SearchResult found = Ask(version, false);
  EXPECT_TRUE(exact.statistics.exact);
  EXPECT_FALSE(found.statistics.exact);
  ASSERT_EQ(found.neighbours.size(), kQueries * kK);
  EXPECT_GE(Recall(exact, found), GetParam().reranked);
  for (size_t q = 0; q < kQueries; ++q) {
    for (size_t i = q * kK; i < (q + 1) * kK; ++i) {
      const std::string_view key = entries_.At(found.neighbours.ids[i]).key;
      const KeyShape shape{spec_.metric, spec_.key_dtype, spec_.dimension};
      EXPECT_EQ(found.neighbours.scores[i], ExactScoreScalar(shape, queries_.data() + q * 32, key.data()));
    }
  }
  // Re-ranking is of candidates, not of everything.
  EXPECT_LT(found.statistics.rows_reranked, kQueries * kRows / 4);
}

TEST_P(CodecOf, OrdersByItsOwnDistancesWhenAskedTo) {
  const auto version = Version(codebook_);
  const SearchResult exact = Ask(version, true);
  const SearchResult found = Ask(version, false, true);
  ASSERT_EQ(found.neighbours.size(), kQueries * kK);
  EXPECT_GE(Recall(exact, found), GetParam().by_codes);
  EXPECT_EQ(found.statistics.rows_reranked, 0U);
  double told = 0.0;
  double truth = 0.0;
  for (size_t q = 0; q < kQueries; ++q) {
    const auto begin = found.neighbours.scores.begin() + static_cast<ptrdiff_t>(q * kK);
    EXPECT_TRUE(std::is_sorted(begin, begin + kK, std::greater<>()));
    told += found.neighbours.scores[q * kK + kK - 1];
    truth += exact.neighbours.scores[q * kK + kK - 1];
  }
  // Single distances of short codes are rough; their mean is not.
  EXPECT_NEAR(told, truth, 0.35 * std::abs(truth));
}

TEST_P(CodecOf, FindsSealedRowsBesideATailThatIsNear) {
  // A tail as near to the queries as any sealed row: its exact distances must not cut off what codes only estimate.
  auto version = std::make_shared<IndexVersion>(*Version(codebook_));
  Tail tail(spec_, kRows);
  EntryColumns near;
  near.values.width = spec_.value_bytes;
  for (size_t i = 0; i < 400; ++i) {
    EntryView entry = entries_.At(i % kQueries * 97 + i / kQueries * 3 % 90);
    entry.id = kRows + i;
    near.Append(entry);
  }
  tail.Append(near, 0, near.count);
  version->tail = tail.TakeSnapshot();
  EXPECT_GE(Recall(Ask(version, true), Ask(version, false)), GetParam().reranked - 0.01);
}

TEST_P(CodecOf, IsTheSameAfterItsCodebookWasStored) {
  const EnvelopeIdentity identity{1, 2, 3, 4};
  const std::string path = scratch_.File("codebook");
  ASSERT_TRUE(codebook_->Save(path, identity).ok());
  const auto opened = Codebook::Open(path, spec_, identity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  testing::ExpectSameAnswer(Ask(Version(codebook_), false).neighbours, Ask(Version(*opened), false).neighbours);
  EXPECT_EQ((*opened)->CodeSlack(10, 0.95), codebook_->CodeSlack(10, 0.95));
}

TEST_P(CodecOf, StillFindsRowsThatDriftedFarFromItsSample) {
  RandomKeys random(kSeed + 9);
  // Forty rows where the sample had none, in a cluster of their own; each is asked for.
  std::vector<float> keys = random.Normal(40 * 32, 0.7);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] += 40.0F + static_cast<float>(i % 32);
  const std::string packed = Encode(spec_.key_dtype, keys);
  EntryColumns drifted;
  drifted.values.width = spec_.value_bytes;
  for (Row row = 0; row < 2000; ++row) {
    EntryView entry = entries_.At(row);
    if (row % 50 == 7) entry.key = std::string_view(packed).substr(row / 50 * spec_.KeyBytes(), spec_.KeyBytes());
    drifted.Append(entry);
  }
  auto version = std::make_shared<IndexVersion>();
  version->codebook = codebook_;
  version->segments.push_back(testing::Seal(spec_, drifted, codebook_, 0, 2000, {}, scratch_));
  version->tail_from = 2000;
  queries_.assign(keys.begin(), keys.begin() + kQueries * 32);
  for (float& component : queries_) component += 0.01F;
  // Halves of unit keys that differ in the last bits only are not told apart by more.
  EXPECT_GE(Recall(Ask(version, true), Ask(version, false)), 0.94);
}

std::string NameOf(const ::testing::TestParamInfo<Case>& codec) {
  std::string name = std::string(codec.param.index) + "_" + std::to_string(static_cast<int>(codec.param.metric));
  for (char& c : name) c = c == ':' ? '_' : c;
  return name;
}

std::vector<Case> LearntRotations() {
  std::vector<Case> cases = {{"opq:16x4", Metric::kCosine, 0.97, 0.3}};
  if (kSanitized) return cases;
  cases.push_back({"opq:8", Metric::kL2, 0.98, 0.4});
  cases.push_back({"opq:16x4", Metric::kL2, 0.98, 0.3});
  cases.push_back({"opq:8", Metric::kInnerProduct, 0.97, 0.3});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(
    Codecs, CodecOf,
    ::testing::Values(Case{"flat", Metric::kL2, 0.99, 0.99}, Case{"f16", Metric::kL2, 0.99, 0.97},
                      Case{"int8", Metric::kL2, 0.99, 0.9}, Case{"pq:8", Metric::kL2, 0.98, 0.4},
                      Case{"pq:16x4", Metric::kL2, 0.98, 0.3}, Case{"rabitq:1", Metric::kL2, 0.98, 0.2},
                      Case{"rabitq:4", Metric::kL2, 0.99, 0.8}, Case{"auto", Metric::kL2, 0.99, 0.9},
                      Case{"f16", Metric::kInnerProduct, 0.98, 0.9}, Case{"int8", Metric::kInnerProduct, 0.98, 0.8},
                      Case{"pq:8", Metric::kInnerProduct, 0.97, 0.3},
                      Case{"rabitq:2", Metric::kInnerProduct, 0.97, 0.3}, Case{"f16", Metric::kCosine, 0.98, 0.9},
                      Case{"int8", Metric::kCosine, 0.98, 0.8}, Case{"pq:16x4", Metric::kCosine, 0.97, 0.3},
                      Case{"rabitq:3", Metric::kCosine, 0.98, 0.5}, Case{"pca:16", Metric::kL2, 0.98, 0.3},
                      Case{"pca:32", Metric::kL2, 0.99, 0.9}, Case{"pca:16", Metric::kInnerProduct, 0.97, 0.2},
                      Case{"pca:16", Metric::kCosine, 0.97, 0.2}),
    NameOf);
// A learnt rotation is half a minute of one thread: a sanitizer sees one of them.
INSTANTIATE_TEST_SUITE_P(LearntRotations, CodecOf, ::testing::ValuesIn(LearntRotations()), NameOf);

TEST(CodecTest, AutoChoosesByTheDimension) {
  EXPECT_EQ(ResolveCodec({}, {128, Metric::kL2, Dtype::kF16, 4, {}}).kind, CodecKind::kInt8);
  EXPECT_EQ(ResolveCodec({}, {1024, Metric::kL2, Dtype::kF16, 4, {}}).kind, CodecKind::kRabitq);
  EXPECT_EQ(ResolveCodec({CodecKind::kF16, 0, 0}, {128, Metric::kL2, Dtype::kF16, 4, {}}).kind, CodecKind::kFlat);
  EXPECT_EQ(ResolveCodec({CodecKind::kF16, 0, 0}, {128, Metric::kL2, Dtype::kF32, 4, {}}).kind, CodecKind::kF16);
}

TEST(CodecTest, RefusesParametersOfAnotherShape) {
  const std::vector<float> centroids(32, 0.0F);
  const CodecFrame frame{{32, Metric::kL2, Dtype::kF32, 4, {}}, centroids};
  for (const CodecChoice& choice : {CodecChoice{CodecKind::kInt8, 0, 0}, CodecChoice{CodecKind::kPq, 8, 8},
                                    CodecChoice{CodecKind::kPq, 7, 8}, CodecChoice{CodecKind::kPca, 16, 0},
                                    CodecChoice{CodecKind::kPca, 33, 0}, CodecChoice{CodecKind::kOpq, 8, 8},
                                    CodecChoice{static_cast<CodecKind>(99), 0, 0},
                                    CodecChoice{CodecKind::kRabitq, 0, 9}}) {
    EXPECT_TRUE(absl::IsDataLoss(OpenCodec(choice, frame, "abc").status())) << static_cast<int>(choice.kind);
  }
}

// Residuals that vary in three directions of their own, none of them an axis.
std::vector<float> NearlyFlat(size_t count, size_t dimension) {
  RandomKeys random(kSeed + 7);
  const std::vector<float> directions = random.Normal(3 * dimension);
  const std::vector<float> weights = random.Normal(count * 3);
  const size_t d = dimension;
  std::vector<float> rows = random.Normal(count * dimension, 0.01);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < 3; ++j) rows[i] += weights[i / d * 3 + j] * directions[j * d + i % d];
  }
  return rows;
}

double Squares(const std::vector<float>& vector) {
  double sum = 0.0;
  for (const float component : vector) sum += double{component} * component;
  return sum;
}

void ExpectOrthonormal(const Projection& projection) {
  for (size_t a = 0; a < projection.to(); ++a) {
    const std::vector<float> products = projection.Apply(projection.rows().data() + a * projection.from(), 1);
    for (size_t b = 0; b < projection.to(); ++b) EXPECT_NEAR(products[b], a == b ? 1.0 : 0.0, 1e-4) << a << " " << b;
  }
}

TEST(ProjectionTest, PrincipalComponentsKeepWhatVaries) {
  const std::vector<float> rows = NearlyFlat(400, 40);
  const auto projection = Projection::Principal(rows, 40, 3);
  ASSERT_TRUE(projection.ok()) << projection.status();
  ExpectOrthonormal(*projection);
  EXPECT_GT(Squares(projection->Apply(rows.data(), 400)), 0.999 * Squares(rows));
}

TEST(ProjectionTest, FewerRowsThanComponentsAreEnough) {
  const std::vector<float> rows = NearlyFlat(5, 40);
  const auto principal = Projection::Principal(rows, 40, 20);
  ASSERT_TRUE(principal.ok()) << principal.status();
  ExpectOrthonormal(*principal);
  EXPECT_NEAR(Squares(principal->Apply(rows.data(), 5)), Squares(rows), 1e-3 * Squares(rows));
  const auto rotation = Projection::ForQuantiser(rows, 40, 10, 8);
  ASSERT_TRUE(rotation.ok()) << rotation.status();
  ExpectOrthonormal(*rotation);
  EXPECT_TRUE(absl::IsFailedPrecondition(Projection::Principal({}, 40, 20).status()));
}

TEST(ProjectionTest, TheSameSampleGivesTheSameProjection) {
  const std::vector<float> rows = NearlyFlat(400, 16);
  EXPECT_EQ(Projection::Principal(rows, 16, 4)->rows(), Projection::Principal(rows, 16, 4)->rows());
  EXPECT_EQ(Projection::ForQuantiser(rows, 16, 4, 4)->rows(), Projection::ForQuantiser(rows, 16, 4, 4)->rows());
}

TEST(ProjectionTest, ALearntRotationMakesAProductQuantiserErrLess) {
  // Components that vary together lie in different columns, which the rotation mends.
  const std::vector<float> rows = NearlyFlat(2000, 32);
  const std::vector<float> centroid(32, 0.0F);
  CodecFrame frame{{32, Metric::kL2, Dtype::kF32, 4, {}}, centroid};
  frame.mean_squared_residual = Squares(rows) / 2000;
  const auto error = [&](CodecKind kind) {
    const auto codec = TrainCodec({kind, 8, 4}, frame, rows).value();
    AlignedBuffer block(codec->block_bytes());
    std::vector<float> costs(kCodeBlockRows);
    std::vector<uint32_t> found(kCodeBlockRows);
    double sum = 0.0;
    for (size_t row = 0; row < 500; ++row) {
      codec->Encode(centroid.data(), rows.data() + row * 32, 1, block.data());
      const auto prepared = codec->Prepare(rows.data() + row * 32, 1);
      const uint32_t first = 0;
      const float base = static_cast<float>(Squares({rows.begin() + row * 32, rows.begin() + (row + 1) * 32}));
      const float cut = 1e30F;
      CodeHits hits{costs.data(), found.data(), 0};
      prepared->Scan({&first, 1}, &base, &cut, block.data(), 1, &hits);
      sum += std::max(0.0F, costs[0]);
    }
    return sum;
  };
  EXPECT_LT(error(CodecKind::kOpq), 0.7 * error(CodecKind::kPq));
}

TEST(RotationTest, KeepsNormsAndProducts) {
  RandomKeys random(kSeed + 5);
  for (const size_t dimension : {1, 2, 3, 31, 64, 100, 768}) {
    std::vector<float> a = random.Normal(dimension);
    std::vector<float> b = random.Normal(dimension);
    const auto product = [&] {
      double sum = 0.0;
      for (size_t i = 0; i < dimension; ++i) sum += double{a[i]} * b[i];
      return sum;
    };
    const double before = product();
    const Rotation rotation(dimension);
    rotation.Apply(a.data());
    rotation.Apply(b.data());
    EXPECT_NEAR(product(), before, 1e-4 * std::sqrt(static_cast<double>(dimension)));
  }
  // One large component does not stay one.
  std::vector<float> spike(768, 0.0F);
  spike[5] = 1.0F;
  Rotation(768).Apply(spike.data());
  for (const float component : spike) EXPECT_LT(std::abs(component), 0.25F);
}

}  // namespace
}  // namespace mneme
