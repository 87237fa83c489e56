// Every row of the error table that this server reaches, over the wire: code, reason and field.
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>

#include "tests/server/test_server.h"

namespace mneme {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class ErrorTableTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new TestServer();
    ASSERT_TRUE(server_->Create("wiki", 2).ok());
    ASSERT_TRUE(server_->Create("half", 2, v1::METRIC_L2, v1::VALUE_KIND_TOKEN, 100, v1::DTYPE_F16).ok());
    ASSERT_TRUE(server_->Create("angle", 2, v1::METRIC_COSINE).ok());
    ASSERT_TRUE(server_->Create("vectors", 2, v1::METRIC_L2, v1::VALUE_KIND_VECTOR, 3).ok());
    ASSERT_TRUE(server_->Create("open", 2, v1::METRIC_L2, v1::VALUE_KIND_TOKEN, 0).ok());
    ASSERT_TRUE(server_->Create("wider", 3).ok());
    ASSERT_TRUE(server_->Insert(GoodInsert("wiki")).ok());
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  static void Expect(const grpc::Status& status, grpc::StatusCode code, const std::string& reason,
                     const std::string& field, const std::string& what) {
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(status.error_code(), code) << what << ": " << status.error_message();
    EXPECT_EQ(detail.reason, reason) << what << ": " << status.error_message();
    EXPECT_EQ(detail.domain, "mneme.v1") << what;
    EXPECT_LE(status.error_details().size(), limits::kMaxErrorDetailBytes) << what;
    if (!field.empty()) {
      ASSERT_FALSE(detail.fields.empty()) << what << ": " << status.error_message();
      EXPECT_EQ(detail.fields.front(), field) << what << ": " << status.error_message();
    }
  }
  static void ExpectInvalid(const grpc::Status& status, const std::string& field) {
    Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", field, field);
  }

  // Each row spoils a good request in one way and names the field that has to be blamed.
  using InsertRows = std::vector<std::pair<std::string, std::function<void(v1::InsertRequest&)>>>;
  using QueryRows = std::vector<std::pair<std::string, std::function<void(v1::QueryRequest&)>>>;

  static TestServer* server_;
};

TestServer* ErrorTableTest::server_ = nullptr;

TEST_F(ErrorTableTest, InsertNamesTheFieldThatIsWrong) {
  const InsertRows rows = {
      {"memory", [](auto& r) { r.clear_memory(); }},
      {"memory", [](auto& r) { r.set_memory("Wiki"); }},
      {"memory", [](auto& r) { r.set_memory(std::string(129, 'a')); }},
      {"entries.keys.dimension", [](auto& r) { r.mutable_entries()->mutable_keys()->set_dimension(3); }},
      {"entries.keys.dtype", [](auto& r) { r.mutable_entries()->mutable_keys()->clear_dtype(); }},
      {"entries.keys.data", [](auto& r) { r.mutable_entries()->mutable_keys()->mutable_data()->pop_back(); }},
      {"entries.keys", [](auto& r) { r.mutable_entries()->mutable_keys()->clear_data(); }},
      {"entries.keys[1]", [](auto& r) { *r.mutable_entries()->mutable_keys() = F32({1, 0, 0, kNan}, 2); }},
      {"entries.keys[0]", [](auto& r) { *r.mutable_entries()->mutable_keys() = F32({-INFINITY, 0, 0, 1}, 2); }},
      {"entries.keys[0]", [](auto& r) { *r.mutable_entries()->mutable_keys() = F32({1e17F, 0, 0, 1}, 2); }},
      {"entries.keys[1]",
       [](auto& r) { r.set_memory("half"), *r.mutable_entries()->mutable_keys() = F32({1, 0, 70'000, 1}, 2); }},
      {"entries.keys[1]",
       [](auto& r) { r.set_memory("angle"), *r.mutable_entries()->mutable_keys() = F32({1, 0, 0, 0}, 2); }},
      {"entries.values", [](auto& r) { r.mutable_entries()->clear_values(); }},
      {"entries.values", [](auto& r) { r.set_memory("vectors"); }},
      {"entries.values.tokens", [](auto& r) { r.mutable_entries()->mutable_values()->set_tokens("abcd"); }},
      {"entries.values.tokens[1]",
       [](auto& r) { r.mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7, 100})); }},
      {"entries.ids", [](auto& r) { r.mutable_entries()->set_ids(Column<uint64_t>({1})); }},
      {"entries.ids[1]", [](auto& r) { r.mutable_entries()->set_ids(Column<uint64_t>({1, uint64_t{1} << 62})); }},
      {"entries.weights", [](auto& r) { r.mutable_entries()->set_weights("abc"); }},
      {"entries.weights[0]", [](auto& r) { r.mutable_entries()->set_weights(Column<float>({0, 1})); }},
      {"entries.weights[1]", [](auto& r) { r.mutable_entries()->set_weights(Column<float>({1, kNan})); }},
      {"entries.scores[1]", [](auto& r) { r.mutable_entries()->set_scores(Column<double>({1, INFINITY})); }},
      {"entries.labels", [](auto& r) { r.mutable_entries()->set_labels(Column<int64_t>({1, 2, 3})); }},
      {"entries.expiries_ms[0]", [](auto& r) { r.mutable_entries()->set_expiries_ms(Column<int64_t>({-1, 0})); }},
      {"request_id", [](auto& r) { r.set_request_id(std::string(129, 'x')); }},
      {"durability", [](auto& r) { r.set_durability(static_cast<v1::Durability>(9)); }},
  };
  for (const auto& [field, spoil] : rows) {
    v1::InsertRequest request = GoodInsert("wiki");
    spoil(request);
    ExpectInvalid(server_->Insert(request), field);
  }
  EXPECT_EQ(server_->Count("wiki"), 2U) << "nothing of a refused batch is kept";
}

TEST_F(ErrorTableTest, QueryNamesTheFieldThatIsWrong) {
  const QueryRows rows = {
      {"keys.dimension", [](auto& r) { *r.mutable_keys() = F32({1, 0, 0}, 3); }},
      {"keys[0]", [](auto& r) { *r.mutable_keys() = F32({kNan, 0}, 2); }},
      {"keys", [](auto& r) { r.mutable_keys()->clear_data(); }},
      {"keys", [](auto& r) { *r.mutable_keys() = F32(std::vector<float>(2 * 1025, 1.0F), 2); }},
      {"k", [](auto& r) { r.set_k(0); }},
      {"k", [](auto& r) { r.set_k(5000); }},
      {"k", [](auto& r) { r.set_k(4096), *r.mutable_keys() = F32(std::vector<float>(2 * 1024, 1.0F), 2); }},
      {"search.recall_target", [](auto& r) { r.mutable_search()->set_recall_target(1.5); }},
      {"search.nprobe", [](auto& r) { r.mutable_search()->set_nprobe(0); }},
      {"search.approximate_distances",
       [](auto& r) { r.mutable_search()->set_exact(true), r.mutable_search()->set_approximate_distances(true); }},
      {"partitions.partitions",
       [](auto& r) { r.mutable_partitions()->set_all(true), r.mutable_partitions()->add_partitions(1); }},
      {"partitions.partitions",
       [](auto& r) { r.mutable_partitions()->add_partitions(1), r.mutable_partitions()->add_partitions(1); }},
      {"filter.labels", [](auto& r) { r.mutable_filter()->set_labels("abc"); }},
      {"exclude_ids", [](auto& r) { r.set_exclude_ids(Column<uint64_t>({1, 2})); }},
      {"exclude_sources", [](auto& r) { r.set_exclude_sources("x"); }},
      {"sequence_ids", [](auto& r) { r.set_sequence_ids("x"); }},
      {"extra.offsets", [](auto& r) { r.mutable_extra()->set_ids(Column<uint64_t>({1})); }},
      {"at_least_version", [](auto& r) { r.set_at_least_version("nonsense"); }},
      {"precision", [](auto& r) { r.set_precision(static_cast<v1::Precision>(7)); }},
      {"allow_partial",
       [](auto& r) { r.set_memory("vectors"), r.set_k(0), r.mutable_attention(), r.set_allow_partial(true); }},
  };
  for (const auto& [field, spoil] : rows) {
    v1::QueryRequest request = GoodQuery("wiki");
    spoil(request);
    ExpectInvalid(server_->Query(request), field);
  }
}

TEST_F(ErrorTableTest, DistributionNamesTheFieldThatIsWrong) {
  using D = v1::DistributionReadOut;
  const std::vector<std::pair<std::string, std::function<void(D&)>>> rows = {
      {"distribution.temperatures[1]", [](D& d) { d.add_temperatures(1), d.add_temperatures(0); }},
      {"distribution.temperatures[0]", [](D& d) { d.add_temperatures(NAN); }},
      {"distribution.ks[0]", [](D& d) { d.add_ks(3); }},
      {"distribution.ks[1]", [](D& d) { d.add_ks(2), d.add_ks(1); }},
      {"distribution.targets", [](D& d) { d.set_targets(Column<uint32_t>({1, 2})); }},
      {"distribution.targets[0]", [](D& d) { d.set_targets(Column<uint32_t>({100})); }},
      {"distribution.allowed_tokens[1]", [](D& d) { d.set_allowed_tokens(Column<uint32_t>({1, 100})); }},
      {"distribution.mix.knn_weight", [](D& d) { d.mutable_mix()->set_knn_weight(1.5); }},
      {"distribution.mix.lm_log_probs", [](D& d) { d.mutable_mix()->set_lm_log_probs("abcd"); }},
      {"distribution.mix.lm_log_probs[0]",
       [](D& d) {
         d.set_targets(Column<uint32_t>({1}));
         d.mutable_mix()->set_lm_log_probs(Column<float>({kNan}));
       }},
      {"distribution.mix.lm_log_probs[0]",
       [](D& d) {
         d.set_targets(Column<uint32_t>({1}));
         d.mutable_mix()->set_lm_log_probs(Column<float>({0.5F}));
       }},
      {"distribution.temperatures",
       [](D& d) {
         for (int i = 0; i < 257; ++i) d.add_temperatures(i + 1);
       }},
      {"distribution.ks",
       [](D& d) {
         for (int i = 0; i < 257; ++i) d.add_ks(1);
       }},
      {"distribution",
       [](D& d) {
         for (int i = 0; i < 129; ++i) d.add_temperatures(i + 1);
         d.add_ks(1), d.add_ks(2);
       }},
  };
  for (const auto& [field, spoil] : rows) {
    v1::QueryRequest request = GoodQuery("wiki");
    spoil(*request.mutable_distribution());
    ExpectInvalid(server_->Query(request), field);
  }
  v1::QueryRequest request = GoodQuery("vectors");
  request.mutable_distribution();
  ExpectInvalid(server_->Query(request), "distribution");
  request = GoodQuery("open");
  request.mutable_distribution()->mutable_mix();
  ExpectInvalid(server_->Query(request), "distribution.mix");
}

TEST_F(ErrorTableTest, AMixtureNamesTheFieldOrTheSourceThatIsWrong) {
  const QueryRows rows = {
      {"sources[1].memory", [](auto& r) { r.mutable_sources(1)->clear_memory(); }},
      {"sources[1].memory", [](auto& r) { r.mutable_sources(1)->set_memory("angle"); }},    // metric
      {"sources[1].memory", [](auto& r) { r.mutable_sources(1)->set_memory("vectors"); }},  // value kind
      {"sources[1].memory", [](auto& r) { r.mutable_sources(1)->set_memory("open"); }},     // vocabulary
      {"sources[1].memory", [](auto& r) { r.mutable_sources(1)->set_memory("wider"); }},    // dimension
      {"sources[0].weight", [](auto& r) { r.mutable_sources(0)->clear_weight(); }},
      {"sources[0].weight", [](auto& r) { r.mutable_sources(0)->set_weight(-1); }},
      {"sources[0].weight", [](auto& r) { r.mutable_sources(0)->set_weight(NAN); }},
      {"sources[1].weight", [](auto& r) { r.mutable_sources(1)->set_weight(INFINITY); }},
      {"sources[1].k", [](auto& r) { r.mutable_sources(1)->set_k(4'097); }},
      {"sources[0].k", [](auto& r) { r.set_k(0), r.mutable_sources(1)->set_k(3); }},
      {"k", [](auto& r) { r.set_k(4'096), *r.mutable_keys() = F32(std::vector<float>(2 * 200, 1.0F), 2); }},
      {"sources[1].partitions.partitions",
       [](auto& r) {
         r.mutable_sources(1)->mutable_partitions()->set_all(true);
         r.mutable_sources(1)->mutable_partitions()->add_partitions(1);
       }},
      {"sources[1].at_least_version", [](auto& r) { r.mutable_sources(1)->set_at_least_version("nonsense"); }},
      {"sources",
       [](auto& r) {
         while (r.sources_size() < 17) *r.add_sources() = r.sources(0);
       }},
      {"sources", [](auto& r) { r.clear_distribution(); }},
      {"sources", [](auto& r) { r.mutable_neighbours(); }},
      {"sources", [](auto& r) { r.mutable_centroids(); }},
      {"memory", [](auto& r) { r.set_memory("wiki"); }},
      {"partitions", [](auto& r) { r.mutable_partitions()->add_partitions(1); }},
      {"at_least_version", [](auto& r) { r.set_at_least_version("x"); }},
      {"extra", [](auto& r) { r.mutable_extra()->set_ids(Column<uint64_t>({1})); }},
      {"distribution.with_features", [](auto& r) { r.mutable_distribution()->set_with_features(true); }},
      {"attention", [](auto& r) { r.mutable_attention(); }},
  };
  v1::QueryRequest good = GoodQuery("");
  for (const char* name : {"wiki", "half"}) {
    good.add_sources()->set_memory(name);
    good.mutable_sources(good.sources_size() - 1)->set_weight(0.5);
  }
  good.mutable_distribution();
  EXPECT_TRUE(server_->Query(good).ok()) << server_->Query(good).error_message();
  for (const auto& [field, spoil] : rows) {
    v1::QueryRequest request = good;
    spoil(request);
    ExpectInvalid(server_->Query(request), field);
  }
  v1::QueryRequest request = good;
  request.mutable_sources(1)->set_memory("angle");
  EXPECT_EQ(server_->Query(request).error_message(),
            "sources[1].memory is \"angle\", of dimension 2, METRIC_COSINE, VALUE_KIND_TOKEN, vocabulary size 100; "
            "must be as the first, \"wiki\", of dimension 2, METRIC_L2, VALUE_KIND_TOKEN, vocabulary size 100");
  request.mutable_sources(1)->set_memory("nowhere");
  const grpc::Status missing = server_->Query(request);
  Expect(missing, grpc::StatusCode::NOT_FOUND, "MEMORY_NOT_FOUND", "", "source");
  EXPECT_EQ(DetailOf(missing).resource, "nowhere");
  request = good;
  request.mutable_fingerprint()->set_model("bert");
  Expect(server_->Query(request), grpc::StatusCode::FAILED_PRECONDITION, "FINGERPRINT_MISMATCH", "", "fingerprint");
}

TEST_F(ErrorTableTest, TheKeysOfAMixtureHaveABoundForAllSourcesTogether) {
  ASSERT_TRUE(server_->Create("widest", limits::kMaxDimension).ok());
  v1::QueryRequest request = GoodQuery("");
  *request.mutable_keys() = F32(std::vector<float>(limits::kMaxDimension * 300, 1.0F), limits::kMaxDimension);
  request.mutable_distribution();
  while (request.sources_size() < 16) {
    request.add_sources()->set_memory("widest");
    request.mutable_sources(request.sources_size() - 1)->set_weight(1);
  }
  ExpectInvalid(server_->Query(request), "keys");  // 16 sources x 300 rows x 64 KiB
}

TEST_F(ErrorTableTest, CreateNamesEveryFieldThatIsWrong) {
  v1::CreateMemoryRequest request;
  request.mutable_memory()->set_name("new");
  request.mutable_memory()->set_key_dtype(v1::DTYPE_BF16);
  request.mutable_memory()->mutable_fingerprint()->set_model(std::string(257, 'x'));
  v1::CreateMemoryResponse response;
  const grpc::Status status =
      TestServer::Call(&v1::AdminService::Stub::CreateMemory, *server_->admin, request, &response);
  ExpectInvalid(status, "memory.dimension");
  EXPECT_EQ(DetailOf(status).fields,
            (std::vector<std::string>{"memory.dimension", "memory.metric", "memory.key_dtype", "memory.value_kind",
                                      "memory.fingerprint.model"}));
}

TEST_F(ErrorTableTest, CreateNamesAnIndexOrACapacityThatIsWrong) {
  const auto create = [](const std::function<void(v1::MemoryDescription&)>& spoil) {
    v1::CreateMemoryRequest request;
    request.mutable_memory()->set_name("new");
    request.mutable_memory()->set_dimension(8);
    request.mutable_memory()->set_metric(v1::METRIC_L2);
    request.mutable_memory()->set_value_kind(v1::VALUE_KIND_TOKEN);
    spoil(*request.mutable_memory());
    v1::CreateMemoryResponse response;
    return TestServer::Call(&v1::AdminService::Stub::CreateMemory, *server_->admin, request, &response);
  };
  ExpectInvalid(create([](auto& m) { m.set_index("hnsw"); }), "memory.index");
  ExpectInvalid(create([](auto& m) { m.set_capacity((uint64_t{1} << 40) + 1); }), "memory.capacity");
  ExpectInvalid(create([](auto& m) { m.set_capacity(1), m.set_spread(v1::SPREAD_ALL); }), "memory.capacity");
  EXPECT_EQ(create([](auto& m) { m.set_index("pq:3"); }).error_message(),
            "memory.index is \"pq:3\"; its M must divide the dimension, 8");
  EXPECT_EQ(create([](auto& m) { m.set_capacity(5), m.set_spread(v1::SPREAD_ALL); }).error_message(),
            "memory.capacity is 5; needs SPREAD_ONE instead of SPREAD_ALL");
}

TEST_F(ErrorTableTest, AliasesNameWhatIsWrong) {
  const auto set = [](const std::string& alias, const std::string& memory, std::optional<std::string> expected) {
    v1::SetAliasRequest request;
    request.set_alias(alias);
    request.set_memory(memory);
    if (expected.has_value()) request.set_expected_memory(*expected);
    v1::SetAliasResponse response;
    return TestServer::Call(&v1::AdminService::Stub::SetAlias, *server_->admin, request, &response);
  };
  const auto drop = [](const std::string& alias) {
    v1::DropAliasRequest request;
    request.set_alias(alias);
    v1::DropAliasResponse response;
    return TestServer::Call(&v1::AdminService::Stub::DropAlias, *server_->admin, request, &response);
  };
  using grpc::StatusCode;
  ExpectInvalid(set("", "wiki", {}), "alias");
  ExpectInvalid(set("Live", "wiki", {}), "alias");
  ExpectInvalid(set("live", "", {}), "memory");
  ExpectInvalid(set("live", "wiki", "No Name"), "expected_memory");
  ExpectInvalid(drop(""), "alias");
  Expect(set("live", "nothing", {}), StatusCode::NOT_FOUND, "MEMORY_NOT_FOUND", "", "a memory that is not there");
  Expect(set("half", "wiki", {}), StatusCode::ALREADY_EXISTS, "MEMORY_EXISTS", "", "the name of a memory");
  Expect(set("live", "wiki", "half"), StatusCode::ABORTED, "ALIAS_MOVED", "", "an alias that is not there");
  Expect(drop("live"), StatusCode::NOT_FOUND, "ALIAS_NOT_FOUND", "", "an alias that is not there");
  Expect(drop("wiki"), StatusCode::NOT_FOUND, "ALIAS_NOT_FOUND", "", "a memory is no alias");

  ASSERT_TRUE(set("live", "wiki", "").ok());
  EXPECT_EQ(set("live", "half", "half").error_message(),
            "alias \"live\" points to \"wiki\"; expected_memory says it must point to \"half\"");
  Expect(server_->Create("live", 2), StatusCode::ALREADY_EXISTS, "ALIAS_EXISTS", "", "the name of an alias");
  v1::DropMemoryRequest memory;
  memory.set_memory("live");
  v1::DropMemoryResponse dropped;
  const grpc::Status kept = TestServer::Call(&v1::AdminService::Stub::DropMemory, *server_->admin, memory, &dropped);
  Expect(kept, StatusCode::FAILED_PRECONDITION, "MEMORY_ALIASED", "", "a memory that an alias points to");
  EXPECT_NE(kept.error_message().find("alias \"live\""), std::string::npos) << kept.error_message();
  EXPECT_EQ(server_->Count("live"), server_->Count("wiki"));
  ASSERT_TRUE(drop("live").ok());
}

TEST_F(ErrorTableTest, LeasesNameWhatIsWrong) {
  const auto acquire = [](const std::function<void(v1::AcquireLeaseRequest&)>& spoil,
                          v1::AcquireLeaseResponse* granted = nullptr) {
    v1::AcquireLeaseRequest request;
    request.set_memory("wiki");
    request.set_lease_ms(60'000);
    spoil(request);
    v1::AcquireLeaseResponse unused;
    return TestServer::Call(&v1::MemoryService::Stub::AcquireLease, *server_->memory, request,
                            granted == nullptr ? &unused : granted);
  };
  const auto renew = [](const std::string& lease, uint32_t lease_ms) {
    v1::RenewLeaseRequest request;
    request.set_lease(lease);
    request.set_lease_ms(lease_ms);
    v1::RenewLeaseResponse response;
    return TestServer::Call(&v1::MemoryService::Stub::RenewLease, *server_->memory, request, &response);
  };
  const auto release = [](const std::string& lease) {
    v1::ReleaseLeaseRequest request;
    request.set_lease(lease);
    v1::ReleaseLeaseResponse response;
    return TestServer::Call(&v1::MemoryService::Stub::ReleaseLease, *server_->memory, request, &response);
  };
  using grpc::StatusCode;
  ExpectInvalid(acquire([](auto& r) { r.clear_memory(); }), "memory");
  ExpectInvalid(acquire([](auto& r) { r.set_lease_ms(0); }), "lease_ms");
  ExpectInvalid(acquire([](auto& r) { r.set_lease_ms(600'001); }), "lease_ms");
  EXPECT_EQ(renew("", 600'001).error_message(), "lease_ms is 600001; must be in [1, 600000]");
  ExpectInvalid(acquire([](auto& r) {
                  r.mutable_partitions()->set_all(true);
                  r.mutable_partitions()->add_partitions(1);
                }),
                "partitions.partitions");
  ExpectInvalid(acquire([](auto& r) { r.set_at_least_version("nonsense"); }), "at_least_version");
  Expect(acquire([](auto& r) { r.set_memory("nothing"); }), StatusCode::NOT_FOUND, "MEMORY_NOT_FOUND", "", "a lease");
  ExpectInvalid(renew("short", 1), "lease");
  ExpectInvalid(release(""), "lease");
  const std::string unknown(16, 'x');
  Expect(renew(unknown, 1), StatusCode::FAILED_PRECONDITION, "LEASE_EXPIRED", "", "a lease that was never given");
  Expect(release(unknown), StatusCode::FAILED_PRECONDITION, "LEASE_EXPIRED", "", "a lease that was never given");

  v1::AcquireLeaseResponse granted;
  ASSERT_TRUE(acquire([](auto&) {}, &granted).ok());
  EXPECT_EQ(granted.memory(), "wiki");
  const auto query = [&](const std::function<void(v1::QueryRequest&)>& spoil) {
    v1::QueryRequest request = GoodQuery("wiki");
    request.set_lease(granted.lease());
    spoil(request);
    return server_->Query(request);
  };
  EXPECT_TRUE(query([](auto&) {}).ok());
  ExpectInvalid(query([](auto& r) { r.set_lease("short"); }), "lease");
  ExpectInvalid(query([](auto& r) { r.mutable_partitions()->set_all(true); }), "partitions");
  ExpectInvalid(query([&](auto& r) { r.set_at_least_version(granted.version()); }), "at_least_version");
  Expect(query([&](auto& r) { r.set_lease(unknown); }), StatusCode::FAILED_PRECONDITION, "LEASE_EXPIRED", "",
         "a query");
  Expect(query([](auto& r) { r.set_memory("open"); }), StatusCode::FAILED_PRECONDITION, "LEASE_EXPIRED", "",
         "the lease of another memory");
  v1::CountRequest count;
  count.set_memory("wiki");
  count.set_lease(unknown);
  v1::CountResponse counted;
  Expect(TestServer::Call(&v1::MemoryService::Stub::Count, *server_->memory, count, &counted),
         StatusCode::FAILED_PRECONDITION, "LEASE_EXPIRED", "", "a count");
  EXPECT_TRUE(renew(granted.lease(), 1'000).ok());
  EXPECT_TRUE(release(granted.lease()).ok());
  Expect(query([](auto&) {}), StatusCode::FAILED_PRECONDITION, "LEASE_EXPIRED", "", "a lease that was given back");
}

TEST_F(ErrorTableTest, AliasesAreListedByNamePageByPage) {
  v1::SetAliasRequest set;
  v1::SetAliasResponse made;
  std::vector<std::string> names;
  for (char c = 'a'; c <= 'g'; ++c) {
    names.push_back(std::string("page-") + c);
    set.set_alias(names.back());
    set.set_memory(c % 2 == 0 ? "wiki" : "half");
    ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::SetAlias, *server_->admin, set, &made).ok());
  }
  v1::ListAliasesRequest request;
  request.set_page_size(3);
  std::vector<std::string> listed;
  size_t pages = 0;
  do {
    v1::ListAliasesResponse page;
    ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::ListAliases, *server_->admin, request, &page).ok());
    for (const v1::Alias& alias : page.aliases()) listed.push_back(alias.alias());
    EXPECT_LE(page.aliases_size(), 3);
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(listed, names);
  EXPECT_EQ(pages, 3U);
  request.set_page_size(1'001);
  v1::ListAliasesResponse page;
  ExpectInvalid(TestServer::Call(&v1::AdminService::Stub::ListAliases, *server_->admin, request, &page), "page_size");
  for (const std::string& name : names) {
    v1::DropAliasRequest drop;
    drop.set_alias(name);
    v1::DropAliasResponse dropped;
    ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::DropAlias, *server_->admin, drop, &dropped).ok());
  }
}

TEST_F(ErrorTableTest, MessagesSayWhatWhichAndBound) {
  v1::QueryRequest request = GoodQuery("wiki");
  request.set_k(5000);
  EXPECT_EQ(server_->Query(request).error_message(), "k is 5000; must be in [1, 4096]");
  request = GoodQuery("wiki");
  *request.mutable_keys() = F32({1, 0, 0, kNan}, 2);
  EXPECT_EQ(server_->Query(request).error_message(), "keys[1] has a NaN at component 1");
}

TEST_F(ErrorTableTest, AGetThatCannotFitInAMessageIsRefusedBeforeItIsRead) {
  ASSERT_TRUE(server_->Create("wide", 2, v1::METRIC_L2, v1::VALUE_KIND_VECTOR, 16'384).ok());
  v1::GetRequest request;
  request.set_memory("wide");
  request.set_allow_missing(true);
  v1::GetResponse response;
  const auto get = [&](size_t ids) {
    request.set_ids(Column(std::vector<uint64_t>(ids, 1)));
    return TestServer::Call(&v1::MemoryService::Stub::Get, *server_->memory, request, &response);
  };
  EXPECT_TRUE(get(1024).ok()) << "64 KiB each: just fits";
  const grpc::Status status = get(1025);
  ExpectInvalid(status, "ids");
  EXPECT_EQ(status.error_message(),
            "ids names 1025 entries, which is 67174400 bytes of keys and values; must stay within 67108864");
  request.set_with_keys(true);
  ExpectInvalid(get(1024), "ids");
}

TEST_F(ErrorTableTest, OneProcessAnswersWithAllItsShardsThoughAPartWouldDo) {
  v1::QueryRequest request = GoodQuery("wiki");
  request.set_allow_partial(true);
  v1::QueryResponse response;
  ASSERT_TRUE(server_->Query(request, &response).ok());
  EXPECT_EQ(response.coverage().shards_total(), 2U);
  EXPECT_EQ(response.coverage().shards_answered(), 2U);
  EXPECT_EQ(response.coverage().missing_shards_size(), 0);
}

TEST_F(ErrorTableTest, AQueryWhoseAnswerCannotFitInAMessageIsRefusedBeforeTheSearch) {
  ASSERT_TRUE(server_->Create("wide_values", 2, v1::METRIC_L2, v1::VALUE_KIND_VECTOR, 16'384).ok());
  v1::QueryRequest request = GoodQuery("wide_values");
  *request.mutable_keys() = F32(std::vector<float>(2 * 4, 1.0F), 2);
  request.set_k(256);
  EXPECT_TRUE(server_->Query(request).ok()) << "4 rows x 256 x 64 KiB: just fits";
  request.mutable_neighbours()->set_with_keys(true);
  ExpectInvalid(server_->Query(request), "k");
  request.mutable_neighbours()->set_without_values(true);
  ExpectInvalid(server_->Query(request), "k");
  request.clear_neighbours();
  request.mutable_extra()->set_ids(Column<uint64_t>({1}));
  request.mutable_extra()->set_offsets(Column<uint64_t>({0, 1, 1, 1, 1}));
  const grpc::Status status = server_->Query(request);
  ExpectInvalid(status, "k");
  EXPECT_EQ(status.error_message(),
            "k is 256; with 4 rows and 1 extra candidates it gathers 67174400 bytes of keys and values; must stay "
            "within 67108864");
}

TEST_F(ErrorTableTest, UnknownThingsAreNotFound) {
  const grpc::Status status = server_->Query(GoodQuery("nowhere"));
  Expect(status, grpc::StatusCode::NOT_FOUND, "MEMORY_NOT_FOUND", "", "memory");
  EXPECT_EQ(DetailOf(status).resource, "nowhere");
  v1::GetRequest get;
  get.set_memory("wiki");
  get.set_ids(Column<uint64_t>({1, 99}));
  v1::GetResponse response;
  const grpc::Status missing = TestServer::Call(&v1::MemoryService::Stub::Get, *server_->memory, get, &response);
  Expect(missing, grpc::StatusCode::NOT_FOUND, "ENTRY_NOT_FOUND", "", "entry");
  EXPECT_EQ(DetailOf(missing).resource, "wiki/99");
  get.set_allow_missing(true);
  EXPECT_TRUE(TestServer::Call(&v1::MemoryService::Stub::Get, *server_->memory, get, &response).ok());
  EXPECT_EQ(Items<uint64_t>(response.entries().ids()), std::vector<uint64_t>{1});
}

TEST_F(ErrorTableTest, ANameIsTakenOnce) {
  const grpc::Status status = server_->Create("wiki", 2);
  Expect(status, grpc::StatusCode::ALREADY_EXISTS, "MEMORY_EXISTS", "", "create");
  EXPECT_EQ(DetailOf(status).resource, "wiki");
}

TEST_F(ErrorTableTest, AForeignFingerprintIsAFailedPrecondition) {
  v1::QueryRequest request = GoodQuery("wiki");
  request.mutable_fingerprint()->set_model("bert");
  const grpc::Status status = server_->Query(request);
  Expect(status, grpc::StatusCode::FAILED_PRECONDITION, "FINGERPRINT_MISMATCH", "", "fingerprint");
  EXPECT_EQ(status.error_message(), "fingerprint.model is \"bert\"; memory \"wiki\" was made with \"gpt\"");
  request.mutable_fingerprint()->set_model("gpt");
  EXPECT_TRUE(server_->Query(request).ok());
}

TEST_F(ErrorTableTest, ADeletionNeedsATarget) {
  v1::DeleteRequest request;
  request.set_memory("wiki");
  v1::DeleteResponse response;
  const auto call = [&] {
    return TestServer::Call(&v1::MemoryService::Stub::Delete, *server_->memory, request, &response);
  };
  ExpectInvalid(call(), "target");
  request.mutable_filter();
  ExpectInvalid(call(), "filter");
  request.set_ids("");
  ExpectInvalid(call(), "ids");
  request.set_everything(false);
  ExpectInvalid(call(), "everything");
  EXPECT_EQ(server_->Count("wiki"), 2U);
}

TEST_F(ErrorTableTest, ARequestThatDoesNotParseIsMalformed) {
  for (const char* method : {"/mneme.v1.MemoryService/Query", "/mneme.v1.MemoryService/Insert",
                             "/mneme.v1.MemoryService/Count", "/mneme.v1.AdminService/CreateMemory"}) {
    grpc::ClientContext context;
    const std::string bytes = "\x0a\xff\xff\xff\xff\x7f";  // a length past the end
    grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    const grpc::internal::RpcMethod rpc(method, grpc::internal::RpcMethod::NORMAL_RPC);
    const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
        server_->channel().get(), rpc, &context, request, &response);
    Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "MALFORMED_REQUEST", "", method);
  }
}

TEST_F(ErrorTableTest, ADeadlineThatIsPastDoesNoWork) {
  v1::InsertRequest request = GoodInsert("wiki");
  request.mutable_entries()->set_ids(Column<uint64_t>({1001, 1002}));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() - std::chrono::seconds(1));
  v1::InsertResponse response;
  EXPECT_EQ(server_->memory->Insert(&context, request, &response).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server_->Count("wiki"), 2U);
}

TEST_F(ErrorTableTest, AMessageAboveTheLimitIsRefused) {
  v1::InsertRequest request = GoodInsert("wiki");
  request.mutable_entries()->mutable_keys()->mutable_data()->resize(limits::kMaxMessageBytes + 1);
  EXPECT_EQ(server_->Insert(request).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ErrorTableTest, ARequestIdWithOtherContentIsRefused) {
  v1::InsertRequest request = GoodInsert("open");
  request.set_request_id("once");
  v1::InsertResponse response;
  ASSERT_TRUE(server_->Insert(request, &response).ok());
  ASSERT_TRUE(server_->Insert(request, &response).ok());
  EXPECT_TRUE(response.replayed());
  request.mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({9, 9}));
  Expect(server_->Insert(request), grpc::StatusCode::FAILED_PRECONDITION, "REQUEST_ID_REUSED", "", "request id");
}

TEST_F(ErrorTableTest, AnEmptyMemoryIsNoError) {
  v1::QueryResponse response;
  ASSERT_TRUE(server_->Query(GoodQuery("angle"), &response).ok());
  EXPECT_EQ(Items<uint64_t>(response.neighbours().offsets()), (std::vector<uint64_t>{0, 0}));
  v1::QueryRequest request = GoodQuery("half");
  request.mutable_distribution();
  ASSERT_TRUE(server_->Query(request, &response).ok());
  EXPECT_EQ(Items<uint32_t>(response.distribution().found()), std::vector<uint32_t>{0});
}

}  // namespace
}  // namespace mneme
