// Which read-outs a shard is asked for, and how it makes them.
#include "server/shard_read_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/convert_columns.h"

namespace mneme {
namespace {

constexpr uint32_t kRows = 16;

template <typename T>
std::string Column(const std::vector<T>& items) {
  std::string out;
  WriteColumn(items, &out);
  return out;
}

MemoryHandle Memory(ValueKind kind) {
  auto memory = std::make_shared<MemoryRecord>();
  memory->spec.name = "wiki";
  memory->spec.dimension = 1;
  memory->spec.value_kind = kind;
  if (kind == ValueKind::kVector) memory->spec.value_dimension = 2;
  return memory;
}

v1::QueryRequest Query(uint32_t k) {
  v1::QueryRequest request;
  request.set_k(k);
  request.mutable_keys()->set_data(Column(std::vector<float>(kRows, 1.0F)));
  request.mutable_keys()->set_dtype(v1::DTYPE_F32);
  request.mutable_keys()->set_dimension(1);
  return request;
}

// As a front end plans it.
QueryPlan PlanOf(const v1::QueryRequest& request, ValueKind kind = ValueKind::kToken) {
  QueryPlan plan;
  QuerySource& source = plan.sources.emplace_back();
  source.memory = Memory(kind);
  source.k = request.k();
  const absl::Status read = ReadQuery(request, plan);
  EXPECT_TRUE(read.ok()) << read;
  return plan;
}

bool IsAsked(const v1::QueryRequest& request, ValueKind kind = ValueKind::kToken) {
  return ReadOutOf(request, PlanOf(request, kind)) != nullptr;
}

std::vector<Token> Tokens(uint32_t count) {
  std::vector<Token> tokens(count);
  for (uint32_t i = 0; i < count; ++i) tokens[i] = i;
  return tokens;
}

TEST(ShardReadOutTest, AShardIsAskedForWhatIsShorterThanItsNeighbours) {
  v1::QueryRequest request = Query(1024);
  EXPECT_FALSE(IsAsked(request)) << "neighbours";
  request.mutable_distribution();
  EXPECT_TRUE(IsAsked(request));
  request.mutable_distribution()->set_allowed_tokens(Column(Tokens(1'000)));
  EXPECT_TRUE(IsAsked(request));
  request.mutable_distribution()->set_targets(Column(Tokens(kRows)));
  request.mutable_distribution()->mutable_mix()->set_lm_log_probs(Column(std::vector<float>(kRows, -1.0F)));
  for (const double temperature : {1.0, 2.0, 3.0}) request.mutable_distribution()->add_temperatures(temperature);
  EXPECT_TRUE(IsAsked(request)) << "a few numbers for each row";

  request = Query(1024);
  request.mutable_attention();
  EXPECT_TRUE(IsAsked(request, ValueKind::kVector));
  request.set_k(0);
  EXPECT_TRUE(IsAsked(request, ValueKind::kVector)) << "all entries";

  request = Query(1);
  request.mutable_distribution()->set_with_features(true);
  EXPECT_TRUE(IsAsked(request)) << "either is little";
}

TEST(ShardReadOutTest, AShardIsNotAskedForWhatMayBeLonger) {
  v1::QueryRequest request = Query(1024);
  for (const double temperature : {1.0, 2.0}) request.mutable_distribution()->add_temperatures(temperature);
  EXPECT_FALSE(IsAsked(request)) << "two distributions for each row";
  request.mutable_distribution()->set_top_m(10);
  EXPECT_TRUE(IsAsked(request));

  request = Query(1024);
  request.mutable_distribution()->set_with_features(true);
  EXPECT_FALSE(IsAsked(request)) << "features are of each neighbour";

  request = Query(1024);
  request.mutable_distribution()->set_allowed_tokens(Column(Tokens(100'000)));
  EXPECT_FALSE(IsAsked(request)) << "the mask is longer than the neighbours";
}

TEST(ShardReadOutTest, AShardIsNotAskedForAPartOfAMixture) {
  v1::QueryRequest request = Query(8);
  request.mutable_distribution();
  QueryPlan plan = PlanOf(request);
  EXPECT_TRUE(ReadOutOf(request, plan) != nullptr);
  plan.mixed = true;
  EXPECT_TRUE(ReadOutOf(request, plan) == nullptr);
}

// What a search found for two rows: tokens 4 and 5, and 6.
QueryOutcome Found() {
  QueryOutcome outcome;
  NeighbourColumns& found = outcome.neighbours;
  found.offsets = {0, 2, 3};
  found.scores = {-1.0, -2.0, -3.0};
  found.values.width = sizeof(Token);
  const std::string tokens = Column<Token>({4, 5, 6});
  found.values.bytes.assign(tokens.begin(), tokens.end());
  found.weights = {1.0F, 2.0F, 1.0F};
  found.ids = {1, 2, 3};
  found.partitions = {0, 0, 0};
  return outcome;
}

// As a shard is asked for the distributions of two rows.
absl::StatusOr<QueryPlan> Planned(const v1::QueryRequest& asked, uint32_t searched_k) {
  QueryCommand command;
  command.count = 2;
  command.k = searched_k;
  return PlanReadOut(Memory(ValueKind::kToken), command, asked.SerializeAsString());
}

v1::QueryRequest Asked(uint32_t k) {
  v1::QueryRequest asked;
  asked.set_k(k);
  asked.mutable_distribution();
  return asked;
}

TEST(ShardReadOutTest, WhatAShardMakesIsWhatTheNeighboursAreMadeInto) {
  v1::QueryRequest asked = Asked(2);
  asked.mutable_distribution()->set_targets(Column<Token>({5, 6}));
  asked.mutable_distribution()->mutable_mix()->set_knn_weight(0.5);
  asked.mutable_distribution()->mutable_mix()->set_lm_log_probs(Column<float>({-1.0F, -2.0F}));
  QueryPlan plan = Planned(asked, 2).value();
  QueryOutcome outcome = Found();
  const FinishedReadOut made = MakeReadOut(plan, CallLimits{}, outcome).value();
  EXPECT_EQ(outcome.neighbours.size(), 0U) << "they are not told";
  EXPECT_EQ(made.benefit_tokens, 2U);

  QueryPlan own = Planned(asked, 2).value();
  own.sources.front().outcome = Found();
  v1::QueryResponse expected;
  BenefitCount benefit;
  ASSERT_TRUE(WriteReadOut(own, CallLimits{}, &expected, benefit).ok());
  EXPECT_EQ(made.answer, expected.SerializeAsString());
  EXPECT_EQ(made.benefit_nats, benefit.nats);

  own.sources.front().outcome.read_out = made;
  v1::QueryResponse taken;
  BenefitCount counted;
  ASSERT_TRUE(TakeReadOut(own, &taken, counted).ok());
  EXPECT_EQ(taken.SerializeAsString(), made.answer);
  EXPECT_EQ(counted.tokens, 2U);
  EXPECT_EQ(counted.nats, benefit.nats);
}

TEST(ShardReadOutTest, NoRowIsReadOutForNobody) {
  QueryPlan plan = Planned(Asked(2), 2).value();
  CallLimits late;
  late.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  QueryOutcome outcome = Found();
  EXPECT_TRUE(absl::IsDeadlineExceeded(MakeReadOut(plan, late, outcome).status()));
  CallLimits gone;
  gone.cancelled = std::make_shared<const std::atomic<bool>>(true);
  outcome = Found();
  EXPECT_TRUE(absl::IsCancelled(MakeReadOut(plan, gone, outcome).status()));
}

TEST(ShardReadOutTest, AShardMakesWhatItsSearchIsOf) {
  EXPECT_TRUE(Planned(Asked(3), 3).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(Planned(Asked(3), 2).status())) << "of other neighbours";
  EXPECT_TRUE(absl::IsInvalidArgument(Planned(v1::QueryRequest(), 0).status())) << "of none";
  v1::QueryRequest asked = Asked(3);
  asked.mutable_distribution()->set_targets(Column<Token>({1}));
  EXPECT_TRUE(absl::IsInvalidArgument(Planned(asked, 3).status())) << "of one row of two";
  asked = Asked(3);
  asked.mutable_attention();
  EXPECT_TRUE(absl::IsInvalidArgument(Planned(asked, 3).status())) << "tokens have no mean";
  QueryCommand command;
  command.count = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(PlanReadOut(Memory(ValueKind::kToken), command, "damaged").status()));
}

TEST(ShardReadOutTest, AReadOutThatIsNotWhatWasAskedForIsDamage) {
  QueryPlan plan = Planned(Asked(2), 2).value();
  v1::QueryResponse other;
  other.mutable_attention();
  for (const std::string& answer : {std::string(), std::string("damaged"), other.SerializeAsString()}) {
    plan.sources.front().outcome.read_out = FinishedReadOut{answer, 0, 0.0, 0};
    v1::QueryResponse out;
    BenefitCount benefit;
    EXPECT_TRUE(absl::IsDataLoss(TakeReadOut(plan, &out, benefit)));
  }
}

}  // namespace
}  // namespace mneme
