// Who may call what, over the wire: every RPC of every service, with and without a token; and what changes while a
// server runs.
#include <google/protobuf/descriptor.h>

#include <fstream>

#include "mneme/internal/v1/shard.grpc.pb.h"
#include "security/access_rules.h"
#include "security/token.h"
#include "tests/server/test_server.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kFiles[] = {"mneme/v1/memory.proto", "mneme/v1/working_memory.proto", "mneme/v1/admin.proto",
                                  "mneme/internal/v1/shard.proto"};

// Every method of every service of ours, as the protos have them.
std::vector<const google::protobuf::MethodDescriptor*> AllMethods() {
  // So that their descriptors are linked in.
  v1::QueryRequest::descriptor();
  v1::ApplyRequest::descriptor();
  v1::PingRequest::descriptor();
  internal::v1::Call::descriptor();
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const char* name : kFiles) {
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(name);
    EXPECT_NE(file, nullptr) << name;
    for (int service = 0; file != nullptr && service < file->service_count(); ++service) {
      for (int i = 0; i < file->service(service)->method_count(); ++i) {
        methods.push_back(file->service(service)->method(i));
      }
    }
  }
  return methods;
}

std::string PathOf(const google::protobuf::MethodDescriptor& method) {
  return "/" + method.service()->full_name() + "/" + method.name();
}

TEST(AccessRulesTest, EveryRpcHasARuleAndEveryRuleAnRpc) {
  const auto methods = AllMethods();
  for (const auto* method : methods) {
    EXPECT_NE(FindRule(method->service()->full_name(), method->name()), nullptr) << PathOf(*method);
  }
  EXPECT_EQ(AccessRules().size(), methods.size());
}

// A server that knows somebody for each right on memory "wiki", for partition 7 of it, and for its alias.
class AccessTest : public testing::Test {
 protected:
  static constexpr const char* kNames[] = {"nobody", "reader", "writer",     "admin",
                                           "tenant", "alias",  "everything", "peer"};

  AccessTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_access_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
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
    channel_.reset();
    server_.reset();
    ServerOptions options;
    options.role = role;
    options.data_dir = directory_ + "/" + RoleName(role);
    options.listen = {"127.0.0.1:0"};
    options.admin_listen = "off";
    options.tokens = directory_ + "/tokens";
    if (role == Role::kShard) options.shard_addresses = {"127.0.0.1:1"};
    auto server = Server::Start(options, &log_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials());
  }
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
    v1::CreateMemoryRequest create;
    for (const char* name : {"wiki", "secret"}) {
      create.mutable_memory()->set_name(name);
      create.mutable_memory()->set_dimension(2);
      create.mutable_memory()->set_metric(v1::METRIC_L2);
      create.mutable_memory()->set_value_kind(v1::VALUE_KIND_TOKEN);
      create.mutable_memory()->set_vocabulary_size(100);
      ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/CreateMemory", create).ok());
    }
    v1::SetAliasRequest alias;
    alias.set_alias("live");
    alias.set_memory("wiki");
    ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/SetAlias", alias).ok());
  }

  Log log_{LogFormat::kJson, LogLevel::kInfo};
  std::string directory_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

bool IsInternal(const google::protobuf::MethodDescriptor& method) {
  return method.service()->full_name().find("internal") != std::string::npos;
}

TEST_F(AccessTest, EveryRpcIsRefusedToWhoIsNotKnownInTheSameWords) {
  const std::string good = TokenOf("everything");
  const std::vector<std::string> unknown = {"", "Bearer mneme_nobody-has-this-0123456789", good, "Basic " + good,
                                            "Bearer", "Bearer ", "Bearer " + good + " ", "Bearer  " + good,
                                            "Bearer " + HexOf(DigestOf(good)), "Bearer " + std::string(3'000, 'x')};
  for (const Role role : {Role::kAll, Role::kShard}) {
    Start(role);
    for (const auto* method : AllMethods()) {
      if (IsInternal(*method) != (role == Role::kShard)) continue;
      std::string words;
      for (const std::string& authorization : unknown) {
        const grpc::Status status = Send(PathOf(*method), "", authorization);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << PathOf(*method) << " " << authorization;
        if (words.empty()) words = status.error_message();
        EXPECT_EQ(status.error_message(), words);
      }
      // What does not parse tells a stranger nothing of the proto.
      EXPECT_EQ(Send(PathOf(*method), "\xff\xff", "").error_code(), grpc::StatusCode::UNAUTHENTICATED);
    }
  }
}

// A request of each type that names memory `name` wherever it takes one, and asks for partition 0. Fields it is wrong
// in otherwise are looked at later.
std::string RequestFor(const google::protobuf::MethodDescriptor& method, const std::string& name) {
  const auto* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(method.input_type());
  const std::unique_ptr<google::protobuf::Message> request(prototype->New());
  const auto set = [&name](google::protobuf::Message* message) {
    for (const char* field_name : {"memory", "alias"}) {
      const auto* field = message->GetDescriptor()->FindFieldByName(field_name);
      if (field == nullptr) continue;
      if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
        message->GetReflection()->SetString(message, field, name);
      } else {
        static_cast<v1::MemoryDescription*>(message->GetReflection()->MutableMessage(message, field))->set_name(name);
      }
    }
  };
  set(request.get());
  if (auto* insert = dynamic_cast<v1::InsertStreamRequest*>(request.get())) {
    insert->set_sequence(1);
    set(insert->mutable_insert());
  }
  if (auto* step = dynamic_cast<v1::QueryStreamRequest*>(request.get())) set(step->mutable_query());
  // An operation of which it is not known that it only reads.
  if (auto* apply = dynamic_cast<v1::ApplyRequest*>(request.get())) apply->add_operations();
  return request->SerializeAsString();
}

// The right that a request of RequestFor() needs, by the table and by what it does.
Need NeedOf(const google::protobuf::MethodDescriptor& method) {
  if (method.name() == "Apply" || method.name() == "Remember") return Need::kWrite;
  return FindRule(method.service()->full_name(), method.name())->need;
}

TEST_F(AccessTest, TheMatrixOfRightsAndRpcsAndMemoriesIsKeptInEveryCell) {
  MakeWiki();
  for (const auto* method : AllMethods()) {
    if (IsInternal(*method)) continue;
    const Need need = NeedOf(*method);
    for (const std::string name : kNames) {
      for (const std::string memory : {"wiki", "secret", "missing"}) {
        if (method->name() == "DropMemory" && memory != "missing") continue;  // others need it; below
        const bool own = memory == "wiki" || name == "everything";
        const bool may = need == Need::kKnown || name == "everything" ||
                         (own && need == Need::kRead && (name == "reader" || name == "writer" || name == "admin")) ||
                         (own && need == Need::kWrite && (name == "writer" || name == "admin")) ||
                         (own && need == Need::kAdmin && name == "admin") ||
                         (own && name == "tenant" && method->name() == "GetMemory");
        const grpc::Status status =
            Send(PathOf(*method), RequestFor(*method, memory), "Bearer " + TokenOf(name));
        EXPECT_EQ(status.error_code() != grpc::StatusCode::PERMISSION_DENIED, may)
            << name << " " << method->name() << " " << memory << ": " << status.error_message();
        EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
        if (may) continue;
        EXPECT_THAT(status.error_message(), HasSubstr(method->name()));
        EXPECT_THAT(status.error_message(), HasSubstr("\"" + memory + "\""));
        EXPECT_EQ(DetailOf(status).reason, "PERMISSION_DENIED");
      }
    }
  }
}

TEST_F(AccessTest, RefusalsTellNothingOfWhatIsThere) {
  MakeWiki();
  for (const auto* method : AllMethods()) {
    if (IsInternal(*method) || FindRule(method->service()->full_name(), method->name())->need == Need::kKnown) continue;
    const auto refusal = [&](const std::string& memory) {
      std::string text =
          Send(PathOf(*method), RequestFor(*method, memory), "Bearer " + TokenOf("reader")).error_message();
      while (text.find(memory) != std::string::npos) text.replace(text.find(memory), memory.size(), "X");
      return text;
    };
    EXPECT_EQ(refusal("secret"), refusal("missing")) << method->name();
  }
}

TEST_F(AccessTest, OnlyPeersAskShards) {
  Start(Role::kShard);
  for (const auto* method : AllMethods()) {
    if (!IsInternal(*method)) continue;
    for (const std::string name : kNames) {
      const grpc::Status status = Send(PathOf(*method), "", "Bearer " + TokenOf(name));
      EXPECT_EQ(status.error_code() != grpc::StatusCode::PERMISSION_DENIED, name == "peer")
          << PathOf(*method) << " " << name << " " << status.error_message();
    }
  }
}

TEST_F(AccessTest, PartitionsAreKeptApart) {
  MakeWiki();
  v1::InsertRequest insert = GoodInsert("wiki");
  EXPECT_EQ(Ask("tenant", "/mneme.v1.MemoryService/Insert", insert).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  insert.set_partition(7);
  EXPECT_TRUE(Ask("tenant", "/mneme.v1.MemoryService/Insert", insert).ok());
  v1::QueryRequest query = GoodQuery("wiki");
  const auto ask = [&] { return Ask("tenant", "/mneme.v1.MemoryService/Query", query).error_code(); };
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED) << "partition 0 where none is named";
  query.mutable_partitions()->add_partitions(7);
  EXPECT_EQ(ask(), grpc::StatusCode::OK);
  query.mutable_partitions()->add_partitions(8);
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED);
  query.mutable_partitions()->clear_partitions();
  query.mutable_partitions()->set_all(true);
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED);
  query.mutable_partitions()->add_partitions(7);
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, EveryMemoryOfAMixtureAndBothSidesOfAMatchAreAsked) {
  MakeWiki();
  v1::QueryRequest query = GoodQuery("");
  query.mutable_distribution();
  for (const char* name : {"wiki", "wiki"}) {
    query.add_sources()->set_memory(name);
    query.mutable_sources(query.sources_size() - 1)->set_weight(1);
  }
  const auto ask = [&] { return Ask("reader", "/mneme.v1.MemoryService/Query", query).error_code(); };
  EXPECT_EQ(ask(), grpc::StatusCode::OK);
  query.mutable_sources(1)->set_memory("secret");
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED);
  query = GoodQuery("wiki");
  query.mutable_match()->set_source_memory("secret");
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED);
  query.mutable_match()->set_source_memory("wiki");
  EXPECT_NE(ask(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, WhatOnlyReadsNeedsNoRightToWrite) {
  MakeWiki();
  v1::ApplyRequest apply = GoodApply("wiki");
  const auto ask = [&] { return Ask("reader", "/mneme.v1.WorkingMemoryService/Apply", apply).error_code(); };
  EXPECT_EQ(ask(), grpc::StatusCode::PERMISSION_DENIED);
  apply.mutable_operations()->DeleteSubrange(0, 1);
  EXPECT_EQ(ask(), grpc::StatusCode::OK);
  v1::RememberRequest remember;
  remember.set_memory("wiki");
  EXPECT_EQ(Ask("reader", "/mneme.v1.MemoryService/Remember", remember).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  remember.set_learn(false);
  EXPECT_NE(Ask("reader", "/mneme.v1.MemoryService/Remember", remember).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, ListsNameOnlyWhatMayBeRead) {
  MakeWiki();
  const auto admin = v1::AdminService::NewStub(channel_);
  const auto names = [&](const std::string& who) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "bearer " + TokenOf(who));
    v1::ListMemoriesResponse response;
    EXPECT_TRUE(admin->ListMemories(&context, {}, &response).ok());
    std::string all;
    for (const auto& memory : response.memories()) all += memory.name() + " ";
    grpc::ClientContext other;
    other.AddMetadata("authorization", "bearer " + TokenOf(who));
    v1::ListAliasesResponse aliases;
    EXPECT_TRUE(admin->ListAliases(&other, {}, &aliases).ok());
    for (const auto& alias : aliases.aliases()) all += "@" + alias.alias() + " ";
    return all;
  };
  EXPECT_EQ(names("nobody"), "");
  EXPECT_EQ(names("tenant"), "wiki ");
  EXPECT_EQ(names("alias"), "@live ");
  EXPECT_EQ(names("everything"), "secret wiki @live ");
}

// A stream whose messages are sent and answered one by one.
class Steps {
 public:
  Steps(const std::shared_ptr<grpc::Channel>& channel, const std::string& token)
      : stub_(v1::MemoryService::NewStub(channel)) {
    context_.AddMetadata("authorization", "Bearer " + token);
    stream_ = stub_->QueryStream(&context_);
  }
  bool Ask(const v1::QueryStreamRequest& step) {
    v1::QueryStreamResponse response;
    return stream_->Write(step) && stream_->Read(&response);
  }
  grpc::Status End() {
    stream_->WritesDone();
    v1::QueryStreamResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::MemoryService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::QueryStreamRequest, v1::QueryStreamResponse>> stream_;
};

v1::QueryStreamRequest Step(uint64_t number, const std::string& memory, bool append) {
  v1::QueryStreamRequest step;
  step.set_step(number);
  *step.mutable_query() = GoodQuery(memory);
  if (append) step.mutable_append()->mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7}));
  return step;
}

TEST_F(AccessTest, AStreamGoesOnUnderTheNamesThatItWasAskedBy) {
  MakeWiki();
  Steps steps(channel_, TokenOf("alias"));
  EXPECT_TRUE(steps.Ask(Step(1, "live", false)));
  EXPECT_TRUE(steps.Ask(Step(2, "", true))) << "its template has the memory's own name by now";
  EXPECT_TRUE(steps.Ask(Step(3, "", true)));
  EXPECT_FALSE(steps.Ask(Step(4, "wiki", false)));
  EXPECT_THAT(steps.End().error_message(), HasSubstr("\"read\" on memory \"wiki\""));
  Steps reader(channel_, TokenOf("reader"));
  EXPECT_TRUE(reader.Ask(Step(1, "wiki", false)));
  EXPECT_FALSE(reader.Ask(Step(2, "", true)));
  EXPECT_THAT(reader.End().error_message(), HasSubstr("\"write\" on memory \"wiki\", partition 0"));
}

TEST_F(AccessTest, ATokenThatIsTakenAwayEndsItsStreamsAtTheirNextMessage) {
  MakeWiki();
  Steps steps(channel_, TokenOf("reader"));
  EXPECT_TRUE(steps.Ask(Step(1, "wiki", false)));
  // Its grants may change, too.
  WriteTokens({"reader read:wiki", "everything admin:*"});
  server_->Reload();
  EXPECT_TRUE(steps.Ask(Step(2, "", false)));
  WriteTokens({"everything admin:*"});
  server_->Reload();
  EXPECT_FALSE(steps.Ask(Step(3, "", false)));
  EXPECT_EQ(steps.End().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AccessTest, ABrokenFileIsNotTakenAndSaysWhy) {
  MakeWiki();
  testing::internal::CaptureStderr();
  std::ofstream(directory_ + "/tokens") << kTokenFileHeader << "\nreader nothing\n";
  server_->Reload();
  std::filesystem::remove(directory_ + "/tokens");
  server_->Reload();
  EXPECT_EQ(Ping("reader").error_code(), grpc::StatusCode::OK);
  std::ofstream(directory_ + "/tokens") << kTokenFileHeader << "\n";
  server_->Reload();
  EXPECT_EQ(Ping("reader").error_code(), grpc::StatusCode::UNAUTHENTICATED) << "nobody is known now";
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("line 2: has no sha256:"));
  EXPECT_THAT(log, HasSubstr("cannot be read"));
}

TEST_F(AccessTest, TwoTokensOfOneNameAreValidTogether) {
  std::ofstream(directory_ + "/tokens", std::ios::app)
      << "reader sha256:" << HexOf(DigestOf("mneme_the-next-0123456789")) << " read:wiki\n";
  server_->Reload();
  for (const std::string& token : {TokenOf("reader"), std::string("mneme_the-next-0123456789")}) {
    EXPECT_TRUE(Send("/mneme.v1.AdminService/Ping", "", "Bearer " + token).ok());
  }
}

TEST_F(AccessTest, AQuotaIsOfANameAndSaysWhenToComeBack) {
  WriteTokens({"reader read:wiki requests/s:1", "writer write:wiki entries/s:1", "everything admin:*"});
  server_->Reload();
  MakeWiki();
  grpc::Status refused;
  for (int i = 0; i < 500 && refused.ok(); ++i) refused = Ping("reader");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailOf(refused).reason, "RATE_LIMIT");
  EXPECT_TRUE(DetailOf(refused).has_retry);
  EXPECT_TRUE(Ping("everything").ok());
  // One insert that is a hundred seconds' worth, and no other.
  v1::InsertRequest insert;
  insert.set_memory("wiki");
  *insert.mutable_entries()->mutable_keys() = F32(std::vector<float>(200, 1), 2);
  insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(100, 7)));
  EXPECT_TRUE(Ask("writer", "/mneme.v1.MemoryService/Insert", insert).ok());
  EXPECT_EQ(Ask("writer", "/mneme.v1.MemoryService/Insert", GoodInsert("wiki")).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Ask("writer", "/mneme.v1.MemoryService/Query", GoodQuery("wiki")).ok()) << "it writes nothing";
}

TEST_F(AccessTest, HealthIsForEverybodyAndReflectionForNobody) {
  EXPECT_TRUE(Send("/grpc.health.v1.Health/Check", "", "").ok());
  EXPECT_EQ(Send("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x00", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(AccessTest, TheLogTellsWhoAdministeredWhatAndNoToken) {
  testing::internal::CaptureStderr();
  MakeWiki();
  v1::DropMemoryRequest drop;
  drop.set_memory("wiki");
  EXPECT_EQ(Ask("reader", "/mneme.v1.AdminService/DropMemory", drop).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Ask("unknown", "/mneme.v1.AdminService/DropMemory", drop).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  drop.set_memory("secret");
  EXPECT_TRUE(Ask("everything", "/mneme.v1.AdminService/DropMemory", drop).ok());
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("\"component\":\"audit\",\"msg\":\"CreateMemory\",\"caller\":\"everything\",\"peer\":"));
  for (const char* line : {"\"DropMemory\",\"caller\":\"reader\",[^\n]*\"wiki\",\"code\":\"PERMISSION_DENIED\"",
                           "\"DropMemory\",\"caller\":\"\",[^\n]*\"code\":\"UNAUTHENTICATED\"",
                           "\"DropMemory\",\"caller\":\"everything\",[^\n]*\"secret\",\"code\":\"OK\""}) {
    EXPECT_THAT(log, testing::ContainsRegex(line));
  }
  EXPECT_THAT(log, Not(HasSubstr("canary")));
  EXPECT_THAT(log, Not(HasSubstr(HexOf(DigestOf(TokenOf("everything"))))));
}

}  // namespace
}  // namespace mneme
