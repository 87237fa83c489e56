// Lists of receipts as clients ask for them, of two shards in one process, and of two that front ends ask.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/remote_deployment.h"
#include "common/error_reason.h"
#include "engine/write_fanout.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "server/grpc_status.h"
#include "server/receipt_handlers.h"
#include "server/shard_handlers.h"
#include "tests/cluster/told_names.h"
#include "tests/engine/append_port.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using testing::AppendPort;
using testing::ColumnsOf;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;
using testing::ToldNames;

namespace wire = internal::v1;

constexpr uint32_t kShards = 2;
constexpr EntryId kEntries = 60;

// What every call of a process has beside its deployment.
class Calls {
 public:
  CallContext On(Deployment& deployment) {
    CallLimits limits;
    limits.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    return {front_end_, deployment, limits, caller_};
  }

 private:
  Log log_lines_{LogFormat::kJson, LogLevel::kError};
  Metrics metrics_;
  const std::unique_ptr<AccessControl> access_ = AccessControl::New("").value();
  const Caller caller_;
  FrontEnd front_end_{&log_lines_, &metrics_, access_.get(), 1};
};

// Two deployments of which a client may ask either, and which are one.
class Deployed {
 public:
  virtual ~Deployed() = default;
  virtual Deployment& At(size_t number) = 0;
  // Entries from 0 to kEntries - 1, in a memory that has none.
  virtual absl::Status Fill(const std::string& memory) = 0;
  virtual absl::Status Delete(const std::string& memory, EntryId id) = 0;

 protected:
  static InsertCommand Entries(const MemorySpec& spec) {
    std::vector<PlainEntry> entries;
    for (EntryId id = 0; id < kEntries; ++id) entries.push_back({.id = id, .key = {0.5F, 1.0F}, .token = 4});
    InsertCommand command;
    command.entries = ColumnsOf(spec, entries);
    return command;
  }
  static DeleteCommand Only(EntryId id) {
    DeleteCommand command;
    command.ids = {id};
    return command;
  }
};

class OneProcess final : public Deployed {
 public:
  OneProcess() {
    for (const char* name : {"wiki", "other"}) whole_.Create(TokenMemory(name, 2));
  }
  Deployment& At(size_t) override { return *whole_; }
  absl::Status Fill(const std::string& memory) override {
    const MemoryHandle found = whole_.Find(memory);
    return whole_.Insert(found, Entries(found->spec).entries).status();
  }
  absl::Status Delete(const std::string& memory, EntryId id) override {
    return whole_.Delete(whole_.Find(memory), Only(id)).status();
  }

 private:
  TestDeployment whole_{kShards};
};

// The process of a shard, as far as receipts go.
class ShardProcess final : public wire::ShardService::Service {
 public:
  explicit ShardProcess(LocalDeployment* shard, wire::CatalogueService::Service* names = nullptr) : shard_(shard) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    if (names != nullptr) builder.RegisterService(names);
    server_ = builder.BuildAndStart();
  }
  ~ShardProcess() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100)); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  grpc::Status Receipt(grpc::ServerContext*, const wire::Call* call, wire::Answer* answer) override {
    return ToGrpcStatus(HandleShardReceipt(calls_.On(*shard_), *call, answer));
  }
  grpc::Status ListReceipts(grpc::ServerContext*, const wire::Call* call, wire::Answer* answer) override {
    return ToGrpcStatus(HandleShardReceipts(calls_.On(*shard_), *call, answer));
  }

 private:
  LocalDeployment* const shard_;
  Calls calls_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class FrontEnds final : public Deployed {
 public:
  FrontEnds() {
    for (uint32_t number = 0; number < kShards; ++number) {
      DeploymentOptions options;
      options.data_dir = directory_ / absl::StrCat("shard-", number);
      options.shards = kShards;
      options.search_threads = 1;
      options.clock = &clock_;
      options.hosted.emplace().number = number;
      if (number != 0) {
        options.hosted->identity = shards_[0]->identity();
        options.hosted->catalogue = shards_[0]->names().Everything();
      }
      shards_[number] = LocalDeployment::Open(std::move(options)).value();
      ports_[number] = std::make_unique<AppendPort>(shards_[number].get(), number);
    }
    for (const char* name : {"wiki", "other"}) {
      EXPECT_TRUE(shards_[0]->CreateMemory(TokenMemory(name, 2)).ok());
    }
    const CatalogueChanges everything = shards_[0]->names().Everything();
    EXPECT_TRUE(shards_[1]->TakeCatalogue(everything).ok());
    names_ = std::make_unique<ToldNames>(shards_[0]->identity(), everything);
    processes_[0] = std::make_unique<ShardProcess>(shards_[0].get(), names_.get());
    processes_[1] = std::make_unique<ShardProcess>(shards_[1].get());
    for (auto& front_end : front_ends_) {
      RemoteDeploymentOptions options;
      options.shards = {{processes_[0]->address()}, {processes_[1]->address()}};
      options.search_threads = 1;
      front_end = RemoteDeployment::Open(std::move(options)).value();
    }
  }

  Deployment& At(size_t number) override { return *front_ends_[number % 2]; }
  absl::Status Fill(const std::string& memory) override {
    const MemoryHandle found = shards_[0]->FindMemory(memory).value();
    std::promise<absl::Status> told;
    const WriteFanout fanout({ports_[0].get(), ports_[1].get()}, &routing_);
    fanout.Insert(found, Entries(found->spec), clock_.NowMs(), nullptr,
                  [&](const absl::StatusOr<InsertOutcome>& outcome) { told.set_value(outcome.status()); });
    return told.get_future().get();
  }
  absl::Status Delete(const std::string& memory, EntryId id) override {
    std::promise<absl::Status> told;
    const WriteFanout fanout({ports_[0].get(), ports_[1].get()}, &routing_);
    fanout.Delete(shards_[0]->FindMemory(memory).value(), Only(id), clock_.NowMs(),
                  [&](const absl::StatusOr<DeleteOutcome>& outcome) { told.set_value(outcome.status()); });
    return told.get_future().get();
  }
  void StopShard1() { processes_[1].reset(); }

 private:
  ManualClock clock_{1'000'000};
  TemporaryDirectory directory_;
  const Routing routing_{kShards};
  std::unique_ptr<LocalDeployment> shards_[kShards];
  std::unique_ptr<AppendPort> ports_[kShards];
  std::unique_ptr<ToldNames> names_;
  std::unique_ptr<ShardProcess> processes_[kShards];
  std::unique_ptr<RemoteDeployment> front_ends_[2];
};

// Five deletions of one entry each from "wiki", and one from "other".
class ReceiptPagesTest : public ::testing::TestWithParam<bool> {
 protected:
  ReceiptPagesTest() {
    if (GetParam()) {
      deployed_ = std::make_unique<FrontEnds>();
    } else {
      deployed_ = std::make_unique<OneProcess>();
    }
    for (const char* name : {"wiki", "other"}) EXPECT_TRUE(deployed_->Fill(name).ok());
    for (EntryId id = 0; id < 5; ++id) EXPECT_TRUE(deployed_->Delete("wiki", id).ok());
    EXPECT_TRUE(deployed_->Delete("other", 7).ok());
  }

  absl::StatusOr<v1::ListReceiptsResponse> Page(const std::string& memory, uint32_t size, const std::string& token,
                                                size_t front_end = 0) {
    v1::ListReceiptsRequest request;
    request.set_memory(memory);
    request.set_page_size(size);
    request.set_page_token(token);
    v1::ListReceiptsResponse response;
    RETURN_IF_ERROR(HandleListReceipts(calls_.On(deployed_->At(front_end)), request, &response));
    return response;
  }
  // Page by page, each of another front end than the one before.
  std::vector<v1::Receipt> All(const std::string& memory, uint32_t size) {
    std::vector<v1::Receipt> all;
    std::string token;
    size_t pages = 0;
    do {
      const auto page = Page(memory, size, token, pages++);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return {};
      if (!page->next_page_token().empty()) {
        EXPECT_EQ(page->receipts_size(), static_cast<int>(size));
      } else {
        EXPECT_GT(page->receipts_size(), 0) << "the page before would have been the last";
      }
      all.insert(all.end(), page->receipts().begin(), page->receipts().end());
      token = page->next_page_token();
    } while (!token.empty());
    return all;
  }
  static std::vector<std::string> BytesOf(const std::vector<v1::Receipt>& receipts) {
    std::vector<std::string> bytes;
    for (const v1::Receipt& each : receipts) bytes.push_back(each.SerializeAsString());
    return bytes;
  }
  absl::Status Refused(const std::string& memory, uint32_t size, const std::string& token) {
    return Page(memory, size, token).status();
  }
  Version DecodedOf(const std::string& memory, const v1::Receipt& receipt) {
    Deployment& deployment = deployed_->At(0);
    return deployment.DecodeReceipt(deployment.FindMemory(memory).value(), receipt.id()).value();
  }

  Calls calls_;
  std::unique_ptr<Deployed> deployed_;
};

TEST_P(ReceiptPagesTest, AreTheSameWhereverTheyEndAndWhoeverIsAsked) {
  const std::vector<v1::Receipt> all = All("wiki", 1'000);
  ASSERT_GE(all.size(), 5U);
  EXPECT_EQ(BytesOf(all), BytesOf(All("wiki", 1'000)));
  for (uint32_t size = 1; size <= all.size() + 1; ++size) EXPECT_EQ(BytesOf(All("wiki", size)), BytesOf(all)) << size;
  const auto by_default = Page("wiki", 0, "", 1);
  ASSERT_TRUE(by_default.ok()) << by_default.status();
  EXPECT_EQ(by_default->receipts_size(), static_cast<int>(all.size()));
  EXPECT_EQ(by_default->next_page_token(), "");
}

TEST_P(ReceiptPagesTest, GoByShardAndAgeAndHaveAllDeletions) {
  uint64_t deleted = 0;
  std::set<uint32_t> shards;
  Version::Part before;
  for (const v1::Receipt& receipt : All("wiki", 1'000)) {
    const Version version = DecodedOf("wiki", receipt);
    ASSERT_EQ(version.parts.size(), 1U);
    const Version::Part& part = version.parts.front();
    EXPECT_TRUE(before.shard < part.shard || (before.shard == part.shard && before.sequence < part.sequence));
    before = part;
    shards.insert(part.shard);
    deleted += receipt.deleted();
  }
  EXPECT_EQ(deleted, 5U);
  EXPECT_THAT(shards, UnorderedElementsAre(0, 1));
  uint64_t of_other = 0;
  for (const v1::Receipt& receipt : All("other", 1'000)) of_other += receipt.deleted();
  EXPECT_EQ(of_other, 1U) << "each memory has its own";
}

TEST_P(ReceiptPagesTest, TellOfEachWhatItIsToldByItself) {
  for (const v1::Receipt& receipt : All("wiki", 2)) {
    v1::GetReceiptRequest request;
    request.set_memory("wiki");
    request.set_receipt(receipt.id());
    request.mutable_partitions()->set_all(true);
    v1::GetReceiptResponse response;
    const absl::Status got = HandleGetReceipt(calls_.On(deployed_->At(1)), request, &response);
    ASSERT_TRUE(got.ok()) << got;
    EXPECT_EQ(response.receipt().SerializeAsString(), receipt.SerializeAsString());
    EXPECT_EQ(receipt.state(), v1::ERASURE_STATE_HIDDEN);
  }
}

TEST_P(ReceiptPagesTest, ATokenThatNoAnswerGaveIsRefused) {
  Deployment& deployment = deployed_->At(0);
  const MemoryNumber wiki = deployment.FindMemory("wiki").value()->number;
  const std::string token = Page("wiki", 1, "")->next_page_token();
  ASSERT_FALSE(token.empty());
  for (const std::string& wrong :
       {std::string("garbage"), token + "x", token.substr(0, token.size() - 1),
        deployment.EncodeScanPosition({wiki, kShards, 0, 0}), deployment.EncodeScanPosition({wiki, 0, 1, 0})}) {
    const absl::Status refused = Refused("wiki", 1, wrong);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
    EXPECT_EQ(ReasonOf(refused), reason::kInvalidField);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("page_token"));
  }
  const absl::Status foreign = Refused("other", 1, token);
  EXPECT_EQ(foreign.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(foreign), reason::kForeignVersion);
  EXPECT_THAT(std::string(foreign.message()), HasSubstr("page_token is of another memory"));
}

TEST_P(ReceiptPagesTest, WhatIsNotThereOrTooMuchIsRefused) {
  const absl::Status unknown = Refused("nothing", 1, "");
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(unknown), reason::kMemoryNotFound);
  const absl::Status large = Refused("wiki", 1'001, "");
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(large.message()), HasSubstr("page_size is 1001; must be at most 1000"));
}

INSTANTIATE_TEST_SUITE_P(Where, ReceiptPagesTest, ::testing::Bool(), [](const auto& tested) {
  return std::string(tested.param ? "ThroughFrontEnds" : "InOneProcess");
});

TEST(ReceiptPagesOfProcessesTest, WithoutAShardThereIsNoPageThatAsksIt) {
  FrontEnds deployed;
  ASSERT_TRUE(deployed.Fill("wiki").ok());
  for (EntryId id = 0; id < 5; ++id) ASSERT_TRUE(deployed.Delete("wiki", id).ok());
  Deployment& deployment = deployed.At(0);
  const MemoryHandle wiki = deployment.FindMemory("wiki").value();
  deployed.StopShard1();
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const absl::Status away = deployment.ListReceipts(wiki, std::nullopt, 1'000, limits).status();
  EXPECT_EQ(away.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(away), reason::kShardUnavailable);
  EXPECT_THAT(std::string(away.message()), HasSubstr("shard 1 at"));
  const auto page = deployment.ListReceipts(wiki, std::nullopt, 1, limits);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 1U);
}

}  // namespace
}  // namespace mneme
