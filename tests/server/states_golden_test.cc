// The published numbers of Infini-attention, TransformerFAM and monitor-guided decoding through the wire messages.
#include <cmath>

#include "tests/server/test_server.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

// Accumulators are f64 and travel so; what a read answers travels as f32.
constexpr double kStateTolerance = 1e-9;
constexpr double kReadTolerance = 1e-6;

class StatesGoldenTest : public ::testing::Test {
 protected:
  StatesGoldenTest() { EXPECT_TRUE(server_.Create("wiki", 2).ok()); }

  v1::ApplyResponse Apply(const v1::ApplyRequest& request) {
    v1::ApplyResponse response;
    const grpc::Status applied =
        TestServer::Call(&v1::WorkingMemoryService::Stub::Apply, *server_.working, request, &response);
    EXPECT_TRUE(applied.ok()) << applied.error_message();
    for (const v1::StateResult& result : response.results()) {
      EXPECT_FALSE(result.has_error()) << result.error().message();
    }
    return response;
  }
  static v1::StateOperation& Operation(v1::ApplyRequest& request, const std::string& name) {
    request.set_memory("wiki");
    v1::StateOperation& operation = *request.add_operations();
    operation.set_session("golden");
    operation.set_name(name);
    return operation;
  }
  static void ExpectState(const v1::LinearState& state, const std::vector<double>& matrix,
                          const std::vector<double>& normaliser) {
    EXPECT_THAT(Items<double>(state.matrix()), Pointwise(DoubleNear(kStateTolerance), matrix));
    EXPECT_THAT(Items<double>(state.normaliser()), Pointwise(DoubleNear(kStateTolerance), normaliser));
  }
  static void ExpectRead(const std::string& column, const std::vector<double>& expected) {
    const std::vector<float> got = Items<float>(column);
    EXPECT_THAT(std::vector<double>(got.begin(), got.end()), Pointwise(DoubleNear(kReadTolerance), expected));
  }

  TestServer server_;
};

// MEMORIES 8: K = (1,0), (0,-1), V = (1,2), (3,4), q = (.5,-.5); then (1,0) -> (5,6) by each rule.
TEST_F(StatesGoldenTest, InfiniAttention) {
  v1::ApplyRequest first;
  for (const char* name : {"linear", "delta"}) {
    v1::LinearApply& write = *Operation(first, name).mutable_linear();
    *write.mutable_keys() = F32({1, 0, 0, -1}, 2);
    *write.mutable_values() = F32({1, 2, 3, 4}, 2);
    *write.mutable_queries() = F32({0.5F, -0.5F}, 2);
    write.set_order(v1::LINEAR_ORDER_WRITE_THEN_READ);
    Operation(first, name).mutable_linear_get();
  }
  const v1::ApplyResponse written = Apply(first);
  ExpectRead(written.results(0).linear().reads(), {1.6466190695, 2.6466190695});
  ExpectState(written.results(1).linear_state(), {5, 8, 1 + 3 * std::exp(-1), 2 + 4 * std::exp(-1)},
              {3, 1 + std::exp(-1)});

  v1::ApplyRequest second;
  for (const auto rule : {v1::LINEAR_RULE_LINEAR, v1::LINEAR_RULE_DELTA}) {
    const std::string name = rule == v1::LINEAR_RULE_LINEAR ? "linear" : "delta";
    v1::LinearApply& write = *Operation(second, name).mutable_linear();
    *write.mutable_keys() = F32({1, 0}, 2);
    *write.mutable_values() = F32({5, 6}, 2);
    *write.mutable_queries() = F32({1, 0}, 2);
    write.set_rule(rule);
    write.set_order(v1::LINEAR_ORDER_WRITE_THEN_READ);
    Operation(second, name).mutable_linear_get();
  }
  const v1::ApplyResponse again = Apply(second);
  ExpectRead(again.results(0).linear().reads(), {3, 4});
  ExpectState(again.results(1).linear_state(), {15, 20, 7.1036383235, 9.4715177647}, {5, 2.3678794412});
  ExpectRead(again.results(2).linear().reads(), {2.3358775094, 2.9316044872});
  ExpectState(again.results(3).linear_state(), {11.7144852409, 14.7144852409, 5.4608809440, 6.8287603851},
              {5, 2.3678794412});
}

// MEMORIES 7, a first block without ring and FAM: d = 2, scale 1 / sqrt(2).
TEST_F(StatesGoldenTest, TransformerFamsFirstBlock) {
  v1::ApplyRequest request;
  v1::FeedbackAttend& attend = *Operation(request, "fam").mutable_feedback_attend();
  *attend.mutable_queries() = F32({1, 1, 2, 0}, 2);
  *attend.mutable_keys() = F32({1, 0, 0, 1}, 2);
  *attend.mutable_values() = F32({1, 0, 0, 1}, 2);
  *attend.mutable_fam_queries() = F32({1, -1}, 2);
  const v1::ApplyResponse answered = Apply(request);
  ExpectRead(answered.results(0).feedback().tokens(), {1, 0, 0.804429682507, 0.195570317493});
  ExpectRead(answered.results(0).feedback().fam(), {0.804429682507, 0.195570317493});
}

// MEMORIES 7, with one block in the ring and a FAM.
TEST_F(StatesGoldenTest, TransformerFamWithRingAndFam) {
  v1::ApplyRequest request;
  v1::FeedbackAttend& past = *Operation(request, "fam").mutable_feedback_attend();
  past.set_ring_blocks(1);
  *past.mutable_queries() = F32({0, 0}, 2);
  *past.mutable_keys() = F32({-1, 0}, 2);
  *past.mutable_values() = F32({3, 3}, 2);
  v1::FeedbackAttend& attend = *Operation(request, "fam").mutable_feedback_attend();
  attend.set_block_index(1);
  attend.set_ring_blocks(1);
  *attend.mutable_queries() = F32({1, 1, 2, 0}, 2);
  *attend.mutable_keys() = F32({1, 0, 0, 1}, 2);
  *attend.mutable_values() = F32({1, 0, 0, 1}, 2);
  *attend.mutable_fam_queries() = F32({1, -1}, 2);
  *attend.mutable_fam_keys() = F32({0.5F, 0.5F}, 2);
  *attend.mutable_fam_values() = F32({0.25F, 0.75F}, 2);
  const v1::ApplyResponse answered = Apply(request);
  ExpectRead(answered.results(1).feedback().tokens(),
             {0.882410698889, 0.659506560935, 0.724442047360, 0.440171212792});
  ExpectRead(answered.results(1).feedback().fam(), {0.646974197651, 0.353025802349});
}

// MEMORIES 2: a token is allowed when a legal string begins with it, or when it is a legal string and what follows
// begins with a break character.
TEST_F(StatesGoldenTest, MonitorGuidedMasks) {
  const std::vector<std::string> tokens = {"new", "newS", "build", "build(", "buildx", "to", "(", "String("};
  std::string vocabulary = Column<uint32_t>({static_cast<uint32_t>(tokens.size())});
  for (const std::string& token : tokens) vocabulary += Column<uint32_t>({static_cast<uint32_t>(token.size())});
  for (const std::string& token : tokens) vocabulary += token;
  vocabulary += "(.;";
  v1::ApplyRequest put;
  v1::StateOperation& operation = Operation(put, "bpe");
  operation.set_session("vocabularies");
  operation.mutable_register_put()->set_value(vocabulary);
  Apply(put);
  v1::MaskTokensRequest request;
  request.set_memory("wiki");
  request.set_vocabulary("bpe");
  for (const char* written : {"", "build", "to", "x"}) {
    v1::MaskRow& row = *request.add_rows();
    for (const char* legal : {"newServerNode", "build", "toString"}) row.add_strings(legal);
    row.set_written(written);
  }
  v1::MaskTokensResponse got;
  const grpc::Status asked =
      TestServer::Call(&v1::WorkingMemoryService::Stub::MaskTokens, *server_.working, request, &got);
  ASSERT_TRUE(asked.ok()) << asked.error_message();
  EXPECT_THAT(Items<uint64_t>(got.offsets()), ElementsAre(0, 5, 6, 7, 7));
  EXPECT_THAT(Items<uint32_t>(got.tokens()), ElementsAre(0, 1, 2, 3, 5, 6, 7));
  EXPECT_THAT(Items<uint8_t>(got.dead_ends()), ElementsAre(0, 0, 0, 1));
  request.set_bitset(true);
  ASSERT_TRUE(TestServer::Call(&v1::WorkingMemoryService::Stub::MaskTokens, *server_.working, request, &got).ok());
  EXPECT_THAT(Items<uint8_t>(got.bitsets()), ElementsAre(0b00101111, 0b01000000, 0b10000000, 0));
}

}  // namespace
}  // namespace mneme
