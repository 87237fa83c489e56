// What a front end does with writes for a shard that does not answer, or refuses one of them.
#include "cluster/remote_shard_port.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "engine/log_record.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::TokenMemory;

// Takes connections and says nothing, until it is gone.
class SilentShard {
 public:
  SilentShard() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentShard() { Go(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // Connections that it took are reset.
  void Go() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
  int port_ = 0;
};

// Takes its time to give a write its place; refuses some, and is not there for others.
class SlowShard final : public internal_wire::ShardService::Service {
 public:
  explicit SlowShard(std::vector<uint64_t> refused, std::vector<uint64_t> away = {}, uint64_t counted_from = 0)
      : refused_(std::move(refused)), away_(std::move(away)), counted_from_(counted_from) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~SlowShard() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // The requests in the order in which they came, and how many from `counted_from` on were without a place at once.
  std::vector<uint64_t> came() const {
    MutexLock lock(&mutex_);
    return came_;
  }
  size_t at_once() const {
    MutexLock lock(&mutex_);
    return at_once_;
  }

  grpc::Status Append(grpc::ServerContext*, const internal_wire::AppendRequest* request,
                      grpc::ServerWriter<internal_wire::AppendAnswer>* answers) override {
    const auto record = DecodeLogRecord(request->record());
    const uint64_t number = std::get<InsertOperation>(record->operation).ticket.request->id.low;
    if (Has(away_, number)) return {grpc::StatusCode::UNAVAILABLE, "nobody is there"};
    const size_t counts = number >= counted_from_ ? 1 : 0;
    {
      MutexLock lock(&mutex_);
      came_.push_back(number);
      placeless_ += counts;
      at_once_ = std::max(at_once_, placeless_);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    {
      MutexLock lock(&mutex_);
      placeless_ -= counts;
    }
    if (Has(refused_, number)) {
      google::rpc::ErrorInfo info;
      info.set_reason(std::string(reason::kQueueFull));
      google::rpc::Status details;
      details.add_details()->PackFrom(info);
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "writes wait", details.SerializeAsString()};
    }
    answers->Write({});
    WriteResult result;
    result.count = 1;
    result.replayed = true;
    internal_wire::AppendAnswer last;
    last.set_result(Flat(result));
    answers->Write(last);
    return grpc::Status::OK;
  }

 private:
  static bool Has(const std::vector<uint64_t>& numbers, uint64_t number) {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
  }

  const std::vector<uint64_t> refused_;
  const std::vector<uint64_t> away_;
  const uint64_t counted_from_;
  int port_ = 0;
  mutable Mutex mutex_;
  std::vector<uint64_t> came_ ABSL_GUARDED_BY(mutex_);
  size_t placeless_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t at_once_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

class RemoteShardPortTest : public ::testing::Test {
 protected:
  using Told = std::future<absl::StatusOr<WriteResult>>;

  RemoteShardPortTest() {
    MemoryRecord record;
    record.number = 7;
    record.spec = TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  InsertOperation Insert(uint64_t number = 1) const {
    InsertOperation insert;
    insert.ticket.memory = memory_;
    insert.ticket.request = RequestIdentity{{number, 2}, 3};
    insert.entries = ColumnsOf(memory_->spec, {{.id = 1, .key = {0.5F, -1.0F}, .token = 4}});
    return insert;
  }
  // What one write counts.
  uint64_t WriteBytes() const { return EncodeLogRecord(0, Insert()).value().size() + RemoteShardPort::kCallBytes; }
  absl::Status Submit(RemoteShardPort& port, uint64_t number = 1) { return Submit(port, Insert(number)); }
  absl::Status Submit(RemoteShardPort& port, InsertOperation insert) {
    auto told = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    insert.ticket.done = [told](absl::StatusOr<WriteResult> result) { told->set_value(std::move(result)); };
    const absl::Status handed = port.Submit(std::move(insert));
    if (handed.ok()) told_.push_back(told->get_future());
    return handed;
  }

  SilentShard shard_;
  MemoryHandle memory_;
  Canceller canceller_;
  ShardChannel channel_{internal_wire::Target(), {shard_.address()}, nullptr, &canceller_};
  std::vector<Told> told_;
};

TEST_F(RemoteShardPortTest, WritesThatWaitHaveABoundAndEachIsToldOnce) {
  RemoteShardPort port(&channel_, 3 * WriteBytes());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit(port).ok());
  const absl::Status refused = Submit(port);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(shard_.address()));
  EXPECT_THAT(std::string(refused.message()), HasSubstr(absl::StrCat("the bound is ", 3 * WriteBytes())));
  EXPECT_EQ(port.bytes(), 3 * WriteBytes());
  shard_.Go();
  for (Told& told : told_) EXPECT_EQ(told.get().status().code(), absl::StatusCode::kUnavailable);
  // What was told waits no more.
  told_.clear();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit(port).ok());
  for (Told& told : told_) EXPECT_EQ(told.get().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RemoteShardPortTest, AWriteThatIsRefusedLeavesTheOrderOfTheOthersAsItWas) {
  // The first is of one client, those that wait behind it are of another.
  SlowShard slow({1, 5});
  const ShardChannel channel(internal_wire::Target(), {slow.address()}, nullptr, &canceller_);
  RemoteShardPort port(&channel);
  std::vector<uint64_t> handed;
  for (uint64_t number = 1; number <= 20; ++number) {
    ASSERT_TRUE(Submit(port, number).ok());
    handed.push_back(number);
  }
  for (uint64_t number = 1; number <= 20; ++number) {
    const absl::Status got = told_[number - 1].get().status();
    EXPECT_EQ(got.code(), number == 1 || number == 5 ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk)
        << number << ": " << got;
  }
  EXPECT_EQ(slow.came(), handed);
  EXPECT_EQ(slow.at_once(), 1U);
}

TEST_F(RemoteShardPortTest, WritesEndAtOnceWhenTheFrontEndGivesUp) {
  RemoteShardPort port(&channel_);  // to a shard that says nothing
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit(port).ok());
  const auto start = std::chrono::steady_clock::now();
  canceller_.CancelAll();
  EXPECT_TRUE(Submit(port).ok());
  for (Told& told : told_) EXPECT_EQ(told.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(RemoteShardPort::kWriteSeconds / 2));
}

TEST_F(RemoteShardPortTest, AWriteWithoutAnIdOfItsClientWasNotMadeBefore) {
  SlowShard slow({});  // which says of all that they were
  const ShardChannel channel(internal_wire::Target(), {slow.address()}, nullptr, &canceller_);
  RemoteShardPort port(&channel);
  InsertOperation unnamed = Insert();
  unnamed.ticket.request.reset();
  ASSERT_TRUE(Submit(port, std::move(unnamed)).ok());
  ASSERT_TRUE(Submit(port, Insert()).ok());
  EXPECT_FALSE(told_[0].get().value().replayed);
  EXPECT_TRUE(told_[1].get().value().replayed);
}

TEST_F(RemoteShardPortTest, WhatWasLetGoOutOfOrderLetsNothingElseGo) {
  SlowShard slow({}, /*away=*/{1}, /*counted_from=*/10);
  const ShardChannel channel(internal_wire::Target(), {slow.address()}, nullptr, &canceller_);
  RemoteShardPort port(&channel);
  for (uint64_t number = 1; number <= 5; ++number) ASSERT_TRUE(Submit(port, number).ok());
  EXPECT_EQ(told_[0].get().status().code(), absl::StatusCode::kUnavailable);
  // Those that waited behind it are on their way, all at once.
  std::vector<uint64_t> handed;
  for (uint64_t number = 10; number < 30; ++number) {
    ASSERT_TRUE(Submit(port, number).ok());
    handed.push_back(number);
  }
  for (size_t i = 1; i < told_.size(); ++i) EXPECT_TRUE(told_[i].get().ok()) << i;
  std::vector<uint64_t> came = slow.came();
  std::erase_if(came, [](uint64_t number) { return number < 10; });
  EXPECT_EQ(came, handed);
  EXPECT_EQ(slow.at_once(), 1U);
}

}  // namespace
}  // namespace mneme
