// A server's life: health, reflection, metrics, drain.
#include <httplib.h>

#include <atomic>
#include <fstream>
#include <map>
#include <thread>

#include "grpc/health/v1/health.pb.h"
#include "tests/server/test_server.h"

namespace mneme {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

grpc::Status CheckHealth(TestServer& server, const std::string& service, HealthCheckResponse* response) {
  HealthCheckRequest request;
  request.set_service(service);
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check", grpc::internal::RpcMethod::NORMAL_RPC);
  return grpc::internal::BlockingUnaryCall<HealthCheckRequest, HealthCheckResponse>(server.channel().get(), method,
                                                                                   &context, request, response);
}

std::string Fetch(TestServer& server, const std::string& path) {
  httplib::Client client("127.0.0.1", server.server().admin_port());
  const auto response = client.Get(path.c_str());
  return response ? std::to_string(response->status) + " " + response->body : "no answer";
}

TEST(LifecycleTest, HealthIsServingForEveryService) {
  TestServer server;
  for (const char* service :
       {"", "mneme.v1.MemoryService", "mneme.v1.WorkingMemoryService", "mneme.v1.AdminService"}) {
    HealthCheckResponse response;
    ASSERT_TRUE(CheckHealth(server, service, &response).ok()) << service;
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
  HealthCheckResponse response;
  EXPECT_EQ(CheckHealth(server, "nothing", &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(LifecycleTest, ThePortFileHoldsThePort) {
  TestServer server;
  std::ifstream file(server.directory() + "/port");
  int port = 0;
  file >> port;
  EXPECT_EQ(port, server.server().port());
}

TEST(LifecycleTest, ReflectionDescribesEveryServiceThatIsServed) {
  TestServer server;
  grpc::GenericStub stub(server.channel());
  const std::string method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  std::string answer;
  // ServerReflectionRequest.list_services (field 7).
  ASSERT_TRUE(SendBytes(stub, method, std::string("\x3a\x01*"), &answer).ok());
  for (const std::string service : {"mneme.v1.MemoryService", "mneme.v1.WorkingMemoryService", "mneme.v1.AdminService",
                                    "grpc.health.v1.Health"}) {
    EXPECT_THAT(answer, testing::HasSubstr(service));
  }
  // ServerReflectionRequest.file_containing_symbol (field 4): the file names its messages.
  for (const auto& [service, message] : std::map<std::string, std::string>{
           {"mneme.v1.MemoryService", "InsertRequest"},
           {"mneme.v1.WorkingMemoryService", "ApplyRequest"},
           {"grpc.health.v1.Health", "HealthCheckRequest"}}) {
    const std::string request = std::string("\x22") + static_cast<char>(service.size()) + service;
    std::string file;
    ASSERT_TRUE(SendBytes(stub, method, request, &file).ok());
    EXPECT_THAT(file, testing::HasSubstr(message));
  }
}

TEST(LifecycleTest, TheAdminPortTellsMetricsAndReadiness) {
  TestServer server;
  ASSERT_TRUE(server.Create("wiki", 2).ok());
  ASSERT_TRUE(server.Insert(GoodInsert("wiki")).ok());
  ASSERT_TRUE(server.Query(GoodQuery("wiki")).ok());
  v1::QueryRequest bad = GoodQuery("wiki");
  bad.set_k(0);
  EXPECT_FALSE(server.Query(bad).ok());
  EXPECT_EQ(Fetch(server, "/healthz"), "200 ok\n");
  EXPECT_EQ(Fetch(server, "/readyz"), "200 ok\n");
  EXPECT_THAT(Fetch(server, "/version"), testing::HasSubstr("\"version\":"));
  EXPECT_THAT(Fetch(server, "/config"), testing::HasSubstr("\"data_dir\":"));
  const std::string metrics = Fetch(server, "/metrics");
  for (const char* name :
       {"grpc_server_started_total", "grpc_server_handling_seconds_bucket", "mneme_search_seconds_count",
        "mneme_queue_depth", "mneme_tail_rows", "mneme_segments", "mneme_memory_bytes", "mneme_benefit_tokens_total",
        "mneme_benefit_nats_total", "mneme_build_info", "process_resident_memory_bytes",
        "\nmneme_disk_reserve_bytes 1073741824", "\nmneme_writes_refused{kind=\"disk\"} 0"}) {
    EXPECT_THAT(metrics, testing::HasSubstr(name));
  }
  EXPECT_THAT(metrics, testing::HasSubstr("\nmneme_entries 2"));
  EXPECT_THAT(metrics, testing::ContainsRegex("grpc_server_handled_total\\{[^}]*InvalidArgument[^}]*\\} 1"));
}

TEST(LifecycleTest, DrainEndsAnIdleStreamAndAnswersWhatWasAccepted) {
  TestServer server;
  ASSERT_TRUE(server.Create("wiki", 2).ok());
  grpc::ClientContext context;
  auto stream = server.memory->QueryStream(&context);
  v1::QueryStreamRequest step;
  step.set_step(1);
  *step.mutable_query() = GoodQuery("wiki");
  ASSERT_TRUE(stream->Write(step));
  v1::QueryStreamResponse response;
  ASSERT_TRUE(stream->Read(&response));
  const auto start = std::chrono::steady_clock::now();
  std::thread drain([&] { server.server().Drain(); });
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  drain.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(DetailOf(status).reason, "DRAINING");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(limits::kDrainSeconds));
}

TEST(LifecycleTest, NoUnaryCallFailsOtherwiseThanUnavailableWhileDraining) {
  TestServer server;
  ASSERT_TRUE(server.Create("wiki", 2).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([&] {
      while (!stop) {
        const grpc::Status status = server.Query(GoodQuery("wiki"));
        if (status.ok()) {
          ++answered;
        } else {
          EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
          return;
        }
      }
    });
  }
  while (answered < 100) std::this_thread::yield();
  server.server().Drain();
  stop = true;
  for (std::thread& client : clients) client.join();
}

TEST(LifecycleTest, ASecondServerOnTheSamePortIsRefused) {
  TestServer server;
  Log log(LogFormat::kJson, LogLevel::kError);
  ServerOptions options;
  options.data_dir = server.directory() + "/other";
  options.listen = {"127.0.0.1:" + std::to_string(server.server().port())};
  options.admin_listen = "off";
  const auto second = Server::Start(options, &log);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace mneme
