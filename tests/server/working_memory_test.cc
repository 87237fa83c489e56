// Working memory over the wire: what is refused, and what an answer holds.
#include <cmath>
#include <functional>

#include "tests/server/test_server.h"

namespace mneme {
namespace {

class WorkingMemoryServiceTest : public testing::Test {
 protected:
  WorkingMemoryServiceTest() { EXPECT_TRUE(server_.Create("wiki", 2).ok()); }

  grpc::Status Apply(const v1::ApplyRequest& request, v1::ApplyResponse* response) {
    return TestServer::Call(&v1::WorkingMemoryService::Stub::Apply, *server_.working, request, response);
  }
  void ExpectInvalid(const grpc::Status& status, const std::string& field) {
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field << ": " << status.error_message();
    EXPECT_EQ(detail.reason, "INVALID_FIELD") << field;
    ASSERT_FALSE(detail.fields.empty()) << field;
    EXPECT_EQ(detail.fields.front(), field) << status.error_message();
  }

  TestServer server_;
};

TEST_F(WorkingMemoryServiceTest, ApplyNamesTheFieldThatIsWrong) {
  using Spoil = std::function<void(v1::ApplyRequest&)>;
  const std::vector<std::pair<std::string, Spoil>> rows = {
      {"memory", [](auto& r) { r.set_memory("No"); }},
      {"operations", [](auto& r) { r.clear_operations(); }},
      {"operations", [](auto& r) { while (r.operations_size() <= 4'096) *r.add_operations() = r.operations(0); }},
      {"operations[0].session", [](auto& r) { r.mutable_operations(0)->clear_session(); }},
      {"operations[0].session", [](auto& r) { r.mutable_operations(0)->set_session(std::string(129, 's')); }},
      {"operations[0].session", [](auto& r) { r.mutable_operations(0)->set_session("/beam"); }},
      {"operations[1].name", [](auto& r) { r.mutable_operations(1)->clear_name(); }},
      {"operations[1].name", [](auto& r) { r.mutable_operations(1)->set_name(std::string(129, 'n')); }},
      {"operations[1].action", [](auto& r) { r.mutable_operations(1)->clear_action(); }},
      {"operations[0].register_put.expiry_ms",
       [](auto& r) { r.mutable_operations(0)->mutable_register_put()->set_expiry_ms(-1); }},
      {"operations[0].register_put.value",
       [](auto& r) { r.mutable_operations(0)->mutable_register_put()->set_value(std::string((32 << 20) + 1, 'x')); }},
      {"request_id", [](auto& r) { r.set_request_id(std::string(129, 'x')); }},
      {"durability", [](auto& r) { r.set_durability(static_cast<v1::Durability>(9)); }},
  };
  for (const auto& [field, spoil] : rows) {
    v1::ApplyRequest request = GoodApply("wiki");
    spoil(request);
    v1::ApplyResponse response;
    ExpectInvalid(Apply(request, &response), field);
  }
  v1::ListSessionsRequest list;
  list.set_memory("wiki");
  v1::ListSessionsResponse listed;
  ASSERT_TRUE(TestServer::Call(&v1::WorkingMemoryService::Stub::ListSessions, *server_.working, list, &listed).ok());
  EXPECT_EQ(listed.sessions_size(), 0) << "nothing of a refused batch is kept";
  list.set_page_size(1'001);
  ExpectInvalid(TestServer::Call(&v1::WorkingMemoryService::Stub::ListSessions, *server_.working, list, &listed),
                "page_size");
  v1::ResetSessionsRequest reset;
  reset.set_memory("wiki");
  v1::ResetSessionsResponse removed;
  ExpectInvalid(TestServer::Call(&v1::WorkingMemoryService::Stub::ResetSessions, *server_.working, reset, &removed),
                "sessions");
}

TEST_F(WorkingMemoryServiceTest, VectorsAndCountersNameTheFieldThatIsWrong) {
  using Spoil = std::function<void(v1::StateOperation&)>;
  const std::string linear = "operations[0].linear.";
  const std::string attend = "operations[0].feedback_attend.";
  const std::string counters = "operations[0].counters_";
  const float nan = std::nanf("");
  const std::vector<std::pair<std::string, Spoil>> rows = {
      {linear + "keys[0]", [=](auto& o) { *o.mutable_linear()->mutable_keys() = F32({nan, 1}, 2); }},
      {linear + "keys.dtype", [](auto& o) { o.mutable_linear()->mutable_keys()->set_dtype(v1::DTYPE_UNSPECIFIED); }},
      {linear + "keys.dimension", [](auto& o) { o.mutable_linear()->mutable_keys()->set_dimension(16'385); }},
      {linear + "values", [](auto& o) { o.mutable_linear()->clear_values(); }},
      {linear + "queries.dimension", [](auto& o) { *o.mutable_linear()->mutable_queries() = F32({1, 2, 3}, 3); }},
      {linear + "epsilon", [](auto& o) { o.mutable_linear()->set_epsilon(-1); }},
      {linear + "rule", [](auto& o) { o.mutable_linear()->set_rule(static_cast<v1::LinearRule>(7)); }},
      {linear + "order", [](auto& o) { o.mutable_linear()->set_order(static_cast<v1::LinearOrder>(7)); }},
      {attend + "queries", [](auto& o) { o.mutable_feedback_attend()->clear_queries(); }},
      {attend + "keys", [](auto& o) { o.mutable_feedback_attend()->clear_keys(); }},
      {attend + "values", [](auto& o) { *o.mutable_feedback_attend()->mutable_values() = F32({1, 2, 3, 4}, 2); }},
      {attend + "fam_values", [](auto& o) { *o.mutable_feedback_attend()->mutable_fam_keys() = F32({1, 2}, 2); }},
      {attend + "block_index", [](auto& o) { o.mutable_feedback_attend()->set_block_index(-1); }},
      {attend + "scale", [](auto& o) { o.mutable_feedback_attend()->set_scale(INFINITY); }},
      {attend + "ring_blocks", [](auto& o) { o.mutable_feedback_attend()->set_ring_blocks(1'025); }},
      {counters + "add.rows", [](auto& o) { o.mutable_counters_add()->clear_rows(); }},
      {counters + "add.columns", [](auto& o) { o.mutable_counters_add()->set_columns("abc"); }},
      {counters + "add.counts", [](auto& o) { o.mutable_counters_add()->set_counts("abc"); }},
      {counters + "get.rows", [](auto& o) { o.mutable_counters_get()->set_rows("abc"); }},
  };
  for (const auto& [field, spoil] : rows) {
    v1::ApplyRequest request = GoodApply("wiki");
    v1::StateOperation& operation = *request.mutable_operations(0);
    if (field.starts_with(linear)) {
      *operation.mutable_linear()->mutable_keys() = F32({1, 2}, 2);
      *operation.mutable_linear()->mutable_values() = F32({1, 2}, 2);
    } else if (field.starts_with(attend)) {
      *operation.mutable_feedback_attend()->mutable_queries() = F32({1, 2}, 2);
      *operation.mutable_feedback_attend()->mutable_keys() = F32({1, 2}, 2);
      *operation.mutable_feedback_attend()->mutable_values() = F32({1, 2}, 2);
    } else {
      operation.mutable_counters_add()->set_rows(Column<uint32_t>({1}));
      operation.mutable_counters_add()->set_columns(Column<uint32_t>({2}));
    }
    request.mutable_operations(1)->set_session("other");
    v1::ApplyResponse response;
    const grpc::Status good = Apply(request, &response);
    ASSERT_TRUE(good.ok()) << field << ": " << good.error_message();
    spoil(operation);
    ExpectInvalid(Apply(request, &response), field);
  }
}

TEST_F(WorkingMemoryServiceTest, AnswersStandInTheOrderOfTheOperations) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply(GoodApply("wiki"), &response).ok());
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.durability(), v1::DURABILITY_SYNC);
  EXPECT_FALSE(response.results(0).found());
  EXPECT_EQ(response.results(0).version(), 1U);
  EXPECT_EQ(response.results(1).register_().value(), "draft");

  v1::ApplyRequest cas = GoodApply("wiki");
  cas.mutable_operations(0)->mutable_register_cas()->set_expected_version(9);
  ASSERT_TRUE(Apply(cas, &response).ok()) << "what an operation is refused for is its own";
  EXPECT_EQ(response.results(0).error().code(), static_cast<int>(grpc::StatusCode::ABORTED));
  EXPECT_EQ(response.results(0).error().reason(), "VERSION_MISMATCH");
  EXPECT_EQ(response.results(1).error().reason(), "SESSION_NOT_APPLIED");

  v1::ApplyRequest missing = GoodApply("nothing");
  const grpc::Status status = Apply(missing, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(DetailOf(status).reason, "MEMORY_NOT_FOUND");
}

}  // namespace
}  // namespace mneme
