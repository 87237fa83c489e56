// Queries that a part of the shards may answer, as they are planned and read out.
#include "server/query_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "server/query_sources.h"
#include "tests/server/column.h"

namespace mneme {
namespace {

// A memory that a query of one row asks for its nearest.
QuerySource Source(double weight) {
  auto memory = std::make_shared<MemoryRecord>();
  memory->spec.name = "wiki";
  memory->spec.dimension = 1;
  memory->spec.vocabulary_size = 10;
  QuerySource source;
  source.memory = std::move(memory);
  source.weight = weight;
  source.k = 1;
  source.command.count = 1;
  source.command.k = 1;
  return source;
}

TEST(QueryPlanTest, WhatIsAllowedOfAQueryIsOfEverySource) {
  for (const bool allow_partial : {false, true}) {
    v1::QueryRequest request;
    request.mutable_keys()->set_data(Column<float>({1}));
    request.mutable_keys()->set_dtype(v1::DTYPE_F32);
    request.mutable_keys()->set_dimension(1);
    request.mutable_distribution();
    request.set_allow_partial(allow_partial);
    QueryPlan plan;
    plan.sources.push_back(Source(3.0));
    plan.sources.push_back(Source(1.0));
    plan.mixed = true;
    ASSERT_TRUE(ReadQuery(request, plan).ok());
    for (const QuerySource& source : plan.sources) EXPECT_EQ(source.command.allow_partial, allow_partial);
  }
}

TEST(QueryPlanTest, TheCoverageNamesWhatAnAnswerLacks) {
  v1::Coverage coverage;
  WriteCoverage(Coverage{3, 1, {0, 2}, absl::UnavailableError("away")}, &coverage);
  EXPECT_EQ(coverage.shards_total(), 3U);
  EXPECT_EQ(coverage.shards_answered(), 1U);
  EXPECT_THAT(coverage.missing_shards(), ::testing::ElementsAre(0, 2));
}

// As the engine answers where every shard of a source is missing.
TEST(QueryPlanTest, ASourceThatLacksAllItsShardsGivesItsWeightToTheOthers) {
  std::vector<QuerySource> sources;
  sources.push_back(Source(3.0));
  sources.push_back(Source(1.0));
  DistributionPlan plan;
  ASSERT_TRUE(ReadDistribution(v1::DistributionReadOut(), sources, plan).ok());
  for (QuerySource& source : sources) source.outcome.neighbours.values.width = sizeof(Token);
  sources[0].outcome.neighbours.offsets = {0, 0};
  NeighbourColumns& found = sources[1].outcome.neighbours;
  found.offsets = {0, 1};
  found.scores = {-1.0};
  found.values.Append(Column<uint32_t>({6}));
  v1::QueryResponse response;
  response.add_sources();
  response.add_sources();
  BenefitCount benefit;
  ASSERT_TRUE(WriteDistribution(plan, sources, v1::PRECISION_DOUBLE, CallLimits{}, &response, benefit).ok());
  EXPECT_EQ(response.distribution().tokens(), Column<uint32_t>({6}));
  EXPECT_EQ(response.distribution().found(), Column<uint32_t>({1}));
  EXPECT_EQ(response.sources(0).found(), Column<uint32_t>({0}));
  EXPECT_EQ(response.sources(0).weights(), Column<double>({0}));
  EXPECT_EQ(response.sources(1).weights(), Column<double>({1}));
}

TEST(QueryPlanTest, WhatNoSourceIsAnsweredForIsUnavailableWhereOneOfThemIs) {
  const absl::Status late = absl::DeadlineExceededError("shard 0 did not answer before the deadline");
  const absl::Status away = absl::UnavailableError("shard 1 is not available");
  const absl::Status full = WithReason(absl::ResourceExhaustedError("9 searches are waiting"), reason::kQueueFull);
  const auto check = [](const std::vector<absl::Status>& whys) {
    std::vector<QuerySource> sources;
    for (const absl::Status& why : whys) {
      sources.push_back(Source(1.0));
      sources.back().outcome.coverage = {1, why.ok() ? 1U : 0U, {}, why};
    }
    return CheckAnswered(sources);
  };
  EXPECT_EQ(check({late, away, full}), away);
  EXPECT_EQ(check({away, absl::UnavailableError("shard 2 is not available")}), away);
  EXPECT_EQ(check({full, late}), full);
  EXPECT_TRUE(check({away, absl::OkStatus()}).ok());
}

}  // namespace
}  // namespace mneme
