// Ten thousand requests that no client would send: only documented codes, never UNKNOWN or INTERNAL, no call above a
// second, and the server answers right afterwards.
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "tests/server/test_server.h"

namespace mneme {
namespace {

constexpr int kRequests = 10'000;

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  std::string Bytes(size_t most) {
    std::string out(Below(most + 1), '\0');
    for (char& c : out) c = static_cast<char>(random_());
    return out;
  }
  uint64_t Number() {
    const uint64_t edges[] = {0, 1, 2, 1'000, 4'096, 4'097, 65'536, 0x7fffffff, 0xffffffff,
                              uint64_t{1} << 62, ~uint64_t{0}};
    return OneIn(3) ? random_() : edges[Below(std::size(edges))];
  }
  double Real() {
    const double edges[] = {0.0, -1.0, 1e-300, 1e300, INFINITY, -INFINITY, NAN, 0.5};
    return edges[Below(std::size(edges))];
  }
  std::string Floats(size_t most) {
    std::vector<float> out(Below(most + 1));
    for (float& x : out) x = OneIn(8) ? static_cast<float>(Real()) : static_cast<float>(Below(100)) * 0.1F;
    return Column(out);
  }

  // Changes one field of a message, or of a message in it, at random.
  void Spoil(google::protobuf::Message& message) {
    const auto* descriptor = message.GetDescriptor();
    if (descriptor->field_count() == 0) return;
    const auto* field = descriptor->field(static_cast<int>(Below(static_cast<uint64_t>(descriptor->field_count()))));
    const auto* reflection = message.GetReflection();
    if (OneIn(5)) return reflection->ClearField(&message, field);
    if (field->is_repeated()) return SpoilRepeated(message, field);
    switch (field->cpp_type()) {
      using F = google::protobuf::FieldDescriptor;
      case F::CPPTYPE_MESSAGE: return Spoil(*reflection->MutableMessage(&message, field));
      case F::CPPTYPE_STRING:
        // Bytes may be anything; text that is not UTF-8 is made by damaging the wire.
        return reflection->SetString(&message, field,
                                     field->type() == F::TYPE_BYTES ? (OneIn(2) ? Bytes(64) : Floats(16)) : Text());
      case F::CPPTYPE_UINT64: return reflection->SetUInt64(&message, field, Number());
      case F::CPPTYPE_INT64: return reflection->SetInt64(&message, field, static_cast<int64_t>(Number()));
      case F::CPPTYPE_UINT32: return reflection->SetUInt32(&message, field, static_cast<uint32_t>(Number()));
      case F::CPPTYPE_INT32: return reflection->SetInt32(&message, field, static_cast<int32_t>(Number()));
      case F::CPPTYPE_DOUBLE: return reflection->SetDouble(&message, field, Real());
      case F::CPPTYPE_FLOAT: return reflection->SetFloat(&message, field, static_cast<float>(Real()));
      case F::CPPTYPE_BOOL: return reflection->SetBool(&message, field, OneIn(2));
      case F::CPPTYPE_ENUM: return reflection->SetEnumValue(&message, field, static_cast<int>(Below(7)));
    }
  }

  // Cuts, flips and splices bytes of a serialised message.
  std::string Damage(std::string bytes) {
    if (bytes.empty()) return Bytes(32);
    if (OneIn(2)) bytes.resize(Below(bytes.size()));
    for (uint64_t i = Below(4); i > 0 && !bytes.empty(); --i) {
      bytes[Below(bytes.size())] = static_cast<char>(random_());
    }
    if (OneIn(3)) bytes.insert(Below(bytes.size() + 1), Bytes(16));
    return bytes;
  }

 private:
  std::string Text() {
    const char* texts[] = {"", "spare", "WIKI", "no/pe", "a", "../../etc/passwd", "caf\xc3\xa9"};
    return OneIn(8) ? std::string(300, 'x') : texts[Below(std::size(texts))];
  }
  void SpoilRepeated(google::protobuf::Message& message, const google::protobuf::FieldDescriptor* field) {
    using F = google::protobuf::FieldDescriptor;
    const auto* reflection = message.GetReflection();
    for (uint64_t i = Below(4); i > 0; --i) {
      if (field->cpp_type() == F::CPPTYPE_DOUBLE) reflection->AddDouble(&message, field, Real());
      if (field->cpp_type() == F::CPPTYPE_UINT32) {
        reflection->AddUInt32(&message, field, static_cast<uint32_t>(Number()));
      }
      if (field->cpp_type() == F::CPPTYPE_UINT64) reflection->AddUInt64(&message, field, Number());
      if (field->cpp_type() == F::CPPTYPE_STRING) reflection->AddString(&message, field, Text());
      if (field->cpp_type() != F::CPPTYPE_MESSAGE) continue;
      // One that is there, or a new one.
      const int size = reflection->FieldSize(message, field);
      const auto at = [&] { return static_cast<int>(Below(static_cast<uint64_t>(size))); };
      Spoil(size > 0 && OneIn(2)
                ? *reflection->MutableRepeatedMessage(&message, field, at())
                : *reflection->AddMessage(&message, field));
    }
  }

  std::mt19937_64 random_;
};

// A valid request of each kind: what the generator starts from.
struct Call {
  std::string method;
  std::unique_ptr<google::protobuf::Message> good;
};

template <typename Request>
Call MakeCall(const std::string& method, const Request& request) {
  return {method, std::make_unique<Request>(request)};
}

std::vector<Call> Calls() {
  const std::string memory = "/mneme.v1.MemoryService/";
  const std::string admin = "/mneme.v1.AdminService/";
  std::vector<Call> calls;
  calls.push_back(MakeCall(memory + "Insert", GoodInsert("wiki")));
  calls.push_back(MakeCall(memory + "Query", GoodQuery("wiki")));
  v1::QueryRequest distribution = GoodQuery("wiki");
  distribution.mutable_distribution()->add_temperatures(1);
  distribution.mutable_distribution()->add_ks(2);
  distribution.mutable_distribution()->set_targets(Column<uint32_t>({7}));
  distribution.mutable_distribution()->mutable_mix()->set_lm_log_probs(Column<float>({-1}));
  calls.push_back(MakeCall(memory + "Query", distribution));
  v1::QueryRequest mixture = distribution;
  mixture.clear_memory();
  for (const char* name : {"wiki", "spare"}) {
    mixture.add_sources()->set_memory(name);
    mixture.mutable_sources(mixture.sources_size() - 1)->set_weight(0.5);
  }
  calls.push_back(MakeCall(memory + "Query", mixture));
  v1::QueryRequest extra = GoodQuery("wiki");
  extra.mutable_extra()->set_offsets(Column<uint64_t>({0, 1}));
  extra.mutable_extra()->set_ids(Column<uint64_t>({2}));
  extra.mutable_neighbours()->set_with_successors(true);
  calls.push_back(MakeCall(memory + "Query", extra));
  v1::QueryRequest attention = GoodQuery("slots");
  attention.mutable_attention()->set_with_weights(true);
  attention.mutable_attention()->set_shrink(0.1);
  *attention.mutable_attention()->mutable_groups()->mutable_contexts() = F32({1, 2}, 2);
  attention.mutable_attention()->mutable_groups()->set_offsets(Column<uint64_t>({0, 1}));
  calls.push_back(MakeCall(memory + "Query", attention));
  v1::QueryRequest entries;
  entries.set_memory("slots");
  entries.mutable_centroids()->set_labels(Column<int64_t>({0}));
  *entries.mutable_centroids()->mutable_rows() = F32({1, 2}, 2);
  calls.push_back(MakeCall(memory + "Query", entries));
  entries.mutable_match()->set_csls_k(1);
  entries.mutable_match()->set_source_memory("rare");
  entries.mutable_match()->set_source_columns(Column<uint32_t>({1}));
  entries.mutable_match()->set_target_columns(Column<uint32_t>({0}));
  entries.mutable_match()->set_source_ids(Column<uint64_t>({1}));
  calls.push_back(MakeCall(memory + "Query", entries));
  entries.mutable_select()->set_mode(v1::SELECT_MODE_SOFTMAX);
  entries.mutable_partitions()->add_partitions(0);
  calls.push_back(MakeCall(memory + "Query", entries));
  v1::RememberRequest remember;
  remember.set_memory("rare");
  *remember.mutable_queries() = F32({1, 2}, 2);
  remember.set_labels(Column<int64_t>({3}));
  remember.set_with_mask(true);
  calls.push_back(MakeCall(memory + "Remember", remember));
  v1::DeleteRequest del;
  del.set_memory("spare");
  del.set_ids(Column<uint64_t>({5}));
  calls.push_back(MakeCall(memory + "Delete", del));
  v1::GetRequest get;
  get.set_memory("wiki");
  get.set_ids(Column<uint64_t>({1}));
  calls.push_back(MakeCall(memory + "Get", get));
  v1::CountRequest count;
  count.set_memory("wiki");
  calls.push_back(MakeCall(memory + "Count", count));
  v1::ScanRequest scan;
  scan.set_memory("wiki");
  scan.set_page_size(2);
  calls.push_back(MakeCall(memory + "Scan", scan));
  v1::InsertStreamRequest insert;
  insert.set_sequence(1);
  *insert.mutable_insert() = GoodInsert("spare");
  calls.push_back(MakeCall(memory + "InsertStream", insert));
  v1::QueryStreamRequest step;
  step.set_step(1);
  *step.mutable_query() = distribution;
  step.mutable_query()->set_memory("spare");
  step.mutable_append()->mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7}));
  step.mutable_append()->set_lm_log_probs(Column<float>({-1}));
  calls.push_back(MakeCall(memory + "QueryStream", step));
  *step.mutable_query() = mixture;
  step.mutable_query()->set_memory("spare");
  calls.push_back(MakeCall(memory + "QueryStream", step));
  const std::string working = "/mneme.v1.WorkingMemoryService/";
  calls.push_back(MakeCall(working + "Apply", GoodApply("wiki")));
  v1::ApplyRequest vectors = GoodApply("wiki");
  *vectors.mutable_operations(0)->mutable_linear()->mutable_keys() = F32({1, 2}, 2);
  *vectors.mutable_operations(0)->mutable_linear()->mutable_values() = F32({1, 2}, 2);
  *vectors.mutable_operations(1)->mutable_feedback_attend()->mutable_queries() = F32({1, 2}, 2);
  *vectors.mutable_operations(1)->mutable_feedback_attend()->mutable_keys() = F32({1, 2}, 2);
  *vectors.mutable_operations(1)->mutable_feedback_attend()->mutable_values() = F32({1, 2}, 2);
  calls.push_back(MakeCall(working + "Apply", vectors));
  v1::ApplyRequest counters = GoodApply("wiki");
  counters.mutable_operations(0)->mutable_counters_add()->set_rows(Column<uint32_t>({1}));
  counters.mutable_operations(0)->mutable_counters_add()->set_columns(Column<uint32_t>({2}));
  counters.mutable_operations(1)->mutable_counters_get();
  calls.push_back(MakeCall(working + "Apply", counters));
  v1::MaskTokensRequest mask;
  mask.set_memory("wiki");
  mask.set_vocabulary("tokens");
  mask.add_rows()->add_strings("ab");
  mask.add_rows()->set_session("chat");
  mask.mutable_rows(1)->set_name("facts");
  mask.set_with_trie(true);
  calls.push_back(MakeCall(working + "MaskTokens", mask));
  v1::ResetSessionsRequest reset;
  reset.set_memory("wiki");
  reset.add_sessions("chat");
  calls.push_back(MakeCall(working + "ResetSessions", reset));
  v1::ForkSessionRequest fork;
  fork.set_memory("wiki");
  fork.set_session("chat");
  fork.set_to("chat/beam");
  fork.set_replace(true);
  calls.push_back(MakeCall(working + "ForkSession", fork));
  v1::GetSessionRequest get_session;
  get_session.set_memory("wiki");
  get_session.set_session("chat");
  calls.push_back(MakeCall(working + "GetSession", get_session));
  v1::PutSessionRequest put_session;
  put_session.set_memory("wiki");
  put_session.set_session("chat");
  put_session.set_content("no session");
  calls.push_back(MakeCall(working + "PutSession", put_session));
  v1::ListSessionsRequest list;
  list.set_memory("wiki");
  list.set_prefix("chat");
  calls.push_back(MakeCall(working + "ListSessions", list));
  v1::CreateMemoryRequest create;
  create.mutable_memory()->set_name("spare");
  create.mutable_memory()->set_dimension(2);
  calls.push_back(MakeCall(admin + "CreateMemory", create));
  v1::GetMemoryRequest get_memory;
  get_memory.set_memory("wiki");
  calls.push_back(MakeCall(admin + "GetMemory", get_memory));
  calls.push_back(MakeCall(admin + "ListMemories", v1::ListMemoriesRequest()));
  v1::DropMemoryRequest drop;
  drop.set_memory("nothing");
  calls.push_back(MakeCall(admin + "DropMemory", drop));
  v1::GetReceiptRequest get_receipt;
  get_receipt.set_memory("wiki");
  get_receipt.set_receipt("AwEAAAAAAAAAAQAAAAAAAQAAAAAAAAA=");
  calls.push_back(MakeCall(memory + "GetReceipt", get_receipt));
  v1::ListReceiptsRequest list_receipts;
  list_receipts.set_memory("wiki");
  list_receipts.set_page_size(10);
  calls.push_back(MakeCall(memory + "ListReceipts", list_receipts));
  v1::AcquireLeaseRequest acquire;
  acquire.set_memory("wiki");
  acquire.set_lease_ms(20);  // so that those of a thousand of them that are well formed leave room for others
  calls.push_back(MakeCall(memory + "AcquireLease", acquire));
  v1::RenewLeaseRequest renew;
  renew.set_lease(std::string(16, 'x'));
  renew.set_lease_ms(20);
  calls.push_back(MakeCall(memory + "RenewLease", renew));
  v1::ReleaseLeaseRequest release;
  release.set_lease(std::string(16, 'x'));
  calls.push_back(MakeCall(memory + "ReleaseLease", release));
  v1::SetAliasRequest alias;
  alias.set_alias("live");
  alias.set_memory("wiki");
  alias.set_expected_memory("wiki");
  calls.push_back(MakeCall(admin + "SetAlias", alias));
  v1::DropAliasRequest drop_alias;
  drop_alias.set_alias("live");
  calls.push_back(MakeCall(admin + "DropAlias", drop_alias));
  calls.push_back(MakeCall(admin + "ListAliases", v1::ListAliasesRequest()));
  calls.push_back(MakeCall(admin + "GetStatistics", v1::GetStatisticsRequest()));
  v1::BuildIndexRequest build;
  build.set_memory("wiki");
  *build.mutable_centroids() = F32({1, 2}, 2);
  *build.mutable_subvectors() = F32({1, 2}, 1);
  calls.push_back(MakeCall(admin + "BuildIndex", build));
  v1::ExportIndexRequest exported;
  exported.set_memory("wiki");
  calls.push_back(MakeCall(admin + "ExportIndex", exported));
  v1::ProbeRecallRequest probe;
  probe.set_memory("wiki");
  probe.set_k(1);
  calls.push_back(MakeCall(admin + "ProbeRecall", probe));
  v1::PruneMemoryRequest prune;
  prune.set_memory("wiki");
  prune.set_dry_run(true);
  *prune.mutable_guard()->mutable_keys() = F32({1, 2}, 2);
  prune.mutable_guard()->set_targets(Column<uint32_t>({7}));
  prune.mutable_guard()->set_lm_log_probs(Column<float>({-1}));
  prune.mutable_guard()->set_k(1);
  calls.push_back(MakeCall(admin + "PruneMemory", prune));
  v1::CreateBackupRequest backup;
  backup.set_keep(1);
  calls.push_back(MakeCall(admin + "CreateBackup", backup));
  calls.push_back(MakeCall(admin + "ListBackups", v1::ListBackupsRequest()));
  v1::ShowClusterRequest show;
  show.set_digest(true);
  calls.push_back(MakeCall(admin + "ShowCluster", show));
  v1::ChangeReplicasRequest change;
  change.set_add("127.0.0.1:7");
  change.set_drain("127.0.0.1:8");
  calls.push_back(MakeCall(admin + "ChangeReplicas", change));
  calls.push_back(MakeCall(admin + "Ping", v1::PingRequest()));
  return calls;
}

TEST(MalformedTest, TenThousandStrangeRequestsGetTheirCodesAndTheServerGoesOn) {
  const char* given = std::getenv("MNEME_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "seed " << seed << " (MNEME_TEST_SEED repeats it)" << std::endl;
  Generator generator(seed);
  TestServer server;
  ASSERT_TRUE(server.Create("wiki", 2).ok());
  ASSERT_TRUE(server.Create("spare", 2).ok());
  ASSERT_TRUE(server.Insert(GoodInsert("wiki")).ok());
  v1::CreateMemoryRequest slots;
  slots.mutable_memory()->set_name("slots");
  slots.mutable_memory()->set_dimension(2);
  slots.mutable_memory()->set_metric(v1::METRIC_COSINE);
  slots.mutable_memory()->set_value_kind(v1::VALUE_KIND_VECTOR);
  slots.mutable_memory()->set_value_dimension(2);
  v1::CreateMemoryRequest rare = slots;
  rare.mutable_memory()->set_name("rare");
  rare.mutable_memory()->set_value_kind(v1::VALUE_KIND_BYTES);
  rare.mutable_memory()->set_value_dimension(0);
  rare.mutable_memory()->set_capacity(4);
  for (const v1::CreateMemoryRequest& create : {slots, rare}) {
    grpc::ClientContext context;
    v1::CreateMemoryResponse response;
    ASSERT_TRUE(server.admin->CreateMemory(&context, create, &response).ok());
  }
  v1::InsertRequest vectors = GoodInsert("slots");
  *vectors.mutable_entries()->mutable_values()->mutable_vectors() = F32({1, 2, 3, 4}, 2);
  ASSERT_TRUE(server.Insert(vectors).ok());
  const std::set<grpc::StatusCode> expected = {
      grpc::StatusCode::OK,           grpc::StatusCode::INVALID_ARGUMENT,    grpc::StatusCode::NOT_FOUND,
      grpc::StatusCode::ALREADY_EXISTS, grpc::StatusCode::FAILED_PRECONDITION, grpc::StatusCode::RESOURCE_EXHAUSTED,
      grpc::StatusCode::ABORTED};
  const std::vector<Call> calls = Calls();
  grpc::GenericStub stub(server.channel());
  std::map<int, int> codes;
  for (int i = 0; i < kRequests; ++i) {
    const Call& call = calls[generator.Below(calls.size())];
    std::unique_ptr<google::protobuf::Message> message(call.good->New());
    message->CopyFrom(*call.good);
    for (uint64_t n = 1 + generator.Below(3); n > 0; --n) generator.Spoil(*message);
    std::string bytes = message->SerializeAsString();
    if (generator.OneIn(3)) bytes = generator.Damage(std::move(bytes));
    const auto start = std::chrono::steady_clock::now();
    const grpc::Status status = SendBytes(stub, call.method, bytes);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1)) << call.method << " request " << i;
    ++codes[status.error_code()];
    ASSERT_TRUE(expected.count(status.error_code()) != 0)
        << call.method << " request " << i << ": " << status.error_code() << " " << status.error_message() << "\n"
        << message->ShortDebugString();
    if (!status.ok()) {
      ASSERT_FALSE(DetailOf(status).reason.empty()) << call.method << ": " << status.error_message();
    }
  }
  for (const auto& [code, count] : codes) std::cout << "code " << code << ": " << count << std::endl;
  EXPECT_GT(codes[grpc::StatusCode::INVALID_ARGUMENT], kRequests / 10);
  EXPECT_GT(codes[grpc::StatusCode::OK], kRequests / 20) << "mutations that stay valid are part of the mix";
  v1::QueryResponse response;
  ASSERT_TRUE(server.Create("after", 2).ok());
  ASSERT_TRUE(server.Insert(GoodInsert("after")).ok());
  ASSERT_TRUE(server.Query(GoodQuery("after"), &response).ok());
  EXPECT_EQ(Items<uint64_t>(response.neighbours().ids()), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(Items<double>(response.neighbours().distances()), (std::vector<double>{0.0, 2.0}));
}

// Each is as long as a message may be, and would be gigabytes once it is parsed.
TEST(MalformedTest, MoreFieldsThanAnyRequestNeedsAreRefusedBeforeTheyTakeRam) {
  TestServer server;
  ASSERT_TRUE(server.Create("wiki", 2).ok());
  grpc::GenericStub stub(server.channel());
  const auto repeated = [](std::string_view field) {
    std::string bytes;
    while (bytes.size() + field.size() <= limits::kMaxMessageBytes - 1024) bytes += field;
    return bytes;
  };
  const std::string operations = repeated(std::string_view("\x12\0", 2));  // ApplyRequest.operations, empty
  const std::string unknown = repeated("\xf8\x07\x01");                    // field 127, a number
  const std::string group = repeated("\xfb\x07\xfc\x07");                  // field 127, an empty group
  const std::string within = repeated(std::string_view("\x0a\0", 2));      // MaskRow.strings, empty
  std::string row = "\x1a";                                                // MaskTokensRequest.rows
  for (size_t size = within.size(); size != 0 || row.size() == 1; size >>= 7) {
    row += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
  }
  const std::string working = "/mneme.v1.WorkingMemoryService/";
  for (const auto& [method, bytes] : std::vector<std::pair<std::string, std::string>>{
           {"Apply", operations}, {"Apply", unknown}, {"Apply", group}, {"MaskTokens", row + within}}) {
    const grpc::Status status = SendBytes(stub, working + method, bytes);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method << ": " << status.error_message();
    EXPECT_THAT(status.error_message(), testing::HasSubstr(std::to_string(limits::kMaxMessageFields))) << method;
    EXPECT_EQ(DetailOf(status).reason, "MALFORMED_REQUEST");
  }
  // What is no message is found by the parser, however deep it goes.
  for (const std::string& bytes : {std::string(3 << 20, '\x12'), std::string(3 << 20, '\xff')}) {
    EXPECT_EQ(DetailOf(SendBytes(stub, working + "Apply", bytes)).reason, "MALFORMED_REQUEST");
  }
}

}  // namespace
}  // namespace mneme
