// What changes while a call goes on: streams whose names, tokens and grants change under them; quotas; the log.
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <thread>

#include "security/channel_security.h"
#include "server/progress_stream.h"
#include "tests/server/access_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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

// Batches that are sent and acknowledged one by one; sequences are counted.
class Batches {
 public:
  Batches(const std::shared_ptr<grpc::Channel>& channel, const std::string& token)
      : stub_(v1::MemoryService::NewStub(channel)) {
    context_.AddMetadata("authorization", "Bearer " + token);
    stream_ = stub_->InsertStream(&context_);
  }
  // Empty `memory`: that of the last.
  bool Insert(const std::string& memory) {
    v1::InsertStreamRequest request;
    request.set_sequence(++sequence_);
    *request.mutable_insert() = GoodInsert(memory);
    v1::InsertStreamResponse response;
    return stream_->Write(request) && stream_->Read(&response);
  }
  grpc::Status End() {
    stream_->WritesDone();
    v1::InsertStreamResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::MemoryService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::InsertStreamRequest, v1::InsertStreamResponse>> stream_;
  uint64_t sequence_ = 0;
};

// `count` entries of ids 0, 1, 2, ...
v1::InsertRequest ManyEntries(const std::string& memory, uint32_t count, uint32_t dimension = 2) {
  v1::InsertRequest insert;
  insert.set_memory(memory);
  *insert.mutable_entries()->mutable_keys() = F32(std::vector<float>(size_t{count} * dimension, 1), dimension);
  insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(count, 7)));
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  insert.mutable_entries()->set_ids(Column(ids));
  return insert;
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

TEST_F(AccessTest, AnInsertStreamGoesOnUnderTheAliasThatItWasAskedBy) {
  MakeWiki();
  Batches batches(channel_, TokenOf("alias"));
  EXPECT_TRUE(batches.Insert("live"));
  EXPECT_TRUE(batches.Insert("")) << "its template has the memory's own name by now";
  EXPECT_FALSE(batches.Insert("wiki"));
  EXPECT_THAT(batches.End().error_message(), HasSubstr("\"write\" on memory \"wiki\""));
}

TEST_F(AccessTest, AnInsertStreamUnderAnAliasWritesNothingIntoAMemoryThatOthersMadeOfTheOldOnesName) {
  MakeWiki();
  Batches batches(channel_, TokenOf("alias"));
  EXPECT_TRUE(batches.Insert("live"));
  Point("live", "secret");
  MakeAnew("wiki");
  EXPECT_FALSE(batches.Insert(""));
  const grpc::Status ended = batches.End();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::NOT_FOUND) << ended.error_message();
  EXPECT_EQ(DetailOf(ended).reason, "MEMORY_NOT_FOUND");
  EXPECT_EQ(CountOf("wiki"), 0U);
  // Named again it is what the alias means now.
  Batches again(channel_, TokenOf("alias"));
  EXPECT_TRUE(again.Insert("live"));
  EXPECT_EQ(CountOf("secret"), 2U);
}

TEST_F(AccessTest, AMixtureUnderAnAliasReadsNothingOfAMemoryThatOthersMadeOfTheOldOnesName) {
  MakeWiki();
  ASSERT_TRUE(Ask("everything", "/mneme.v1.MemoryService/Insert", GoodInsert("wiki")).ok());
  v1::QueryStreamRequest first = Step(1, "", false);
  first.mutable_query()->mutable_distribution();
  first.mutable_query()->add_sources()->set_memory("live");
  first.mutable_query()->mutable_sources(0)->set_weight(1);
  Steps steps(channel_, TokenOf("alias"));
  EXPECT_TRUE(steps.Ask(first));
  EXPECT_TRUE(steps.Ask(Step(2, "", false)));
  Point("live", "secret");
  EXPECT_TRUE(steps.Ask(Step(3, "", false))) << "it goes on with what it began with";
  MakeAnew("wiki");
  EXPECT_FALSE(steps.Ask(Step(4, "", false)));
  EXPECT_EQ(DetailOf(steps.End()).reason, "MEMORY_NOT_FOUND");
}

TEST_F(AccessTest, StreamsAreKeptToThePartitionsOfTheirGrants) {
  MakeWiki();
  const auto end_of = [&](const v1::QueryStreamRequest& step) {
    Steps steps(channel_, TokenOf("tenant"));
    steps.Ask(step);
    return steps.End().error_code();
  };
  v1::QueryStreamRequest step = Step(1, "wiki", true);
  step.mutable_query()->mutable_partitions()->add_partitions(7);
  EXPECT_EQ(end_of(step), grpc::StatusCode::PERMISSION_DENIED) << "it appends to partition 0";
  step.mutable_append()->set_partition(7);
  EXPECT_EQ(end_of(step), grpc::StatusCode::OK);
  step.mutable_append()->set_partition(8);
  EXPECT_EQ(end_of(step), grpc::StatusCode::PERMISSION_DENIED);
  step.clear_append();
  step.mutable_query()->mutable_match()->mutable_source_partitions()->add_partitions(8);
  EXPECT_EQ(end_of(step), grpc::StatusCode::PERMISSION_DENIED);
  step = Step(1, "", false);
  step.mutable_query()->mutable_distribution();
  auto* source = step.mutable_query()->add_sources();
  source->set_memory("wiki");
  source->set_weight(1);
  source->mutable_partitions()->add_partitions(7);
  EXPECT_EQ(end_of(step), grpc::StatusCode::OK);
  source->mutable_partitions()->set_partitions(0, 8);
  EXPECT_EQ(end_of(step), grpc::StatusCode::PERMISSION_DENIED);
}

// What is read of a server stream after the first message, once the token was taken away.
template <typename Response, typename Reader>
grpc::Status ReadOn(Reader& reader, const std::function<void()>& take_away, size_t& read) {
  Response response;
  EXPECT_TRUE(reader.Read(&response));
  take_away();
  for (read = 1; reader.Read(&response); ++read) {
  }
  return reader.Finish();
}

TEST_F(AccessTest, ATokenThatIsTakenAwayEndsAScan) {
  MakeWiki();
  constexpr uint32_t kEntries = 60'000;  // far more than what the transport holds
  ASSERT_TRUE(Ask("everything", "/mneme.v1.MemoryService/Insert", ManyEntries("wiki", kEntries)).ok());
  v1::ScanRequest scan;
  scan.set_memory("wiki");
  scan.set_page_size(10);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + TokenOf("reader"));
  const auto stub = v1::MemoryService::NewStub(channel_);
  const auto reader = stub->Scan(&context, scan);
  size_t read = 0;
  const grpc::Status status = ReadOn<v1::ScanResponse>(*reader, [this] {
    WriteTokens({"everything admin:*"});
    server_->Reload();
  }, read);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
  EXPECT_LT(read, kEntries / 10);
}

TEST_F(AccessTest, AGrantThatIsTakenAwayEndsAnExport) {
  Make("wiki", 1'024);
  // 64 MiB of keys: far more than what the transport holds.
  v1::InsertRequest insert = ManyEntries("wiki", 1'024, 1'024);
  insert.mutable_entries()->clear_ids();
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(Ask("everything", "/mneme.v1.MemoryService/Insert", insert).ok());
  v1::BuildIndexRequest build;
  build.set_memory("wiki");
  *build.mutable_centroids() = F32(std::vector<float>(1'024 * 3, 0.5F), 1'024);
  ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/BuildIndex", build).ok());
  v1::ExportIndexRequest request;
  request.set_memory("wiki");
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + TokenOf("reader"));
  const auto stub = v1::AdminService::NewStub(channel_);
  const auto reader = stub->ExportIndex(&context, request);
  size_t read = 0;
  const grpc::Status status = ReadOn<v1::ExportIndexResponse>(*reader, [this] {
    WriteTokens({"reader read:other", "everything admin:*"});
    server_->Reload();
  }, read);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << status.error_message();
}

// A service of which one call works for as long as a test likes.
std::atomic<int> told_rounds{0};
std::atomic<bool> token_is_gone{false};

absl::Status WorkSlowly(const CallContext&, const v1::BuildIndexRequest&, const Tell<v1::BuildIndexResponse>& tell) {
  while (true) {
    const bool last = token_is_gone;
    if (!tell(v1::BuildIndexResponse())) return absl::CancelledError("nobody listens");
    ++told_rounds;
    if (last) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

class SlowService final : public v1::AdminService::WithRawCallbackMethod_BuildIndex<v1::AdminService::Service> {
 public:
  explicit SlowService(FrontEnd& front_end)
      : front_end_(front_end),
        method_(MakeMethod(front_end, "mneme.v1.AdminService", "BuildIndex", "server_stream")) {}
  grpc::ServerWriteReactor<grpc::ByteBuffer>* BuildIndex(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* in) override {
    using Stream = ProgressStream<v1::BuildIndexRequest, v1::BuildIndexResponse>;
    return Stream::Start(front_end_, front_end_.long_calls(), method_, context, in, WorkSlowly);
  }

 private:
  FrontEnd& front_end_;
  const RpcMethod method_;
};

TEST_F(AccessTest, ATokenThatIsTakenAwayEndsWhatWorksForMinutes) {
  auto access = *AccessControl::New(directory_ + "/tokens");
  Metrics metrics;
  FrontEnd front_end(&log_, &metrics, access.get(), 1);
  front_end.Serve(&server_->deployment());
  SlowService service(front_end);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto stub = v1::AdminService::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  v1::BuildIndexRequest request;
  request.set_memory("wiki");
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + TokenOf("admin"));
  const auto reader = stub->BuildIndex(&context, request);
  size_t read = 0;
  const grpc::Status status = ReadOn<v1::BuildIndexResponse>(*reader, [&] {
    WriteTokens({"everything admin:*"});
    ASSERT_TRUE(access->Reload().ok());
    token_is_gone = true;
  }, read);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
  EXPECT_GT(told_rounds, 0);
  server->Shutdown();
}

// Mutual TLS by an authority of the test.
TEST_F(AccessTest, WhereCertificatesAreAskedForAStreamEndsThoughItsClientGoesOn) {
  const char* source = std::getenv("MNEME_SOURCE_DIR");
  const std::string command = std::string(source != nullptr ? source : ".") + "/deploy/certificates " + directory_ +
                              " both DNS:localhost IP:127.0.0.1 > /dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  ServerOptions options;
  options.tls = {directory_ + "/both.pem", directory_ + "/both.key", directory_ + "/ca.pem"};
  options.connection_age = absl::Milliseconds(500);
  Start(std::move(options));
  ChannelSecurityOptions files;
  files.files = {directory_ + "/both.pem", directory_ + "/both.key", directory_ + "/ca.pem"};
  const auto security = ChannelSecurity::New(files);
  ASSERT_TRUE(security.ok()) << security.status();
  channel_ = OpenChannel(Address(), security->get(), grpc::ChannelArguments());
  MakeWiki();
  Steps steps(channel_, TokenOf("reader"));
  EXPECT_TRUE(steps.Ask(Step(1, "wiki", false)));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  uint64_t number = 1;
  while (steps.Ask(Step(++number, "", false)) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_LT(std::chrono::steady_clock::now(), end) << "its connection has no end";
  EXPECT_EQ(steps.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Ping("reader").ok()) << "another connection is made";
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

TEST_F(AccessTest, WhatIsRefusedTakesFromTheQuotaToo) {
  WriteTokens({"reader read:wiki requests/s:1", "tenant read:wiki bytes/s:100", "everything admin:*"});
  server_->Reload();
  const auto last_of = [&](const std::string& name, const std::string& bytes) {
    grpc::Status status;
    for (int i = 0; i < 500 && status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED; ++i) {
      status = Send("/mneme.v1.AdminService/DropMemory", bytes, "Bearer " + TokenOf(name));
      EXPECT_FALSE(status.ok());
    }
    return DetailOf(status).reason;
  };
  v1::DropMemoryRequest drop;
  drop.set_memory("wiki");
  EXPECT_EQ(last_of("reader", drop.SerializeAsString()), "RATE_LIMIT") << "he may not";
  EXPECT_EQ(last_of("tenant", std::string(1'000, '\xff')), "RATE_LIMIT") << "it is no request";
}

TEST_F(AccessTest, StepsThatAskNothingTakeFromTheQuotaAndNeedAToken) {
  WriteTokens({"reader read:wiki requests/s:2", "everything admin:*"});
  server_->Reload();
  MakeWiki();
  v1::QueryStreamRequest empty;
  const auto end_after = [&](const std::function<void()>& change) {
    Steps steps(channel_, TokenOf("reader"));
    EXPECT_TRUE(steps.Ask(Step(1, "wiki", false)));
    change();
    for (int i = 0; i < 500 && steps.Ask(empty); ++i) {
    }
    return steps.End();
  };
  EXPECT_EQ(DetailOf(end_after([] {})).reason, "RATE_LIMIT");
  WriteTokens({"reader read:wiki", "everything admin:*"});
  server_->Reload();
  EXPECT_EQ(end_after([this] {
              WriteTokens({"everything admin:*"});
              server_->Reload();
            }).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AccessTest, EntriesOfAnAppendWithoutKeysAreCounted) {
  WriteTokens({"writer write:notes entries/s:1", "everything admin:*"});
  server_->Reload();
  v1::CreateMemoryRequest create;
  create.mutable_memory()->set_name("notes");
  create.mutable_memory()->set_dimension(2);
  create.mutable_memory()->set_metric(v1::METRIC_L2);
  create.mutable_memory()->set_value_kind(v1::VALUE_KIND_VECTOR);
  create.mutable_memory()->set_value_dimension(2);
  ASSERT_TRUE(Ask("everything", "/mneme.v1.AdminService/CreateMemory", create).ok());
  // As many rows as a query may have, 1,024: many seconds' worth.
  v1::QueryStreamRequest step = Step(1, "notes", true);
  *step.mutable_query()->mutable_keys() = F32(std::vector<float>(2'048, 1), 2);
  *step.mutable_append()->mutable_entries()->mutable_values()->mutable_vectors() =
      F32(std::vector<float>(2'048, 1), 2);
  v1::QueryStreamRequest only_append;
  only_append.set_step(2);
  *only_append.mutable_append() = step.append();
  Steps steps(channel_, TokenOf("writer"));
  EXPECT_TRUE(steps.Ask(step));
  EXPECT_FALSE(steps.Ask(only_append));
  EXPECT_EQ(DetailOf(steps.End()).reason, "RATE_LIMIT");
  // And those of an append of a query that was asked before.
  WriteTokens({"writer write:notes entries/s:1000", "everything admin:*"});
  server_->Reload();
  Steps late(channel_, TokenOf("writer"));
  step.clear_append();
  EXPECT_TRUE(late.Ask(step));
  EXPECT_TRUE(late.Ask(only_append));
  EXPECT_FALSE(late.Ask(only_append));
  EXPECT_EQ(DetailOf(late.End()).reason, "RATE_LIMIT");
}

TEST_F(AccessTest, OneReaderDoesNotTakeAllLeases) {
  WriteTokens({"reader read:wiki", "tenant read:wiki/7", "everything admin:*"});
  server_->Reload();
  MakeWiki();
  const auto stub = v1::MemoryService::NewStub(channel_);
  std::vector<std::string> leases;
  const auto acquire = [&](const std::string& name) {
    v1::AcquireLeaseRequest request;
    request.set_memory("wiki");
    request.mutable_partitions()->add_partitions(7);
    request.set_lease_ms(60'000);
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + TokenOf(name));
    v1::AcquireLeaseResponse response;
    const grpc::Status status = stub->AcquireLease(&context, request, &response);
    if (status.ok()) leases.push_back(response.lease());
    return status;
  };
  grpc::Status status;
  for (size_t i = 0; i < limits::kMaxLeases && status.ok(); ++i) status = acquire("tenant");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(leases.size(), limits::kMaxLeasesOfOne);
  EXPECT_EQ(server_->deployment().Statistics().leases, limits::kMaxLeasesOfOne) << "what was too much was given back";
  EXPECT_TRUE(acquire("reader").ok());
  // His own he may renew; another's would be one more of his.
  v1::RenewLeaseRequest renew;
  renew.set_lease_ms(60'000);
  renew.set_lease(leases.front());
  EXPECT_TRUE(Ask("tenant", "/mneme.v1.MemoryService/RenewLease", renew).ok());
  renew.set_lease(leases.back());
  EXPECT_EQ(Ask("tenant", "/mneme.v1.MemoryService/RenewLease", renew).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::ReleaseLeaseRequest release;
  release.set_lease(leases.front());
  EXPECT_TRUE(Ask("tenant", "/mneme.v1.MemoryService/ReleaseLease", release).ok());
  EXPECT_TRUE(acquire("tenant").ok());
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

size_t LinesWith(const std::string& log, const std::string& text) {
  size_t lines = 0;
  for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++lines;
  return lines;
}

TEST_F(AccessTest, TheAuditIsFilledByNobodyWhoWasNotLetInAndHiddenByNoStranger) {
  MakeWiki();
  v1::DropMemoryRequest drop;
  drop.set_memory("wiki");
  testing::internal::CaptureStderr();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 400; ++i) {
    EXPECT_EQ(Send("/mneme.v1.AdminService/DropMemory", "\xff\xff", "Bearer " + TokenOf("nobody")).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  const std::string by_nobody = testing::internal::GetCapturedStderr();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start);
  EXPECT_LE(LinesWith(by_nobody, "\"component\":\"audit\""),
            static_cast<size_t>(LineBudget::kLinesPerSecond * (seconds.count() + 2)));
  // Until strangers have used up what there is for them, more than once.
  std::this_thread::sleep_for(std::chrono::milliseconds(1'100));
  testing::internal::CaptureStderr();
  for (int i = 0; i < 200; ++i) Ask("unknown", "/mneme.v1.AdminService/DropMemory", drop);
  EXPECT_EQ(Ask("reader", "/mneme.v1.AdminService/DropMemory", drop).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::ContainsRegex("\"DropMemory\",\"caller\":\"reader\",[^\n]*\"PERMISSION_DENIED\""));
  EXPECT_THAT(log, testing::ContainsRegex("\"code\":\"UNAUTHENTICATED\",[^\n]*\"peer\":\"ipv4:127.0.0.1"));
}

}  // namespace
}  // namespace mneme
