// What an operator sees: addresses, logs, metrics, port files, the effective options.
#include <httplib.h>

#include <fstream>
#include <numeric>

#include "server/grpc_log.h"
#include "server/options.h"
#include "tests/server/test_server.h"

namespace mneme {
namespace {

constexpr uint32_t kRows = 600;  // more than are needed for an index

// A directory, and servers that come and go over it.
class OperatorTest : public testing::Test {
 protected:
  OperatorTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_operator_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    options_.data_dir = directory_ + "/data";
    options_.listen = {"127.0.0.1:0"};
    options_.admin_listen = "127.0.0.1:0";
    options_.port_file = directory_ + "/port";
    options_.admin_port_file = directory_ + "/admin_port";
  }
  ~OperatorTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Server> Start() {
    auto server = Server::Start(options_, &log_);
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }
  absl::Status Refused(ServerOptions options) {
    options.data_dir = directory_ + "/other";
    return Server::Start(std::move(options), &log_).status();
  }
  static std::string Fetch(const Server& server, const std::string& path) {
    httplib::Client client("127.0.0.1", server.admin_port());
    const auto response = client.Get(path.c_str());
    return response ? response->body : "no answer";
  }

  std::string directory_;
  ServerOptions options_;
  Log log_{LogFormat::kJson, LogLevel::kInfo};
};

// kRows rows with ids 1 to kRows, whose keys differ with `seed`.
v1::InsertRequest ManyRows(uint32_t seed) {
  std::vector<float> keys;
  std::vector<uint64_t> ids(kRows);
  std::iota(ids.begin(), ids.end(), uint64_t{1});
  for (uint32_t i = 0; i < kRows; ++i) {
    keys.push_back(static_cast<float>((i * 37 + seed) % 101));
    keys.push_back(static_cast<float>((i * 53 + seed) % 97));
  }
  v1::InsertRequest request;
  request.set_memory("wiki");
  *request.mutable_entries()->mutable_keys() = F32(keys, 2);
  request.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(kRows, 7)));
  request.mutable_entries()->set_ids(Column(ids));
  return request;
}

v1::BuildIndexResponse LastOfBuild(v1::AdminService::Stub& admin) {
  grpc::ClientContext context;
  v1::BuildIndexRequest request;
  request.set_memory("wiki");
  const auto reader = admin.BuildIndex(&context, request);
  v1::BuildIndexResponse last;
  v1::BuildIndexResponse next;
  while (reader->Read(&next)) last = next;
  EXPECT_TRUE(reader->Finish().ok());
  return last;
}

TEST_F(OperatorTest, ATakenAdminAddressIsAnErrorThatNamesIt) {
  const auto server = Start();
  ServerOptions second = options_;
  second.admin_listen = "127.0.0.1:" + std::to_string(server->admin_port());
  const absl::Status status = Refused(second);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "admin address " + second.admin_listen + " is taken");
}

TEST_F(OperatorTest, ATakenAddressIsNamedAndGrpcsOwnLinesAreJson) {
  const auto server = Start();
  ServerOptions second = options_;
  second.listen = {"127.0.0.1:0", "127.0.0.1:" + std::to_string(server->port())};
  testing::internal::CaptureStderr();
  absl::Status status;
  {
    const GrpcLog grpc_log(&log_);
    status = Refused(second);
  }
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_EQ(status.message(), "address " + second.listen[1] + " is taken");
  EXPECT_THAT(lines, testing::HasSubstr("\"level\":\"warning\",\"component\":\"grpc\""));
  std::istringstream text(lines);
  for (std::string line; std::getline(text, line);) EXPECT_EQ(line.front(), '{') << line;
}

TEST_F(OperatorTest, AnAddressThatIsNotOfThisMachineSaysSo) {
  options_.listen = {"192.0.2.1:0"};
  options_.insecure_listen = true;
  EXPECT_THAT(std::string(Refused(options_).message()), testing::HasSubstr("192.0.2.1:0 cannot be listened on: "));
}

TEST_F(OperatorTest, PortFilesAreThereOnlyWhileTheServerServes) {
  std::ofstream(options_.port_file) << "1\n";
  auto server = Start();
  int port = 0;
  std::ifstream(options_.port_file) >> port;
  EXPECT_EQ(port, server->port());
  EXPECT_TRUE(std::filesystem::exists(options_.admin_port_file));
  server->Drain();
  EXPECT_FALSE(std::filesystem::exists(options_.port_file));
  EXPECT_FALSE(std::filesystem::exists(options_.admin_port_file));
}

TEST_F(OperatorTest, TheEffectiveOptionsHaveNoZeroThatStandsForSomethingElse) {
  options_.shards = 2;
  Start().reset();
  options_.shards = 0;  // as stored
  const auto server = Start();
  const std::string config = Fetch(*server, "/config");
  EXPECT_THAT(config, testing::HasSubstr("\"shards\":2"));
  for (const char* zero : {"\"search_threads\":0", "\"ram_limit_bytes\":0"}) {
    EXPECT_THAT(config, testing::Not(testing::HasSubstr(zero)));
  }
  for (const char* name : {"port_file", "admin_port_file", "log_format", "log_level", "listen_unix", "drain_delay",
                           "\"disk_reserve_bytes\":1073741824"}) {
    EXPECT_THAT(config, testing::HasSubstr(name));
  }
}

TEST_F(OperatorTest, TheLogTellsWhichFieldWasRefusedAndNotWhatWasInIt) {
  testing::internal::CaptureStderr();
  {
    const auto server = Start();
    const auto channel =
        grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()), grpc::InsecureChannelCredentials());
    const auto admin = v1::AdminService::NewStub(channel);
    const auto memory = v1::MemoryService::NewStub(channel);
    v1::CreateMemoryRequest create;
    create.mutable_memory()->set_name("wiki");
    create.mutable_memory()->set_dimension(2);
    create.mutable_memory()->set_metric(v1::METRIC_L2);
    create.mutable_memory()->set_key_dtype(v1::DTYPE_F32);
    create.mutable_memory()->set_value_kind(v1::VALUE_KIND_TOKEN);
    create.mutable_memory()->set_vocabulary_size(100);
    create.mutable_memory()->mutable_fingerprint()->set_model("gpt");
    v1::CreateMemoryResponse created;
    EXPECT_TRUE(TestServer::Call(&v1::AdminService::Stub::CreateMemory, *admin, create, &created).ok());
    v1::InsertRequest insert = GoodInsert("wiki");
    insert.mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7, 3141592653}));
    v1::InsertResponse inserted;
    const grpc::Status status = TestServer::Call(&v1::MemoryService::Stub::Insert, *memory, insert, &inserted);
    EXPECT_THAT(status.error_message(), testing::HasSubstr("3141592653"));  // the caller is told
  }
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_THAT(lines, testing::Not(testing::HasSubstr("3141592653")));
  EXPECT_THAT(lines, testing::ContainsRegex("\"method\":\"Insert\",\"code\":\"INVALID_ARGUMENT\".*"
                                            "\"reason\":\"INVALID_FIELD\",\"fields\":\"[a-z.]*tokens.1.\""));
}

TEST_F(OperatorTest, ADamagedIndexFileIsAWarningAndCounted) {
  {
    TestServer server(1);
    ASSERT_TRUE(server.Create("wiki", 2).ok());
    ASSERT_TRUE(server.Insert(ManyRows(0)).ok());
    LastOfBuild(*server.admin);
    server.server().Drain();
    std::filesystem::copy(server.directory() + "/data", options_.data_dir, std::filesystem::copy_options::recursive);
  }
  int damaged = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(options_.data_dir)) {
    if (!file.is_regular_file() || file.path().string().find("/index/") == std::string::npos) continue;
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(file.file_size() / 2));
    bytes << "damage";
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  testing::internal::CaptureStderr();
  std::string metrics;
  {
    const auto server = Start();
    metrics = server == nullptr ? "" : Fetch(*server, "/metrics");
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::ContainsRegex("\"level\":\"warning\",\"component\":\"engine\","
                                     "\"msg\":\"index_[a-z]*_rebuilt\""));
  EXPECT_THAT(metrics, testing::ContainsRegex("mneme_index_rebuilt_total\\{kind=\"[a-z]*\"\\} 1"));
}

TEST(AdminCallsTest, ARecallProbeDrawsItsWholeSampleAfterEverythingWasOverwritten) {
  for (const uint32_t shards : {1U, 3U}) {
    TestServer server(shards);
    ASSERT_TRUE(server.Create("wiki", 2).ok());
    ASSERT_TRUE(server.Insert(ManyRows(0)).ok());
    ASSERT_TRUE(server.Insert(ManyRows(1)).ok());
    for (const uint32_t sample : {50U, 700U}) {
      v1::ProbeRecallRequest probe;
      probe.set_memory("wiki");
      probe.set_k(4);
      probe.set_sample(sample);
      v1::ProbeRecallResponse response;
      ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::ProbeRecall, *server.admin, probe, &response).ok());
      EXPECT_EQ(response.queries(), std::min(sample, kRows));
    }
  }
}

TEST_F(OperatorTest, LeasesAndTheRamThatTheyHoldAreMetrics) {
  const auto server = Start();
  ASSERT_NE(server, nullptr);
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()), grpc::InsecureChannelCredentials());
  const auto memory = v1::MemoryService::NewStub(channel);
  const auto admin = v1::AdminService::NewStub(channel);
  v1::CreateMemoryRequest create;
  create.mutable_memory()->set_name("wiki");
  create.mutable_memory()->set_dimension(2);
  create.mutable_memory()->set_metric(v1::METRIC_L2);
  create.mutable_memory()->set_value_kind(v1::VALUE_KIND_TOKEN);
  v1::CreateMemoryResponse created;
  ASSERT_TRUE(TestServer::Call(&v1::AdminService::Stub::CreateMemory, *admin, create, &created).ok());
  v1::InsertResponse inserted;
  ASSERT_TRUE(TestServer::Call(&v1::MemoryService::Stub::Insert, *memory, ManyRows(0), &inserted).ok());
  EXPECT_THAT(Fetch(*server, "/metrics"), testing::HasSubstr("\nmneme_leases 0\n"));
  v1::AcquireLeaseRequest acquire;
  acquire.set_memory("wiki");
  acquire.set_lease_ms(600'000);
  v1::AcquireLeaseResponse granted;
  ASSERT_TRUE(TestServer::Call(&v1::MemoryService::Stub::AcquireLease, *memory, acquire, &granted).ok());
  const std::string metrics = Fetch(*server, "/metrics");
  EXPECT_THAT(metrics, testing::HasSubstr("\nmneme_leases 1\n"));
  EXPECT_THAT(metrics, testing::ContainsRegex("mneme_memory_bytes\\{kind=\"leased_tail_ram\"\\} [1-9]"));
  v1::ReleaseLeaseRequest release;
  release.set_lease(granted.lease());
  v1::ReleaseLeaseResponse released;
  ASSERT_TRUE(TestServer::Call(&v1::MemoryService::Stub::ReleaseLease, *memory, release, &released).ok());
  EXPECT_THAT(Fetch(*server, "/metrics"), testing::HasSubstr("\nmneme_leases 0\n"));
}

TEST(AdminCallsTest, ABuildEndsWithTheRowsThatItSealed) {
  TestServer server(2);
  ASSERT_TRUE(server.Create("wiki", 2).ok());
  v1::InsertRequest rows = ManyRows(0);
  ASSERT_TRUE(server.Insert(rows).ok());
  rows.set_partition(1);
  ASSERT_TRUE(server.Insert(rows).ok());
  v1::BuildIndexResponse last = LastOfBuild(*server.admin);
  EXPECT_EQ(last.stage(), "done");
  EXPECT_EQ(last.rows_done(), 2 * kRows);
  EXPECT_EQ(last.rows_total(), 2 * kRows);
  last = LastOfBuild(*server.admin);
  EXPECT_EQ(last.stage(), "done");
  EXPECT_EQ(last.rows_done(), 0U);
}

ParsedOptions Parse(std::vector<const char*> flags) {
  flags.insert(flags.begin(), "mneme-server");
  return ParseOptions(static_cast<int>(flags.size()), flags.data());
}

TEST(OperatorOptionsTest, OnlyAnAddressOfThisMachineIsLoopback) {
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(Parse({"--data-dir", "d", "--listen", address, "--admin-listen", address}).run) << address;
  }
  for (const char* address : {"127.evil.example:7700", "127.0.0.1.nip.io:7700", "127.1:7700", "localhost.example:1",
                              "::1:7700", "[::]:1", "[::2]:1", "0.0.0.0:1", "LOCALHOST.:1"}) {
    EXPECT_FALSE(Parse({"--data-dir", "d", "--listen", address}).run) << address;
    EXPECT_FALSE(Parse({"--data-dir", "d", "--admin-listen", address}).run) << address;
  }
}

TEST(OperatorOptionsTest, SeveralAddressesInTheEnvironmentAreSeveralAddresses) {
  const std::vector<std::string> both = {"127.0.0.1:1", "[::1]:2"};
  for (const char* text : {"127.0.0.1:1,[::1]:2", "127.0.0.1:1 [::1]:2", "127.0.0.1:1, [::1]:2"}) {
    setenv("MNEME_LISTEN", text, 1);
    EXPECT_EQ(Parse({"--data-dir", "d"}).options.listen, both) << text;
  }
  setenv("MNEME_LISTEN", "127.0.0.1:1,0.0.0.0:2", 1);
  EXPECT_THAT(Parse({"--data-dir", "d"}).text, testing::HasSubstr("0.0.0.0:2"));
  unsetenv("MNEME_LISTEN");
  EXPECT_FALSE(Parse({"--data-dir", "d", "--admin-listen", "127.0.0.1:1,127.0.0.1:2"}).run);
}

TEST(OperatorOptionsTest, AMistypedOptionIsToldTheNearest) {
  EXPECT_THAT(Parse({"--chek-config"}).text,
              testing::HasSubstr("unknown option --chek-config; did you mean --check-config?"));
  EXPECT_THAT(Parse({"--data-dir", "d", "--lisen=x"}).text, testing::HasSubstr("did you mean --listen?"));
  EXPECT_THAT(Parse({"--data-dir", "d", "--wholly-else"}).text, testing::HasSubstr("--wholly-else; see --help"));
}

// Why these are no options; empty when they are.
std::string ComplaintOf(std::vector<const char*> flags) {
  const ParsedOptions parsed = Parse(std::move(flags));
  return parsed.run ? "" : parsed.text;
}

TEST(OperatorOptionsTest, ARoleSaysWhatItNeeds) {
  constexpr char kTwo[] = "127.0.0.1:7710,127.0.0.1:7720";
  EXPECT_EQ(ComplaintOf({"--role", "frontend", "--shard-addresses", kTwo}), "") << "a front end keeps nothing";
  EXPECT_EQ(ComplaintOf({"--role", "shard", "--shard-number", "1", "--shard-addresses", kTwo, "--data-dir", "x"}), "");
  EXPECT_EQ(ComplaintOf({"--data-dir", "x"}), "");
  const auto complains = [](std::vector<const char*> flags, const char* about) {
    EXPECT_THAT(ComplaintOf(std::move(flags)), testing::HasSubstr(about));
  };
  complains({}, "--data-dir is empty");
  complains({"--role", "shard", "--shard-addresses", kTwo}, "--data-dir is empty");
  complains({"--role", "frontend"}, "--shard-addresses has 0 addresses");
  complains({"--role", "frontend", "--shard-addresses", "127.0.0.1:7710,nowhere"}, "has \"nowhere\"");
  complains({"--role", "frontend", "--shard-addresses", "127.0.0.1:0"}, "must be HOST:PORT with the port");
  complains({"--role", "shard", "--shard-number", "2", "--shard-addresses", kTwo, "--data-dir", "x"},
            "--shard-number is 2; must be below the 2");
  complains({"--role", "frontend", "--shards", "3", "--shard-addresses", kTwo}, "--shards is 3; must be 0 or the 2");
  complains({"--data-dir", "x", "--shard-addresses", kTwo}, "--role all has all shards itself");
  complains({"--role", "leader", "--data-dir", "x"}, "--role");
}

}  // namespace
}  // namespace mneme
