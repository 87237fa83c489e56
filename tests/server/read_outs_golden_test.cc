// The published numbers of read-outs through the wire messages, in double precision: MemAE, ResMem, ToMMY, Coocmap,
// Neural Priming. Keys are ones that f32 holds exactly, so that 1e-9 is asked of what the server does alone.
#include <cmath>

#include "tests/server/test_server.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pointwise;

constexpr double kTolerance = 1e-9;

void ExpectReals(const std::string& column, const std::vector<double>& expected) {
  EXPECT_THAT(Items<double>(column), Pointwise(DoubleNear(kTolerance), expected));
}

class ReadOutsGoldenTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  ReadOutsGoldenTest() : server_(GetParam()) {}

  void Create(const std::string& name, uint32_t dimension, v1::Metric metric, v1::ValueKind kind, uint32_t size) {
    const grpc::Status created = server_.Create(name, dimension, metric, kind, size);
    ASSERT_TRUE(created.ok()) << created.error_message();
  }
  // Ids from 0; labels where they are given.
  void Insert(const std::string& name, const v1::Vectors& keys, const v1::Values& values,
              const std::vector<int64_t>& labels = {}) {
    v1::InsertRequest request;
    request.set_memory(name);
    *request.mutable_entries()->mutable_keys() = keys;
    *request.mutable_entries()->mutable_values() = values;
    std::vector<uint64_t> ids(keys.data().size() / sizeof(float) / keys.dimension());
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
    request.mutable_entries()->set_ids(Column(ids));
    request.mutable_entries()->set_labels(Column(labels));
    const grpc::Status inserted = server_.Insert(request);
    ASSERT_TRUE(inserted.ok()) << inserted.error_message();
  }
  static v1::Values VectorValues(const std::vector<float>& components, uint32_t dimension) {
    v1::Values values;
    *values.mutable_vectors() = F32(components, dimension);
    return values;
  }
  static v1::Values TokenValues(size_t count) {
    v1::Values values;
    values.set_tokens(Column(std::vector<uint32_t>(count, 0)));
    return values;
  }
  v1::QueryResponse Ask(const v1::QueryRequest& request) {
    v1::QueryResponse response;
    const grpc::Status asked = server_.Query(request, &response);
    EXPECT_TRUE(asked.ok()) << asked.error_message();
    return response;
  }
  static v1::QueryRequest Of(const std::string& name) {
    v1::QueryRequest request;
    request.set_memory(name);
    return request;
  }
  static v1::QueryRequest Attention(const std::string& name, const v1::Vectors& keys, uint32_t k = 0) {
    v1::QueryRequest request = Of(name);
    *request.mutable_keys() = keys;
    request.set_k(k);
    request.mutable_search()->set_exact(true);
    request.mutable_attention()->set_with_weights(true);
    return request;
  }

  TestServer server_;
};
INSTANTIATE_TEST_SUITE_P(Shards, ReadOutsGoldenTest, ::testing::Values(1, 4));

// MEMORIES 10: M = (1,0), (0,1), (1,1), (-1,0), z = (1,.5).
TEST_P(ReadOutsGoldenTest, MemAeByInnerProduct) {
  Create("slots", 2, v1::METRIC_INNER_PRODUCT, v1::VALUE_KIND_VECTOR, 2);
  const std::vector<float> slots = {1, 0, 0, 1, 1, 1, -1, 0};
  Insert("slots", F32(slots, 2), VectorValues(slots, 2));
  v1::QueryRequest request = Attention("slots", F32({1, 0.5F}, 2));
  v1::AttentionResult got = Ask(request).attention();
  EXPECT_THAT(Items<uint64_t>(got.weight_ids()), ElementsAre(2, 0, 1, 3));
  ExpectReals(got.weights(), {0.486264227, 0.294934162, 0.178886612, 0.039914998});
  request.mutable_attention()->set_shrink(0.2);
  got = Ask(request).attention();
  ExpectReals(got.weights(), {0.622459331, 0.377540669});
  ExpectReals(got.outputs(), {1, 0.622459331});
  ExpectReals(got.entropies(), {0.662847319});
  EXPECT_THAT(Items<uint32_t>(got.active()), ElementsAre(2));
  request.mutable_attention()->set_shrink(0.5);
  got = Ask(request).attention();
  ExpectReals(got.outputs(), {0, 0});
  EXPECT_THAT(Items<uint8_t>(got.all_zero()), ElementsAre(1));
}

TEST_P(ReadOutsGoldenTest, MemAeByCosine) {
  Create("slots", 2, v1::METRIC_COSINE, v1::VALUE_KIND_VECTOR, 2);
  const std::vector<float> slots = {1, 0, 0, 1, 1, 1, -1, 0};
  Insert("slots", F32(slots, 2), VectorValues(slots, 2));
  v1::QueryRequest request = Attention("slots", F32({1, 0.5F}, 2));
  ExpectReals(Ask(request).attention().weights(), {0.368846681, 0.349367701, 0.223388265, 0.058397353});
  request.mutable_attention()->set_shrink(0.3);
  const auto weights = Items<double>(Ask(request).attention().weights());
  EXPECT_THAT(weights, Pointwise(DoubleNear(5e-8), {0.5135607, 0.4864393}));  // published with seven digits
}

// MEMORIES 3: distances 0, 1, 2, 2, 5; k = 3 keeps the tie.
TEST_P(ReadOutsGoldenTest, ResMemWithItsTie) {
  Create("residuals", 1, v1::METRIC_L2, v1::VALUE_KIND_VECTOR, 5);
  std::vector<float> unit(25, 0);
  for (size_t i = 0; i < 5; ++i) unit[i * 6] = 1;
  Insert("residuals", F32({0, 1, 2, -2, 5}, 1), VectorValues(unit, 5));
  v1::QueryRequest request = Attention("residuals", F32({0}, 1), 3);
  request.mutable_attention()->set_kernel(v1::ATTENTION_KERNEL_EXP_NEG_DISTANCE);
  request.mutable_attention()->set_scale(1.0);
  request.mutable_attention()->set_keep_ties(true);
  const v1::AttentionResult got = Ask(request).attention();
  ExpectReals(got.outputs(), {0.610295685, 0.224515236, 0.082594539, 0.082594539, 0});
  EXPECT_THAT(Items<uint32_t>(got.found()), ElementsAre(4));
}

// MEMORIES 12: two levels, cosine then inner product.
TEST_P(ReadOutsGoldenTest, ToMmyReadsItsGroups) {
  Create("actors", 2, v1::METRIC_COSINE, v1::VALUE_KIND_VECTOR, 2);
  Insert("actors", F32({1, 0, 0, 1, 1, 1}, 2), VectorValues({1, 0, 0, 1, 2, 2}, 2));
  v1::QueryRequest request = Attention("actors", F32({1, 0, 1, 1}, 2));
  v1::AttentionGroups& groups = *request.mutable_attention()->mutable_groups();
  groups.set_offsets(Column<uint64_t>({0, 2}));
  *groups.mutable_contexts() = F32({1, 0}, 2);
  v1::AttentionResult got = Ask(request).attention();
  ExpectReals(got.outputs(), {1.178914721, 0.879895721, 1.101876987, 1.101876987});
  ExpectReals(got.group_weights(), {0.519249914, 0.480750086});
  ExpectReals(got.group_outputs(), {1.141878824, 0.986613233});
  groups.set_metric(v1::METRIC_COSINE);
  got = Ask(request).attention();
  ExpectReals(got.group_weights(), {0.523555286, 0.476444715});
  ExpectReals(got.group_outputs(), {1.1422104996, 0.9856575216});  // published: 1.142210450, 5e-8 off its own weights
}

// MEMORIES 1, with 5 (.6,.8) and 5 (1,0), which f32 holds exactly.
TEST_P(ReadOutsGoldenTest, NeuralPriming) {
  Create("images", 2, v1::METRIC_INNER_PRODUCT, v1::VALUE_KIND_TOKEN, 100);
  Insert("images", F32({5, 0, 0, 1, 3, 4}, 2), TokenValues(3), {0, 1, 0});
  v1::QueryRequest request = Of("images");
  request.mutable_centroids()->set_labels(Column<int64_t>({0, 1, 2}));
  *request.mutable_centroids()->mutable_rows() = F32({1, 0, 0, 1, -1, 0}, 2);
  request.mutable_centroids()->set_mix_weight(0.7);
  v1::QueryResponse got = Ask(request);
  ExpectReals(got.centroids().centroids(), {0.894427191, 0.447213595, 0, 1, 0, 0});
  ExpectReals(got.centroids().mixed(), {0.968328157, 0.134164079, 0, 1, -0.7, 0});
  EXPECT_THAT(Items<uint64_t>(got.centroids().counts()), ElementsAre(2, 1, 0));
  EXPECT_THAT(Items<uint8_t>(got.centroids().zero()), ElementsAre(0, 0, 1));
  EXPECT_EQ(got.statistics().rows_scanned(), 3U);
  request.clear_centroids();
  request.mutable_centroids()->set_mean(true);
  got = Ask(request);
  ExpectReals(got.centroids().centroids(), {4, 2, 0, 1});
}

// MEMORIES 4, CSLS with k = 2: S = [[.9, .8, .1], [.85, .2, .3], [.4, .5, .6]], here 20 times as large.
TEST_P(ReadOutsGoldenTest, CslsOfAllAndOfSomeSources) {
  Create("target", 3, v1::METRIC_INNER_PRODUCT, v1::VALUE_KIND_TOKEN, 100);
  Create("source", 3, v1::METRIC_INNER_PRODUCT, v1::VALUE_KIND_TOKEN, 100);
  Insert("target", F32({1, 0, 0, 0, 1, 0, 0, 0, 1}, 3), TokenValues(3));
  Insert("source", F32({18, 16, 2, 17, 4, 6, 8, 10, 12}, 3), TokenValues(3));
  v1::QueryRequest request = Of("target");
  request.mutable_match()->set_source_memory("source");
  request.mutable_match()->set_csls_k(2);
  v1::QueryResponse got = Ask(request);
  EXPECT_THAT(Items<uint32_t>(got.match().best_targets()), ElementsAre(1, 0, 2));
  EXPECT_THAT(Items<uint32_t>(got.match().best_sources()), ElementsAre(1, 0, 2));
  ExpectReals(got.match().target_scores(), {20 * 0.05, 20 * 0.125, 20 * 0.1});
  ExpectReals(got.match().source_means(), {20 * 0.85, 20 * 0.575, 20 * 0.55});
  ExpectReals(got.match().target_means(), {20 * 0.875, 20 * 0.65, 20 * 0.45});
  EXPECT_EQ(got.statistics().rows_scanned(), 6U);

  // Two of the sources, one asked for twice, and one that is not there: the same numbers, of what is known.
  request.mutable_match()->set_source_ids(Column<uint64_t>({2, 0, 2, 77}));
  got = Ask(request);
  EXPECT_EQ(got.statistics().rows_scanned(), 0U);
  EXPECT_THAT(Items<uint64_t>(got.match().source_ids()), ElementsAre(0, 2));
  EXPECT_THAT(Items<uint64_t>(got.match().target_ids()), ElementsAre(1, 2));
  EXPECT_THAT(Items<uint32_t>(got.match().best_targets()), ElementsAre(0, 1));
  ExpectReals(got.match().target_scores(), {20 * 0.05, 20 * 0.1});
  ExpectReals(got.match().source_means(), {20 * 0.85, 20 * 0.55});
  ExpectReals(got.match().target_means(), {20 * 0.65, 20 * 0.45});
  EXPECT_THAT(Items<uint8_t>(got.match().mutual()), ElementsAre(1, 1));
  EXPECT_THAT(got.match().best_sources(), IsEmpty());
  EXPECT_THAT(got.match().source_scores(), IsEmpty());
}

// A source whose best target prefers a source that was not asked for is not mutual; MUSE doubles the score; a csls_k
// beyond either side is clamped and said.
TEST_P(ReadOutsGoldenTest, MutualIsOverTheWholeSourceSide) {
  Create("target", 2, v1::METRIC_INNER_PRODUCT, v1::VALUE_KIND_TOKEN, 100);
  Create("source", 2, v1::METRIC_INNER_PRODUCT, v1::VALUE_KIND_TOKEN, 100);
  Insert("target", F32({1, 0, 0, 1}, 2), TokenValues(2));
  Insert("source", F32({8, 0, 4, 1, 0, 4}, 2), TokenValues(3));
  v1::QueryRequest request = Of("target");
  request.mutable_match()->set_source_memory("source");
  request.mutable_match()->set_source_ids(Column<uint64_t>({1}));
  v1::MatchResult got = Ask(request).match();
  EXPECT_THAT(Items<uint32_t>(got.best_targets()), ElementsAre(0));
  EXPECT_THAT(Items<uint64_t>(got.target_ids()), ElementsAre(0));
  EXPECT_THAT(Items<uint8_t>(got.mutual()), ElementsAre(0));
  request.mutable_match()->set_csls_k(9);
  request.mutable_match()->set_form(v1::CSLS_FORM_MUSE);
  got = Ask(request).match();
  EXPECT_EQ(got.source_k(), 2U);
  EXPECT_EQ(got.target_k(), 3U);
  // m1 = (4 + 1) / 2, m0 = (8 + 4 + 0) / 3 and (0 + 1 + 4) / 3: 2 * 4 - 4 - 2.5, against 2 * 1 - 5 / 3 - 2.5.
  ExpectReals(got.target_scores(), {1.5});
  request.mutable_match()->set_source_ids(Column<uint64_t>({99}));
  got = Ask(request).match();
  EXPECT_THAT(got.source_ids(), IsEmpty());
  EXPECT_THAT(got.target_ids(), IsEmpty());
}

// Two entries as near: half of each value, where what is not listed has its share of the remainder.
TEST_P(ReadOutsGoldenTest, SparseValuesAndTheirRemainders) {
  v1::CreateMemoryRequest create;
  create.mutable_memory()->set_name("sparse");
  create.mutable_memory()->set_dimension(1);
  create.mutable_memory()->set_metric(v1::METRIC_L2);
  create.mutable_memory()->set_value_kind(v1::VALUE_KIND_SPARSE_VECTOR);
  create.mutable_memory()->set_key_dtype(v1::DTYPE_F32);
  create.mutable_memory()->set_vocabulary_size(10);
  v1::CreateMemoryResponse created;
  ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::CreateMemory, *server_.admin, create, &created).ok());
  v1::Values values;
  v1::SparseVectors& sparse = *values.mutable_sparse();
  sparse.set_offsets(Column<uint64_t>({0, 2, 3}));
  sparse.set_indices(Column<uint32_t>({1, 4, 4}));
  sparse.set_components(Column<float>({0.5F, 0.25F, -1.0F}));
  sparse.set_dtype(v1::DTYPE_F32);
  sparse.set_remainders(Column<float>({4.0F, 0.0F}));  // 4 over the eight that are not listed
  Insert("sparse", F32({1, -1}, 1), values);
  const v1::AttentionResult got = Ask(Attention("sparse", F32({0}, 1))).attention();
  EXPECT_THAT(Items<uint64_t>(got.sparse_offsets()), ElementsAre(0, 2));
  EXPECT_THAT(Items<uint32_t>(got.sparse_indices()), ElementsAre(1, 4));
  ExpectReals(got.sparse_components(), {0.25, 0.125 - 0.5});
  ExpectReals(got.sparse_elsewhere(), {0.25});
}

}  // namespace
}  // namespace mneme
