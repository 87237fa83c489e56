// Which read-outs a shard is asked for, and how it makes them.
#include "server/shard_read_out.h"

#include <gmock/gmock.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "common/limits.h"
#include "server/convert_columns.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr uint32_t kRows = 16;
constexpr uint32_t kWidth = 64;  // of vectors
constexpr uint32_t kVocabulary = 100;

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
  if (kind == ValueKind::kVector) memory->spec.value_dimension = kWidth;
  if (kind == ValueKind::kSparseVector) memory->spec.vocabulary_size = kVocabulary;
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

// Of the shard that has all neighbours, by a front end.
QueryCommand CommandOf(const v1::QueryRequest& request, ValueKind kind = ValueKind::kToken) {
  QueryPlan plan = PlanOf(request, kind);
  LetShardReadOut(request, plan);
  return std::move(plan.sources.front().command);
}

bool IsAsked(const v1::QueryRequest& request, ValueKind kind = ValueKind::kToken) {
  return CommandOf(request, kind).read_out != nullptr;
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

v1::QueryRequest AttentionOf(uint32_t k) {
  v1::QueryRequest request = Query(k);
  request.mutable_attention();
  return request;
}

// `count` groups, of which the first has all rows.
void AddGroups(uint32_t count, v1::QueryRequest& request) {
  v1::AttentionGroups& groups = *request.mutable_attention()->mutable_groups();
  std::vector<uint64_t> offsets(count + 1, kRows);
  offsets.front() = 0;
  groups.set_offsets(Column(offsets));
  groups.mutable_contexts()->set_data(Column(std::vector<float>(size_t{count} * kWidth, 1.0F)));
  groups.mutable_contexts()->set_dtype(v1::DTYPE_F32);
  groups.mutable_contexts()->set_dimension(kWidth);
}

TEST(ShardReadOutTest, AttentionIsHeldToTheBytesOfItsNeighbours) {
  EXPECT_TRUE(IsAsked(AttentionOf(2), ValueKind::kVector));
  EXPECT_FALSE(IsAsked(AttentionOf(1), ValueKind::kVector)) << "an output has twice the bytes of the one value";
  v1::QueryRequest request = AttentionOf(100);
  request.mutable_attention()->set_with_weights(true);
  EXPECT_TRUE(IsAsked(request, ValueKind::kVector));
  for (const uint32_t k : {100U, 0U}) {
    request = AttentionOf(k);
    AddGroups(2, request);
    EXPECT_TRUE(IsAsked(request, ValueKind::kVector)) << k;
    AddGroups(10'000, request);
    EXPECT_FALSE(IsAsked(request, ValueKind::kVector)) << k << ": contexts and outputs of groups without rows";
  }
}

TEST(ShardReadOutTest, SparseAttentionIsHeldToTheVocabulary) {
  EXPECT_TRUE(IsAsked(AttentionOf(100), ValueKind::kSparseVector));
  EXPECT_TRUE(IsAsked(AttentionOf(0), ValueKind::kSparseVector)) << "all entries";
  EXPECT_FALSE(IsAsked(AttentionOf(2), ValueKind::kSparseVector)) << "a hundred components of values that may be short";
}

TEST(ShardReadOutTest, AShardIsAskedForNothingThatIsNoReadOut) {
  for (const ValueKind kind : {ValueKind::kToken, ValueKind::kVector}) {
    v1::QueryRequest request = Query(100);
    google::protobuf::Message* const read_out =
        kind == ValueKind::kToken ? static_cast<google::protobuf::Message*>(request.mutable_distribution())
                                  : request.mutable_attention();
    const std::string plain = CommandOf(request, kind).read_out();
    read_out->GetReflection()->MutableUnknownFields(read_out)->AddLengthDelimited(99, "what no server knows");
    request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(99, std::string(1 << 20, 'x'));
    EXPECT_EQ(CommandOf(request, kind).read_out(), plain);
    read_out->GetReflection()->MutableUnknownFields(read_out)->AddLengthDelimited(99, std::string(1 << 20, 'x'));
    EXPECT_FALSE(IsAsked(request, kind)) << "they would be copied first";
  }
}

TEST(ShardReadOutTest, TheQuestionAndTheLongestAnswerAreCounted) {
  v1::QueryRequest request = AttentionOf(100);
  QueryCommand command = CommandOf(request, ValueKind::kVector);
  const size_t outputs = kRows * kWidth * sizeof(double);
  EXPECT_GT(command.read_out_bytes, outputs);
  EXPECT_LT(command.read_out_bytes, 2 * outputs);
  AddGroups(2, request);
  const size_t groups = 2 * kWidth * (sizeof(double) + sizeof(float));
  EXPECT_GT(CommandOf(request, ValueKind::kVector).read_out_bytes, command.read_out_bytes + groups);
  EXPECT_EQ(CommandOf(Query(100)).read_out_bytes, 0U) << "neighbours";
}

TEST(ShardReadOutTest, AShardIsNotAskedForAPartOfAMixture) {
  v1::QueryRequest request = Query(8);
  request.mutable_distribution();
  EXPECT_TRUE(IsAsked(request));
  QueryPlan plan = PlanOf(request);
  plan.mixed = true;
  LetShardReadOut(request, plan);
  EXPECT_TRUE(plan.sources.front().command.read_out == nullptr);
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

// Outputs that are as long as a message, and what stands beside them: refused as by one process.
TEST(ShardReadOutTest, AnAnswerThatIsTooLargeIsNotSent) {
  auto memory = std::make_shared<MemoryRecord>();
  memory->spec.value_kind = ValueKind::kVector;
  memory->spec.value_dimension = 8'192;
  QueryCommand command;
  command.count = limits::kMaxMessageBytes / (memory->spec.value_dimension * sizeof(double));
  command.k = limits::kEveryEntry;
  v1::QueryRequest asked;
  asked.mutable_attention();
  QueryPlan plan = PlanReadOut(memory, command, asked.SerializeAsString()).value();
  QueryOutcome outcome;  // nothing: outputs are zeros
  outcome.neighbours.offsets.assign(command.count + 1, 0);
  const absl::Status made = MakeReadOut(plan, CallLimits{}, outcome).status();
  EXPECT_TRUE(absl::IsInvalidArgument(made)) << made;
  EXPECT_EQ(ReasonOf(made), reason::kResponseTooLarge);
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
