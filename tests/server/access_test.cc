// Who may call what, over the wire: every RPC of every service, with and without a token; and what changes while a
// server runs.
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <set>

#include "mneme/internal/v1/shard.grpc.pb.h"
#include "security/access_rules.h"
#include "tests/server/access_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

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

// What touches all memories, whatever a request names.
bool IsOfAll(const google::protobuf::MethodDescriptor& method) {
  return method.name() == "CreateBackup" || method.name() == "ListBackups" || method.name() == "ShowCluster" ||
         method.name() == "ChangeReplicas";
}

TEST_F(AccessTest, TheMatrixOfRightsAndRpcsAndMemoriesIsKeptInEveryCell) {
  MakeWiki();
  for (const auto* method : AllMethods()) {
    if (IsInternal(*method)) continue;
    const Need need = NeedOf(*method);
    for (const std::string name : kNames) {
      for (const std::string memory : {"wiki", "secret", "missing"}) {
        if (method->name() == "DropMemory" && memory != "missing") continue;  // others need it; below
        const bool own = (memory == "wiki" && !IsOfAll(*method)) || name == "everything";
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
        EXPECT_THAT(status.error_message(), HasSubstr(IsOfAll(*method) ? "all memories" : "\"" + memory + "\""));
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

// Partitions that a request says, in whatever of its fields it takes them.
struct Asked {
  std::vector<uint64_t> partitions;
  bool all = false;
};

// False when the message has no such field, or none for what is asked.
bool SetPartitions(google::protobuf::Message* message, const Asked& asked) {
  if (auto* insert = dynamic_cast<v1::InsertStreamRequest*>(message)) {
    return SetPartitions(insert->mutable_insert(), asked);
  }
  if (auto* step = dynamic_cast<v1::QueryStreamRequest*>(message)) return SetPartitions(step->mutable_query(), asked);
  const auto* reflection = message->GetReflection();
  if (const auto* one = message->GetDescriptor()->FindFieldByName("partition")) {
    if (asked.all || asked.partitions.size() > 1) return false;
    if (!asked.partitions.empty()) reflection->SetUInt64(message, one, asked.partitions.front());
    return true;
  }
  const auto* several = message->GetDescriptor()->FindFieldByName("partitions");
  if (several == nullptr) return false;
  auto* selection = static_cast<v1::PartitionSelection*>(reflection->MutableMessage(message, several));
  selection->set_all(asked.all);
  for (const uint64_t partition : asked.partitions) selection->add_partitions(partition);
  return true;
}

TEST_F(AccessTest, EveryRpcIsKeptToThePartitionsOfItsGrant) {
  MakeWiki();
  WriteTokens({"zero admin:wiki/0", "seven admin:wiki/7", "both admin:wiki/0 admin:wiki/7", "everything admin:*"});
  server_->Reload();
  const struct {
    Asked asked;
    std::vector<std::string> allowed;
  } rows[] = {
      {{}, {"zero", "both"}},         {{{0}}, {"zero", "both"}}, {{{7}}, {"seven", "both"}},
      {{{8}}, {}},                    {{{0, 7}}, {"both"}},      {{{7, 8}}, {}},
      {{.partitions = {}, .all = true}, {}}, {{.partitions = {7}, .all = true}, {}},
  };
  std::set<std::string> with_partitions;
  for (const auto* method : AllMethods()) {
    const Need need = FindRule(method->service()->full_name(), method->name())->need;
    if (IsInternal(*method) || need == Need::kKnown) continue;
    const std::unique_ptr<google::protobuf::Message> request(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(method->input_type())->New());
    for (const auto& row : rows) {
      request->ParseFromString(RequestFor(*method, "wiki"));
      const bool has = SetPartitions(request.get(), row.asked);
      if (has) with_partitions.insert(method->name());
      for (const std::string name : {"zero", "seven", "both"}) {
        // What takes no partitions is of the memory whole, or tells what it is.
        const bool may = has ? std::count(row.allowed.begin(), row.allowed.end(), name) != 0
                             : method->name() == "GetMemory";
        if (!has && with_partitions.count(method->name()) != 0) continue;
        const grpc::Status status = Ask(name, PathOf(*method), *request);
        EXPECT_EQ(status.error_code() != grpc::StatusCode::PERMISSION_DENIED, may)
            << name << " " << method->name() << " " << request->ShortDebugString() << ": " << status.error_message();
      }
    }
  }
  EXPECT_THAT(with_partitions,
              testing::UnorderedElementsAre("Insert", "InsertStream", "Remember", "Delete", "GetReceipt", "Get", "Scan",
                                            "Count", "Query", "QueryStream", "AcquireLease", "ExportIndex",
                                            "PruneMemory"));
}

TEST_F(AccessTest, StatisticsOfOneMemoryTellNothingOfOthers) {
  MakeWiki();
  const auto admin = v1::AdminService::NewStub(channel_);
  const auto of = [&](const std::string& who, const std::string& memory) {
    v1::GetStatisticsRequest request;
    request.set_memory(memory);
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + TokenOf(who));
    v1::GetStatisticsResponse response;
    const grpc::Status status = admin->GetStatistics(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  ASSERT_TRUE(Ask("writer", "/mneme.v1.MemoryService/Insert", GoodInsert("wiki")).ok());
  const v1::GetStatisticsResponse own = of("reader", "wiki");
  EXPECT_EQ(own.entries(), 2U);
  EXPECT_EQ(own.memories(), 0U);
  EXPECT_EQ(own.store_bytes(), 0U);
  EXPECT_EQ(of("everything", "wiki").memories(), 2U);
  EXPECT_EQ(of("everything", "").memories(), 2U);
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

TEST_F(AccessTest, HealthIsForEverybodyAndReflectionForNobody) {
  EXPECT_TRUE(Send("/grpc.health.v1.Health/Check", "", "").ok());
  EXPECT_EQ(Send("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x00", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace mneme
