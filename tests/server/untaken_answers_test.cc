// Answers that nobody takes, over real connections, at a server that holds few: who is ended, and what he is told.
#include <deque>
#include <functional>
#include <thread>

#include "server/front_end.h"
#include "server/services.h"
#include "tests/server/test_server.h"

namespace mneme {
namespace {

constexpr size_t kBound = size_t{8} << 20;
constexpr uint32_t kWide = 1'024;
constexpr size_t kRows = 2'000;
constexpr uint32_t kPageRows = 250;  // a MiB
constexpr int kScans = 12;

// A scan that was begun, and is read when the test says so.
struct HeldScan {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::ScanResponse>> reader;
};

class UntakenAnswersTest : public ::testing::Test {
 protected:
  UntakenAnswersTest() {
    EXPECT_TRUE(server_.Create("wide", kWide).ok());
    v1::InsertRequest insert;
    insert.set_memory("wide");
    *insert.mutable_entries()->mutable_keys() = F32(std::vector<float>(kRows * kWide, 0.5F), kWide);
    insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(kRows, 1)));
    EXPECT_TRUE(server_.Insert(insert).ok());
    front_end_.Serve(&server_.server().deployment());
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    for (const auto& service : services_) builder.RegisterService(service.get());
    grpc_ = builder.BuildAndStart();
  }
  ~UntakenAnswersTest() override {
    grpc_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
    grpc_->Wait();
  }

  // A connection of its own, whose streams take 64 KiB until somebody reads.
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  void Scan(v1::MemoryService::Stub& stub, std::deque<HeldScan>& scans) const {
    v1::ScanRequest request;
    request.set_memory("wide");
    request.set_with_keys(true);
    request.set_page_size(kPageRows);
    HeldScan& scan = scans.emplace_back();
    scan.context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    scan.reader = stub.Scan(&scan.context, request);
  }

  // To its end.
  static grpc::Status Read(HeldScan& scan, size_t* rows) {
    v1::ScanResponse page;
    while (scan.reader->Read(&page)) *rows += Items<uint64_t>(page.entries().ids()).size();
    return scan.reader->Finish();
  }

  double Ended() const {
    const std::string name = "mneme_rejected_total{reason=\"ANSWER_NOT_TAKEN\"} ";
    const std::string text = metrics_.Expose({});
    const size_t at = text.find(name);
    return at == std::string::npos ? 0.0 : std::strtod(text.c_str() + at + name.size(), nullptr);
  }
  size_t held() { return front_end_.held_answers().bytes(); }

  static bool Await(const std::function<bool()>& what) {
    for (int i = 0; i < 4'000; ++i) {
      if (what()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  TestServer server_{1};
  Log log_{LogFormat::kJson, LogLevel::kError};
  Metrics metrics_;
  const std::unique_ptr<AccessControl> access_ = AccessControl::New("").value();
  FrontEnd front_end_{&log_, &metrics_, access_.get(), 4, kBound};
  std::vector<std::unique_ptr<grpc::Service>> services_ = [this] {
    std::vector<std::unique_ptr<grpc::Service>> services;
    services.push_back(MakeMemoryService(front_end_));
    services.push_back(MakeWorkingMemoryService(front_end_));
    return services;
  }();
  int port_ = 0;
  std::unique_ptr<grpc::Server> grpc_;
};

TEST_F(UntakenAnswersTest, AReaderGoesOnAndScansOfWhoReadsNothingAreEnded) {
  const auto honest = v1::MemoryService::NewStub(Connect());
  const auto idle = v1::MemoryService::NewStub(Connect());
  std::deque<HeldScan> his;
  std::deque<HeldScan> theirs;
  Scan(*honest, his);
  ASSERT_TRUE(Await([this] { return held() > 0; }));
  for (int i = 0; i < kScans; ++i) Scan(*idle, theirs);
  // Eight pages fit, of thirteen.
  ASSERT_TRUE(Await([this] { return Ended() >= 5; })) << Ended();
  EXPECT_LE(held(), kBound);
  EXPECT_GT(held(), kBound / 2);
  size_t rows = 0;
  const grpc::Status whole = Read(his.front(), &rows);
  EXPECT_TRUE(whole.ok()) << whole.error_message();
  EXPECT_EQ(rows, kRows);
  int ended = 0;
  for (HeldScan& scan : theirs) {
    rows = 0;
    const grpc::Status status = Read(scan, &rows);
    if (status.ok()) {
      EXPECT_EQ(rows, kRows);  // he reads now
      continue;
    }
    ++ended;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    EXPECT_THAT(status.error_message(), ::testing::HasSubstr("was not taken"));
  }
  EXPECT_EQ(ended, Ended());
  EXPECT_TRUE(Await([this] { return held() == 0; })) << held();
}

TEST_F(UntakenAnswersTest, AStreamOfStepsIsEndedToo) {
  const auto stub = v1::MemoryService::NewStub(Connect());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto steps = stub->QueryStream(&context);
  v1::QueryStreamRequest step;
  step.set_step(1);
  step.mutable_query()->set_memory("wide");
  *step.mutable_query()->mutable_keys() = F32(std::vector<float>(kWide, 0.5F), kWide);
  step.mutable_query()->set_k(500);
  step.mutable_query()->mutable_search()->set_exact(true);
  step.mutable_query()->mutable_neighbours()->set_with_keys(true);
  ASSERT_TRUE(steps->Write(step));
  ASSERT_TRUE(Await([this] { return held() > 0; }));
  std::deque<HeldScan> scans;
  for (int i = 0; i < kScans; ++i) Scan(*stub, scans);
  ASSERT_TRUE(Await([this] { return Ended() >= 1; }));
  v1::QueryStreamResponse response;
  EXPECT_FALSE(steps->Read(&response));
  const grpc::Status status = steps->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  for (HeldScan& scan : scans) scan.context.TryCancel();
  size_t rows = 0;
  for (HeldScan& scan : scans) (void)Read(scan, &rows);
  EXPECT_TRUE(Await([this] { return held() == 0; })) << held();
}

TEST_F(UntakenAnswersTest, WhatHasWrittenIsAnsweredOrToldThatItHas) {
  const auto channel = Connect();
  const auto memory = v1::MemoryService::NewStub(channel);
  const auto working = v1::WorkingMemoryService::NewStub(channel);
  v1::ApplyRequest apply = GoodApply("wide");
  apply.mutable_operations(0)->mutable_register_put()->set_value(std::string(700 * 1024, 'x'));
  // Two that are not read: there is room for two in a quarter of the bound.
  grpc::CompletionQueue queue;
  std::deque<grpc::ClientContext> contexts;
  std::vector<std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ApplyResponse>>> held_calls;
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext& context = contexts.emplace_back();
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    apply.set_request_id("write " + std::to_string(i));
    held_calls.push_back(working->PrepareAsyncApply(&context, apply, &queue));
    held_calls.back()->StartCall();
    held_calls.back()->ReadInitialMetadata(nullptr);  // which sends it
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  }
  ASSERT_TRUE(Await([this] { return held() > 2 * 700 * 1024; })) << held();
  v1::ApplyResponse response;
  apply.set_request_id("write 2");
  const grpc::Status third = TestServer::Call(&v1::WorkingMemoryService::Stub::Apply, *working, apply, &response);
  EXPECT_EQ(third.error_code(), grpc::StatusCode::UNAVAILABLE) << third.error_message();
  EXPECT_EQ(DetailOf(third).reason, "ANSWER_NOT_TAKEN");
  EXPECT_TRUE(DetailOf(third).has_retry);
  // They are the oldest of whoever holds most, and stay.
  std::deque<HeldScan> scans;
  for (int i = 0; i < kScans; ++i) Scan(*memory, scans);
  ASSERT_TRUE(Await([this] { return Ended() >= 4; })) << Ended();
  for (const auto& call : held_calls) {
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.results_size(), 2);
  }
  for (HeldScan& scan : scans) scan.context.TryCancel();
  size_t rows = 0;
  for (HeldScan& scan : scans) (void)Read(scan, &rows);
  ASSERT_TRUE(Await([this] { return held() == 0; })) << held();
  // Now that all are taken the third is told what it was not.
  const grpc::Status again = TestServer::Call(&v1::WorkingMemoryService::Stub::Apply, *working, apply, &response);
  EXPECT_TRUE(again.ok()) << again.error_message();
  EXPECT_TRUE(response.replayed());
}

}  // namespace
}  // namespace mneme
