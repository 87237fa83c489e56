// A server that knows somebody of each kind, and what these ask.
#ifndef MNEME_TESTS_SERVER_ACCESS_FIXTURE_H_
#define MNEME_TESTS_SERVER_ACCESS_FIXTURE_H_

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "security/token.h"
#include "tests/server/test_server.h"

namespace mneme {

// A server that knows somebody for each right on memory "wiki", for partition 7 of it, and for its alias.
class AccessTest : public testing::Test {
 protected:
  static constexpr const char* kNames[] = {"nobody", "reader", "writer",     "admin",
                                           "tenant", "alias",  "everything", "peer"};

  AccessTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_access_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    umask(0077);  // a token file that others may write is refused
    WriteTokens({"nobody", "reader read:wiki", "writer write:wiki", "admin admin:wiki", "tenant write:wiki/7",
                 "alias write:live read:pool", "everything admin:*", "peer peer"});
    Start(Role::kAll);
  }
  ~AccessTest() override {
    channel_.reset();
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  void Start(Role role) {
    ServerOptions options;
    options.role = role;
    if (role == Role::kShard) options.shard_addresses = {"127.0.0.1:1"};
    Start(std::move(options));
    channel_ = grpc::CreateChannel(Address(), grpc::InsecureChannelCredentials());
  }
  void Start(ServerOptions options) {
    channel_.reset();
    server_.reset();
    options.data_dir = directory_ + "/" + RoleName(options.role);
    options.listen = {"127.0.0.1:0"};
    options.admin_listen = "off";
    options.tokens = directory_ + "/tokens";
    auto server = Server::Start(options, &log_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Address() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  static std::string TokenOf(const std::string& name) { return "mneme_canary-" + name + "-0123456789"; }
  // Lines without their hashes.
  void WriteTokens(const std::vector<std::string>& lines) {
    std::ofstream file(directory_ + "/tokens");
    file << kTokenFileHeader << "\n";
    for (const std::string& line : lines) {
      const size_t space = std::min(line.find(' '), line.size());
      const std::string name = line.substr(0, space);
      file << name << " sha256:" << HexOf(DigestOf(TokenOf(name))) << line.substr(space) << "\n";
    }
  }
  // Its memory is another than what it was, of the same name.
  void MakeAnew(const std::string& name) {
    v1::DropMemoryRequest drop;
    drop.set_memory(name);
    ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/DropMemory", drop).ok());
    Make(name);
  }
  void Make(const std::string& name, uint32_t dimension = 2) {
    v1::CreateMemoryRequest create;
    create.mutable_memory()->set_name(name);
    create.mutable_memory()->set_dimension(dimension);
    create.mutable_memory()->set_metric(v1::METRIC_L2);
    create.mutable_memory()->set_value_kind(v1::VALUE_KIND_TOKEN);
    create.mutable_memory()->set_vocabulary_size(100);
    ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/CreateMemory", create).ok());
  }
  void Point(const std::string& name, const std::string& memory) {
    v1::SetAliasRequest alias;
    alias.set_alias(name);
    alias.set_memory(memory);
    ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/SetAlias", alias).ok());
  }
  uint64_t CountOf(const std::string& name) {
    v1::CountRequest count;
    count.set_memory(name);
    count.mutable_partitions()->set_all(true);
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + TokenOf("everything"));
    v1::CountResponse response;
    EXPECT_TRUE(v1::MemoryService::NewStub(channel_)->Count(&context, count, &response).ok());
    return response.count();
  }

  // One request message to a method of any kind, and its status. Empty `authorization`: none.
  grpc::Status Send(const std::string& path, const std::string& bytes, const std::string& authorization) {
    grpc::GenericStub stub(channel_);
    return SendBytes(stub, path, bytes, nullptr, authorization);
  }
  grpc::Status Ask(const std::string& name, const std::string& path, const google::protobuf::Message& request) {
    return Send(path, request.SerializeAsString(), "Bearer " + TokenOf(name));
  }
  grpc::Status Ping(const std::string& name) { return Ask(name, "/mneme.v1.AdminService/Ping", v1::PingRequest()); }
  void MakeWiki() {
    Make("wiki");
    Make("secret");
    Point("live", "wiki");
  }

  Log log_{LogFormat::kJson, LogLevel::kInfo};
  std::string directory_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace mneme

#endif  // MNEME_TESTS_SERVER_ACCESS_FIXTURE_H_
