// What read-outs of entries refuse, over the wire.
#include <cmath>
#include <functional>

#include "tests/server/test_server.h"

namespace mneme {
namespace {

TEST(EntryReadOutsTest, EachNamesTheFieldThatIsWrong) {
  TestServer server;
  ASSERT_TRUE(server.Create("dot", 2, v1::METRIC_INNER_PRODUCT).ok());
  ASSERT_TRUE(server.Create("angle", 2, v1::METRIC_COSINE).ok());
  ASSERT_TRUE(server.Create("far", 2, v1::METRIC_L2).ok());
  const auto centroids = [](auto& r) { return r.mutable_centroids(); };
  const auto match = [](auto& r) { return r.mutable_match(); };
  const auto select = [](auto& r) { return r.mutable_select(); };
  using Spoil = std::function<void(v1::QueryRequest&)>;
  const std::vector<std::pair<std::string, Spoil>> rows = {
      {"centroids.labels", [=](auto& r) { centroids(r)->set_labels("abc"); }},
      {"centroids.labels",
       [=](auto& r) { centroids(r)->set_labels(Column(std::vector<int64_t>(limits::kMaxCentroidLabels + 1))); }},
      {"centroids.rows", [=](auto& r) { *centroids(r)->mutable_rows() = F32({1, 2}, 2); }},
      {"centroids.rows[0]",
       [=](auto& r) {
         centroids(r)->set_labels(Column<int64_t>({1}));
         *centroids(r)->mutable_rows() = F32({1, std::nanf("")}, 2);
       }},
      {"centroids.mix_weight", [=](auto& r) { centroids(r)->set_mix_weight(1.5); }},
      {"match", [=](auto& r) { r.set_memory("far"), match(r); }},
      {"match.source_memory", [=](auto& r) { match(r)->set_source_memory("angle"); }},
      {"match.source_partitions.partitions", [=](auto& r) {
         match(r)->mutable_source_partitions()->set_all(true);
         match(r)->mutable_source_partitions()->add_partitions(1);
       }},
      {"match.source_columns", [=](auto& r) { match(r)->set_source_columns(Column<uint32_t>({1})); }},
      {"match.source_columns[0]", [=](auto& r) { match(r)->set_source_columns(Column<uint32_t>({2})); }},
      {"match.target_columns", [=](auto& r) { match(r)->set_target_columns("abc"); }},
      {"match.form", [=](auto& r) { match(r)->set_form(static_cast<v1::CslsForm>(9)); }},
      {"match.source_ids", [=](auto& r) { match(r)->set_source_ids("abc"); }},
      {"match.source_ids",
       [=](auto& r) { match(r)->set_source_ids(Column(std::vector<uint64_t>(limits::kMaxIds + 1))); }},
      {"select.mode", [=](auto& r) { select(r)->set_mode(static_cast<v1::SelectMode>(9)); }},
      {"select.temperature", [=](auto& r) { select(r)->set_temperature(-1); }},
      {"select.n", [=](auto& r) { select(r)->set_n(limits::kMaxK + 1); }},
      {"allow_partial", [=](auto& r) { centroids(r), r.set_allow_partial(true); }},
      {"allow_partial",
       [=](auto& r) { centroids(r), r.set_allow_partial(true), *r.mutable_keys() = F32({1, 2}, 2), r.set_k(1); }},
      {"allow_partial", [=](auto& r) { match(r), r.set_allow_partial(true); }},
      {"allow_partial", [=](auto& r) { select(r), r.set_allow_partial(true); }},
      {"keys", [=](auto& r) { select(r), *r.mutable_keys() = F32({1, 2}, 2); }},
      {"keys", [=](auto& r) { match(r), *r.mutable_keys() = F32({1, 2}, 2); }},
      {"partitions.partitions", [=](auto& r) {
         select(r);
         r.mutable_partitions()->set_all(true);
         r.mutable_partitions()->add_partitions(1);
       }},
  };
  for (const auto& [field, spoil] : rows) {
    v1::QueryRequest request;
    request.set_memory("dot");
    spoil(request);
    const grpc::Status status = server.Query(request);
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field << ": " << status.error_message();
    EXPECT_EQ(detail.reason, "INVALID_FIELD") << field;
    ASSERT_FALSE(detail.fields.empty()) << field << ": " << status.error_message();
    EXPECT_EQ(detail.fields.front(), field) << status.error_message();
  }
}

}  // namespace
}  // namespace mneme
