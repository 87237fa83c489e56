// Searches while pages are missing answer what they answer while none are, and stop while they read.
#include <gtest/gtest.h>

#include "index/missing_pages.h"
#include "index/search.h"
#include "tests/index/random_partition.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::Asked;
using testing::ExpectSameAnswer;
using testing::Partition;
using testing::RandomKeys;

constexpr uint64_t kSeed = 31;
constexpr int kRounds = kSanitized ? 4 : 20;

// As if this thread had just waited for the disk, or had not for long.
absl::StatusOr<SearchResult> SearchWith(bool missing, const std::shared_ptr<const IndexVersion>& version,
                                        const SearchRequest& request) {
  MissingPages& pages = MissingPages::OfThisThread();
  pages.Take(4096);
  while (!missing && pages.Look()) {
  }
  EXPECT_EQ(pages.lately(), missing);
  auto result = Search({&version, 1}, request);
  return result;
}

class ReadAheadSearch : public ::testing::TestWithParam<std::tuple<Metric, CodecChoice>> {
 protected:
  IndexSpec Spec(size_t value_bytes) const {
    IndexSpec spec{20, std::get<0>(GetParam()), Dtype::kF16, value_bytes};
    spec.index.codec = std::get<1>(GetParam());
    return spec;
  }
};

TEST_P(ReadAheadSearch, AnswersTheSame) {
  RandomKeys random(kSeed);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(kSeed));
    const IndexSpec spec = Spec(round % 2 == 0 ? 0 : 4);
    const Partition partition(3, spec, 500 + random.Below(2500), random);
    Asked asked(spec, partition.entries(), random);
    asked.request.exact = random.Below(4) == 0;
    asked.request.approximate_distances = random.Below(4) == 0;
    asked.request.probes = 1 + static_cast<uint32_t>(random.Below(5));
    const auto version = partition.RandomVersion(random);
    const auto resident = SearchWith(false, version, asked.request);
    const auto missing = SearchWith(true, version, asked.request);
    ASSERT_TRUE(resident.ok()) << resident.status();
    ASSERT_TRUE(missing.ok()) << missing.status();
    ExpectSameAnswer(resident->neighbours, missing->neighbours);
    EXPECT_EQ(resident->statistics.rows_reranked, missing->statistics.rows_reranked);
    EXPECT_EQ(resident->statistics.rows_scanned, missing->statistics.rows_scanned);
  }
}

TEST_P(ReadAheadSearch, StopsAtWhicheverQuestionItIsTold) {
  RandomKeys random(kSeed + 1);
  const IndexSpec spec = Spec(4);
  const Partition partition(3, spec, 3000, random);
  const auto version = partition.Version({1500, 3000}, random);
  const std::vector<float> queries = random.Normal(16 * spec.dimension);
  SearchRequest request;
  request.spec = spec;
  request.queries = queries.data();
  request.query_count = 16;
  request.k = 400;
  request.exact = false;
  request.probes = 3;
  int asked = 0;
  int last = 0;
  request.stop = [&] { return ++asked < last || last == 0 ? absl::OkStatus() : absl::DeadlineExceededError("late"); };
  const auto whole = SearchWith(true, version, request);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const int questions = asked;
  // Rows of every query are read, with a question for each thousand of them at least.
  EXPECT_GE(questions, 16 * 400 / 1024);
  for (last = 1; last <= questions; last += 3) {
    asked = 0;
    const auto stopped = SearchWith(true, version, request);
    EXPECT_EQ(stopped.status().code(), absl::StatusCode::kDeadlineExceeded) << "question " << last;
    EXPECT_EQ(asked, last) << "nothing is asked after the end";
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ReadAheadSearch,
                         ::testing::Combine(::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine),
                                            ::testing::Values(CodecChoice{CodecKind::kInt8},
                                                              CodecChoice{CodecKind::kRabitq, 0, 1})));

}  // namespace
}  // namespace mneme
