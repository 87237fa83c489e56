// A front end before shards beside one process that holds the same: the same bytes, whoever reads out, and who does.
#include <httplib.h>

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "tests/server/test_server.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kDimension = 4;
constexpr uint32_t kVocabulary = 50;
constexpr size_t kEntries = 300;
constexpr size_t kRows = 5;
constexpr uint64_t kTenant = 7;  // a partition

using Requests = std::map<std::string, v1::QueryRequest>;

// What a process tells as `series`, on its admin port.
double Told(const Server& server, std::string_view series) {
  httplib::Client client("127.0.0.1", server.admin_port());
  const auto response = client.Get("/metrics");
  const std::string text = response ? "\n" + response->body : "";
  const size_t at = text.find(absl::StrCat("\n", std::string(series), " "));
  EXPECT_NE(at, std::string::npos) << series;
  return at == std::string::npos ? -1.0 : std::stod(text.substr(at + series.size() + 2));
}

// Queries that a process has read out, or passed on.
double ReadOuts(const Server& server) { return Told(server, "mneme_search_seconds_count{stage=\"read_out\"}"); }

// Shards and a front end before them, each as in a process of its own.
class Processes {
 public:
  explicit Processes(uint32_t shards) {
    std::vector<std::string> addresses;
    for (uint32_t number = 0; number < shards; ++number) {
      addresses.push_back(absl::StrCat("127.0.0.1:", number + 1));  // until it is known
    }
    for (uint32_t number = 0; number < shards; ++number) {
      shards_.push_back(Start(Role::kShard, number, addresses));
      addresses[number] = absl::StrCat("127.0.0.1:", shards_.back()->port());
    }
    front_end_ = Start(Role::kFrontEnd, 0, addresses);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", front_end_->port()), grpc::InsecureChannelCredentials());
    memory = v1::MemoryService::NewStub(channel_);
    admin = v1::AdminService::NewStub(channel_);
  }
  ~Processes() {
    memory.reset();
    admin.reset();
    channel_.reset();
    front_end_.reset();
    while (!shards_.empty()) shards_.pop_back();
  }

  const Server& front_end() const { return *front_end_; }
  const Server& shard(uint32_t number) const { return *shards_[number]; }
  void StopLastShard() { shards_.pop_back(); }
  // By those of its shards that are there.
  double read_outs() const {
    double sum = 0;
    for (const auto& each : shards_) sum += ReadOuts(*each);
    return sum;
  }

  std::unique_ptr<v1::MemoryService::Stub> memory;
  std::unique_ptr<v1::AdminService::Stub> admin;

 private:
  std::unique_ptr<Server> Start(Role role, uint32_t number, const std::vector<std::string>& addresses) {
    ServerOptions options;
    options.role = role;
    options.shard_number = number;
    options.shard_addresses = addresses;
    if (role == Role::kShard) options.data_dir = directory_ / absl::StrCat("shard-", number);
    options.listen = {"127.0.0.1:0"};
    options.admin_listen = "127.0.0.1:0";
    options.search_threads = 1;
    auto server = Server::Start(options, &log_);
    if (!server.ok()) {
      ADD_FAILURE() << server.status();
      std::abort();
    }
    return *std::move(server);
  }

  Log log_{LogFormat::kJson, LogLevel::kError};
  TemporaryDirectory directory_;
  std::vector<std::unique_ptr<Server>> shards_;
  std::unique_ptr<Server> front_end_;
  std::shared_ptr<grpc::Channel> channel_;
};

std::vector<float> Normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(count);
  for (float& each : out) each = normal(random);
  return out;
}

// `width`: of VECTOR values.
void Create(v1::AdminService::Stub& admin, const std::string& name, v1::ValueKind kind, uint32_t width = 3) {
  v1::CreateMemoryRequest create;
  create.mutable_memory()->set_name(name);
  create.mutable_memory()->set_dimension(kDimension);
  create.mutable_memory()->set_metric(v1::METRIC_L2);
  create.mutable_memory()->set_value_kind(kind);
  create.mutable_memory()->set_key_dtype(v1::DTYPE_F32);
  if (kind == v1::VALUE_KIND_VECTOR) {
    create.mutable_memory()->set_value_dimension(width);
  } else {
    create.mutable_memory()->set_vocabulary_size(kVocabulary);
  }
  v1::CreateMemoryResponse created;
  const grpc::Status status = TestServer::Call(&v1::AdminService::Stub::CreateMemory, admin, create, &created);
  ASSERT_TRUE(status.ok()) << status.error_message();
}

// The version of it.
std::string Insert(v1::MemoryService::Stub& memory, const std::string& name, uint64_t partition,
                   const v1::Values& values) {
  v1::InsertRequest insert;
  insert.set_memory(name);
  insert.set_partition(partition);
  std::vector<uint64_t> ids(kEntries);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<float> weights(kEntries, 1.0F);
  for (size_t i = 0; i < kEntries; i += 3) weights[i] = 0.5F + static_cast<float>(i) / 100;
  v1::Entries& entries = *insert.mutable_entries();
  *entries.mutable_keys() = F32(Normal(kEntries * kDimension, 1 + static_cast<uint32_t>(partition)), kDimension);
  *entries.mutable_values() = values;
  entries.set_ids(Column(ids));
  entries.set_weights(Column(weights));
  v1::InsertResponse inserted;
  const grpc::Status status = TestServer::Call(&v1::MemoryService::Stub::Insert, memory, insert, &inserted);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return inserted.version();
}

// Of two tokens each, and what the others share.
v1::Values SparseValues() {
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> indices;
  for (uint32_t i = 0; i < kEntries; ++i) {
    indices.push_back(i % (kVocabulary - 1));
    indices.push_back(i % (kVocabulary - 1) + 1);
    offsets.push_back(indices.size());
  }
  v1::Values values;
  v1::SparseVectors& sparse = *values.mutable_sparse();
  sparse.set_offsets(Column(offsets));
  sparse.set_indices(Column(indices));
  sparse.set_components(Column(Normal(indices.size(), 7)));
  sparse.set_dtype(v1::DTYPE_F32);
  sparse.set_remainders(Column(Normal(kEntries, 8)));
  return values;
}

// The same in any deployment: "wiki" of tokens, "slots" of vectors and "logits" of sparse ones, each with a partition
// of a tenant.
template <typename Deployed>
void Fill(Deployed& deployed) {
  Create(*deployed.admin, "wiki", v1::VALUE_KIND_TOKEN);
  Create(*deployed.admin, "slots", v1::VALUE_KIND_VECTOR);
  Create(*deployed.admin, "logits", v1::VALUE_KIND_SPARSE_VECTOR);
  std::vector<uint32_t> tokens(kEntries);
  for (size_t i = 0; i < kEntries; ++i) tokens[i] = static_cast<uint32_t>(i * i % kVocabulary);
  v1::Values words;
  words.set_tokens(Column(tokens));
  v1::Values vectors;
  *vectors.mutable_vectors() = F32(Normal(kEntries * 3, 99), 3);
  for (const uint64_t partition : {uint64_t{0}, kTenant}) {
    Insert(*deployed.memory, "wiki", partition, words);
    Insert(*deployed.memory, "slots", partition, vectors);
    Insert(*deployed.memory, "logits", partition, SparseValues());
  }
}

v1::QueryRequest Query(const std::string& name, uint32_t k) {
  v1::QueryRequest request;
  request.set_memory(name);
  *request.mutable_keys() = F32(Normal(kRows * kDimension, 42), kDimension);
  request.set_k(k);
  request.mutable_search()->set_exact(true);
  return request;
}

v1::QueryRequest Distribution(uint32_t k) {
  v1::QueryRequest request = Query("wiki", k);
  request.mutable_distribution()->add_temperatures(2.0);
  return request;
}

// Of "wiki", none of them longer than its neighbours.
Requests Distributions() {
  Requests asked;
  asked["whole"] = Distribution(50);
  asked["in single precision"] = Distribution(50);
  asked["in single precision"].set_precision(v1::PRECISION_SINGLE);
  asked["of more than there are"] = Distribution(1'000);
  asked["of a part of what was found"] = Distribution(50);
  for (const uint32_t k : {5U, 20U}) asked["of a part of what was found"].mutable_distribution()->add_ks(k);
  asked["cut"] = Distribution(50);
  asked["cut"].mutable_distribution()->add_temperatures(0.5);
  asked["cut"].mutable_distribution()->set_top_m(3);
  asked["masked"] = Distribution(50);
  asked["masked"].mutable_distribution()->set_allowed_tokens(Column<uint32_t>({0, 1, 4, 9, 16, 25, 36, 49}));
  asked["with features"] = Distribution(20);
  asked["with features"].mutable_distribution()->set_with_features(true);
  asked["of targets"] = Distribution(50);
  asked["of targets"].mutable_distribution()->set_targets(Column<uint32_t>({0, 1, 4, 9, 2}));
  asked["mixed with the model"] = Distribution(50);
  v1::ModelMix& mix = *asked["mixed with the model"].mutable_distribution()->mutable_mix();
  mix.set_knn_weight(0.25);
  mix.set_lm_log_probs(Column(std::vector<float>(kRows * kVocabulary, -4.0F)));
  asked["of what a filter leaves"] = Distribution(50);
  asked["of what a filter leaves"].mutable_filter()->set_ids(Column<uint64_t>({3, 5, 8, 13, 21}));
  asked["of nothing"] = Distribution(50);
  asked["of nothing"].mutable_filter()->set_ids(Column<uint64_t>({kEntries}));
  asked["of others"] = Distribution(50);
  asked["of others"].set_exclude_ids(Column<uint64_t>({1, 2, 3, 4, 5}));
  asked["with ids of its rows"] = Distribution(50);
  asked["with ids of its rows"].set_sequence_ids(Column<uint64_t>({9, 8, 7, 6, 5}));
  return asked;
}

// Of "slots" and "logits".
Requests Attentions() {
  Requests asked;
  asked["nearest"] = Query("slots", 20);
  asked["nearest"].mutable_attention()->set_scale(0.5);
  asked["weights"] = Query("slots", 20);
  asked["weights"].mutable_attention()->set_with_weights(true);
  asked["ties"] = Query("slots", 20);
  asked["ties"].mutable_attention()->set_keep_ties(true);
  asked["all entries"] = Query("slots", 0);
  asked["all entries"].mutable_attention()->set_shrink(0.001);
  asked["groups"] = Query("slots", 20);
  v1::AttentionGroups& groups = *asked["groups"].mutable_attention()->mutable_groups();
  groups.set_offsets(Column<uint64_t>({0, 2, 5}));
  *groups.mutable_contexts() = F32(Normal(2 * 3, 5), 3);
  asked["sparse"] = Query("logits", 20);
  asked["sparse"].mutable_attention()->set_with_weights(true);
  asked["sparse, in single precision"] = Query("logits", 20);
  asked["sparse, in single precision"].mutable_attention();
  asked["sparse, in single precision"].set_precision(v1::PRECISION_SINGLE);
  asked["sparse, all entries"] = Query("logits", 0);
  asked["sparse, all entries"].mutable_attention();
  return asked;
}

// Read-outs that a front end makes itself.
Requests OwnReadOuts() {
  Requests asked;
  asked["many cells"] = Distribution(300);
  for (int t = 3; t < 20; ++t) asked["many cells"].mutable_distribution()->add_temperatures(t);
  asked["extra candidates"] = Distribution(10);
  asked["extra candidates"].mutable_extra()->set_offsets(Column<uint64_t>({0, 1, 2, 2, 3, 4}));
  asked["extra candidates"].mutable_extra()->set_ids(Column<uint64_t>({250, 251, 252, 253}));
  asked["groups without rows"] = Query("slots", 20);
  v1::AttentionGroups& groups = *asked["groups without rows"].mutable_attention()->mutable_groups();
  std::vector<uint64_t> offsets(1'001, kRows);
  offsets.front() = 0;
  groups.set_offsets(Column(offsets));
  *groups.mutable_contexts() = F32(Normal(1'000 * 3, 6), 3);
  asked["sparse, few neighbours"] = Query("logits", 1);
  asked["sparse, few neighbours"].mutable_keys()->CopyFrom(F32(Normal(16 * kDimension, 43), kDimension));
  asked["sparse, few neighbours"].mutable_attention();
  v1::QueryRequest& mixture = asked["mixture"] = Distribution(20);
  mixture.clear_memory();
  for (const uint64_t partition : {uint64_t{0}, kTenant}) {
    v1::MixtureSource& source = *mixture.add_sources();
    source.set_memory("wiki");
    source.mutable_partitions()->add_partitions(partition);
    source.set_weight(1.0 + static_cast<double>(partition));
  }
  return asked;
}

grpc::Status Ask(v1::MemoryService::Stub& memory, const v1::QueryRequest& request, v1::QueryResponse* response) {
  return TestServer::Call(&v1::MemoryService::Stub::Query, memory, request, response);
}

v1::QueryResponse Answer(v1::MemoryService::Stub& memory, const v1::QueryRequest& request) {
  v1::QueryResponse response;
  const grpc::Status status = Ask(memory, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

// All of an answer that does not depend on who gave it, and when.
std::string Told(v1::QueryResponse response) {
  response.clear_version();
  response.clear_statistics();
  response.clear_coverage();
  for (v1::MixtureAnswer& source : *response.mutable_sources()) {
    source.clear_version();
    source.clear_statistics();
    source.clear_coverage();
  }
  return response.SerializeAsString();
}

// Asks both for all; how many of `through` were read out by a shard.
double CompareAll(TestServer& direct, Processes& through, const Requests& asked) {
  const double before = through.read_outs();
  for (const auto& [name, request] : asked) {
    const v1::QueryResponse expected = Answer(*direct.memory, request);
    const v1::QueryResponse got = Answer(*through.memory, request);
    EXPECT_NE(expected.result_case(), v1::QueryResponse::RESULT_NOT_SET) << name;
    EXPECT_TRUE(Told(got) == Told(expected)) << name;
    EXPECT_EQ(got.statistics().rows_total(), expected.statistics().rows_total()) << name;
    EXPECT_EQ(got.coverage().shards_answered(), expected.coverage().shards_answered()) << name;
    EXPECT_EQ(got.version().empty(), expected.version().empty()) << name;
  }
  return through.read_outs() - before;
}

Requests OfTenant(Requests asked) {
  for (auto& [name, request] : asked) request.mutable_partitions()->add_partitions(kTenant);
  return asked;
}

TEST(OneShardProcessTest, AShardThatHasAllReadsOutWhatOneProcessDoes) {
  TestServer direct(1);
  Processes through(1);
  Fill(direct);
  Fill(through);
  for (const Requests& asked : {Distributions(), OfTenant(Distributions()), Attentions(), OfTenant(Attentions())}) {
    EXPECT_EQ(CompareAll(direct, through, asked), static_cast<double>(asked.size()));
  }
  EXPECT_EQ(CompareAll(direct, through, OwnReadOuts()), 0.0);
  EXPECT_EQ(CompareAll(direct, through, {{"neighbours", Query("wiki", 50)}}), 0.0);
  EXPECT_EQ(ReadOuts(through.front_end()), ReadOuts(direct.server())) << "the time is told there, too";

  v1::QueryRequest both = Query("slots", 20);
  both.mutable_attention()->set_with_weights(true);
  both.mutable_partitions()->set_all(true);
  EXPECT_EQ(CompareAll(direct, through, {{"weights of several partitions", both}}), 1.0);
}

TEST(OneShardProcessTest, OfTwoShardsTheOneThatHasAllReadsOut) {
  TestServer direct(2);
  Processes through(2);
  Fill(direct);
  Fill(through);
  for (const Requests& asked : {Distributions(), Attentions()}) {
    EXPECT_EQ(CompareAll(direct, through, asked), 0.0) << "both have a part";
    EXPECT_EQ(CompareAll(direct, through, OfTenant(asked)), static_cast<double>(asked.size()));
  }
  EXPECT_EQ(CompareAll(direct, through, OwnReadOuts()), 0.0);
}

TEST(OneShardProcessTest, AStepOfAStreamIsReadOutWhereItsNeighboursMayBeAskedFor) {
  TestServer direct(1);
  Processes through(1);
  Fill(direct);
  Fill(through);
  const auto step = [](v1::MemoryService::Stub& memory) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const auto stream = memory.QueryStream(&context);
    v1::QueryStreamRequest request;
    request.set_step(1);
    *request.mutable_query() = Distribution(50);
    v1::StepAppend& append = *request.mutable_append();
    append.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(kRows, 1)));
    append.set_lm_log_probs(Column(std::vector<float>(kRows, -3.0F)));
    EXPECT_TRUE(stream->Write(request));
    stream->WritesDone();
    v1::QueryStreamResponse first;
    EXPECT_TRUE(stream->Read(&first));
    v1::QueryStreamResponse last;
    for (v1::QueryStreamResponse next; stream->Read(&next);) last = next;
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(last.benefit().tokens(), kRows);
    return absl::StrCat(Told(first.response()), last.benefit().SerializeAsString());
  };
  EXPECT_TRUE(step(*through.memory) == step(*direct.memory));
  EXPECT_EQ(through.read_outs(), 0.0);
}

// What a shard counts is told by the front end that it was counted for.
TEST(OneShardProcessTest, TheBenefitIsCountedByTheFrontEnd) {
  TestServer direct(1);
  Processes through(1);
  Fill(direct);
  Fill(through);
  v1::QueryRequest request = Distribution(50);
  request.mutable_distribution()->set_targets(Column<uint32_t>({0, 1, 4, 9, 2}));
  request.mutable_distribution()->mutable_mix()->set_knn_weight(0.5);
  request.mutable_distribution()->mutable_mix()->set_lm_log_probs(Column(std::vector<float>(kRows, -3.0F)));
  EXPECT_EQ(CompareAll(direct, through, {{"of targets, mixed", request}}), 1.0);
  EXPECT_EQ(Told(through.front_end(), "mneme_benefit_tokens_total"), static_cast<double>(kRows));
  EXPECT_EQ(Told(through.front_end(), "mneme_benefit_nats_total"), Told(direct.server(), "mneme_benefit_nats_total"));
  EXPECT_EQ(Told(through.shard(0), "mneme_benefit_tokens_total"), 0.0);
}

TEST(OneShardProcessTest, ErrorsNameTheSameFields) {
  TestServer direct(1);
  Processes through(1);
  Fill(direct);
  Fill(through);
  Requests asked;
  asked["a token beyond the vocabulary"] = Distribution(50);
  asked["a token beyond the vocabulary"].mutable_distribution()->set_targets(
      Column(std::vector<uint32_t>(kRows, kVocabulary)));
  asked["no temperature"] = Distribution(50);
  asked["no temperature"].mutable_distribution()->add_temperatures(0.0);
  asked["values that are no tokens"] = Query("slots", 50);
  asked["values that are no tokens"].mutable_distribution();
  asked["values that are no vectors"] = Query("wiki", 50);
  asked["values that are no vectors"].mutable_attention();
  asked["no such memory"] = Query("nobody", 50);
  asked["no such memory"].mutable_distribution();
  for (const auto& [name, request] : asked) {
    v1::QueryResponse unused;
    const grpc::Status expected = Ask(*direct.memory, request, &unused);
    const grpc::Status got = Ask(*through.memory, request, &unused);
    EXPECT_FALSE(expected.ok()) << name;
    EXPECT_EQ(got.error_code(), expected.error_code()) << name;
    EXPECT_EQ(got.error_message(), expected.error_message()) << name;
    EXPECT_EQ(DetailOf(got).fields, DetailOf(expected).fields) << name;
  }
}

// The shard holds the version, or waits for it.
TEST(OneShardProcessTest, WhatALeaseHoldsAndWhatAVersionNamesAreReadOut) {
  TestServer direct(1);
  Processes through(1);
  Fill(direct);
  Fill(through);
  const std::string before = Told(Answer(*direct.memory, Distribution(50)));
  const auto answers = [](auto& deployed) {
    v1::AcquireLeaseRequest acquire;
    acquire.set_memory("wiki");
    acquire.set_lease_ms(60'000);
    v1::AcquireLeaseResponse granted;
    const grpc::Status status =
        TestServer::Call(&v1::MemoryService::Stub::AcquireLease, *deployed.memory, acquire, &granted);
    EXPECT_TRUE(status.ok()) << status.error_message();
    v1::Values others;
    others.set_tokens(Column(std::vector<uint32_t>(kEntries, 3)));
    v1::QueryRequest held = Distribution(50);
    v1::QueryRequest written = Distribution(50);
    written.set_at_least_version(Insert(*deployed.memory, "wiki", 0, others));
    held.set_lease(granted.lease());
    return std::vector<std::string>{Told(Answer(*deployed.memory, held)), Told(Answer(*deployed.memory, written))};
  };
  const std::vector<std::string> expected = answers(direct);
  const std::vector<std::string> got = answers(through);
  EXPECT_EQ(through.read_outs(), 2.0);
  EXPECT_TRUE(got == expected);
  EXPECT_TRUE(got.front() == before);
  EXPECT_FALSE(got.back() == before);
}

// Outputs that are as long as a message may be, and what stands beside them.
TEST(OneShardProcessTest, AnAnswerThatIsTooLargeIsRefusedAlike) {
  constexpr uint32_t kWidth = 8'192;
  constexpr size_t kMost = limits::kMaxMessageBytes / (kWidth * sizeof(double));
  const auto refused = [](auto& deployed) {
    Create(*deployed.admin, "wide", v1::VALUE_KIND_VECTOR, kWidth);
    v1::InsertRequest insert;
    insert.set_memory("wide");
    *insert.mutable_entries()->mutable_keys() = F32(Normal(kDimension, 1), kDimension);
    *insert.mutable_entries()->mutable_values()->mutable_vectors() = F32(Normal(kWidth, 2), kWidth);
    v1::InsertResponse inserted;
    EXPECT_TRUE(TestServer::Call(&v1::MemoryService::Stub::Insert, *deployed.memory, insert, &inserted).ok());
    v1::QueryRequest request;
    request.set_memory("wide");
    *request.mutable_keys() = F32(Normal(kMost * kDimension, 42), kDimension);
    request.mutable_attention();
    v1::QueryResponse unused;
    return Ask(*deployed.memory, request, &unused);
  };
  TestServer direct(1);
  Processes through(1);
  const grpc::Status expected = refused(direct);
  const grpc::Status got = refused(through);
  EXPECT_EQ(expected.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << expected.error_message();
  EXPECT_EQ(DetailOf(expected).reason, "RESPONSE_TOO_LARGE");
  EXPECT_EQ(got.error_code(), expected.error_code()) << got.error_message();
  EXPECT_EQ(DetailOf(got).reason, DetailOf(expected).reason);
  EXPECT_EQ(DetailOf(got).fields, DetailOf(expected).fields);
}

TEST(OneShardProcessTest, OfAPartThatIsThereTheFrontEndReadsOut) {
  Processes through(2);
  Fill(through);
  v1::QueryRequest request = Distribution(50);
  request.set_allow_partial(true);
  v1::QueryResponse whole = Answer(*through.memory, request);
  EXPECT_EQ(whole.coverage().shards_answered(), 2U);
  through.StopLastShard();
  const v1::QueryResponse part = Answer(*through.memory, request);
  EXPECT_EQ(part.coverage().shards_total(), 2U);
  EXPECT_THAT(part.coverage().missing_shards(), ElementsAre(1));
  EXPECT_THAT(Items<uint32_t>(part.distribution().found()), ElementsAre(50, 50, 50, 50, 50));
  EXPECT_NE(part.distribution().log_probs(), whole.distribution().log_probs());
  EXPECT_EQ(through.read_outs(), 0.0);

  // A partition is on one shard, which is there and reads out, or is not, and nobody does.
  double there = 0;
  double gone = 0;
  for (uint64_t partition = 1; there == 0 || gone == 0; ++partition) {
    ASSERT_LE(partition, 64U) << "all partitions are on one shard";
    v1::QueryRequest of_one = request;
    of_one.mutable_partitions()->add_partitions(partition);
    v1::QueryResponse response;
    const grpc::Status status = Ask(*through.memory, of_one, &response);
    if (status.ok()) {
      EXPECT_EQ(response.coverage().shards_answered(), 1U);
      ++there;
    } else {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
      ++gone;
    }
  }
  EXPECT_EQ(through.read_outs(), there);
}

TEST(OneShardProcessTest, WithoutItsOneShardNothingIsAnswered) {
  Processes through(1);
  Fill(through);
  v1::QueryRequest request = Distribution(50);
  request.set_allow_partial(true);
  const v1::QueryResponse whole = Answer(*through.memory, request);
  EXPECT_EQ(whole.coverage().shards_total(), 1U);
  EXPECT_EQ(whole.coverage().shards_answered(), 1U);
  EXPECT_EQ(through.read_outs(), 1.0);
  through.StopLastShard();
  v1::QueryResponse response;
  EXPECT_EQ(Ask(*through.memory, request, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace mneme
