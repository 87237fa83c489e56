// A front end's way to a shard that has a replicated log: over a log in ram, and replicas that answer as a test says.
#ifndef MNEME_TESTS_CLUSTER_LOGGED_PORT_FIXTURE_H_
#define MNEME_TESTS_CLUSTER_LOGGED_PORT_FIXTURE_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/logged_shard_port.h"
#include "common/error_reason.h"
#include "engine/log_record.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme::testing {

constexpr uint64_t kDeployment = 0xABCDEF;

inline grpc::Status Refusal(grpc::StatusCode code, const std::string& message, std::string_view why) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(why));
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {code, message, details.SerializeAsString()};
}

// A replica that says of every record that it was applied: one entry inserted, and an id given that tells the offset.
class Replica final : public internal_wire::ShardService::Service {
 public:
  Replica() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Replica() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  enum class Mood { kThere, kAway, kForgetful, kRefuses, kLags, kStranger, kShortOfRam, kShortOfDisk };
  void Be(Mood mood) { mood_ = mood; }
  size_t asked() const { return asked_; }
  // Of the last read: what it was to wait for.
  Sequence waited_for() const { return waited_for_; }

  grpc::Status AwaitOutcome(grpc::ServerContext* context, const internal_wire::Call* call,
                            internal_wire::Answer* answer) override {
    ++asked_;
    LogOffset offset = 0;
    RequestIdentity request;
    if (!Unflat(call->body(), offset, request).ok()) return {grpc::StatusCode::DATA_LOSS, "no offset"};
    const Mood mood = mood_;
    if (mood == Mood::kAway) return Refusal(grpc::StatusCode::UNAVAILABLE, "it starts", "STARTING");
    if (mood == Mood::kShortOfRam || mood == Mood::kShortOfDisk) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return mood == Mood::kShortOfRam
                 ? Refusal(grpc::StatusCode::DEADLINE_EXCEEDED, "it waits for ram", reason::kReplicaLagging)
                 : Refusal(grpc::StatusCode::DEADLINE_EXCEEDED, "it waits for the disk", reason::kStorageLow);
    }
    if (mood == Mood::kStranger) return {grpc::StatusCode::FAILED_PRECONDITION, "this is another shard"};
    absl::Status outcome;
    if (mood == Mood::kRefuses) outcome = WithReason(absl::NotFoundError("dropped"), reason::kMemoryNotFound);
    std::optional<WriteResult> result;
    if (mood == Mood::kThere) {
      result.emplace();
      result->count = 1;
      result->given_ids = {100 + offset};
      result->sequence = SequenceAt(offset);
      result->replayed = true;
    }
    if (mood == Mood::kLags) {
      std::this_thread::sleep_until(context->deadline());
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "not applied yet"};
    }
    answer->set_body(Flat(outcome, result));
    return grpc::Status::OK;
  }

  grpc::Status ReadSession(grpc::ServerContext*, const internal_wire::Call*, internal_wire::Answer* answer) override {
    if (mood_ == Mood::kLags) return Lags();
    answer->set_body(Flat(std::string("content")));
    return grpc::Status::OK;
  }

  grpc::Status ListSessions(grpc::ServerContext*, const internal_wire::Call*, internal_wire::Answer* answer) override {
    if (mood_ == Mood::kLags) return Lags();
    answer->set_body(Flat(std::vector<NamedSession>()));
    return grpc::Status::OK;
  }

  grpc::Status ReadStates(grpc::ServerContext*, const internal_wire::Call* call,
                          internal_wire::Answer* answer) override {
    ++asked_;
    if (mood_ == Mood::kLags) return Lags();
    MemoryNumber memory = 0;
    ApplyStates apply;
    int64_t stamp_ms = 0;
    Version at_least;
    if (!Unflat(call->body(), memory, apply, stamp_ms, at_least).ok() || at_least.parts.size() != 1) {
      return {grpc::StatusCode::DATA_LOSS, "no version"};
    }
    waited_for_ = at_least.parts.front().sequence;
    answer->set_body(Flat(StateOutcome()));
    return grpc::Status::OK;
  }

 private:
  static grpc::Status Lags() {
    return Refusal(grpc::StatusCode::DEADLINE_EXCEEDED, "it lags", reason::kReplicaLagging);
  }

  int port_ = 0;
  std::atomic<Mood> mood_{Mood::kThere};
  std::atomic<size_t> asked_{0};
  std::atomic<Sequence> waited_for_{0};
  std::unique_ptr<grpc::Server> server_;
};

inline internal_wire::Target TargetOfShard() {
  internal_wire::Target target;
  target.set_deployment(kDeployment);
  target.set_shard(3);
  return target;
}

class LoggedPortFixture : public ::testing::Test {
 protected:
  using Told = std::future<absl::StatusOr<WriteResult>>;

  LoggedPortFixture() {
    MemoryRecord record;
    record.number = 7;
    record.spec = TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  InsertOperation Insert(uint64_t request, size_t entries = 1, bool with_ids = true) const {
    std::vector<PlainEntry> plain;
    for (size_t i = 0; i < entries; ++i) {
      plain.push_back({.id = i, .key = {0.5F, static_cast<float>(i)}, .token = static_cast<Token>(i)});
    }
    InsertOperation insert;
    insert.ticket.memory = memory_;
    insert.ticket.stamp_ms = 1'000;
    insert.ticket.request = RequestIdentity{{request, 2}, 3};
    insert.partition = 5;
    insert.entries = ColumnsOf(memory_->spec, plain, with_ids);
    return insert;
  }
  template <typename Operation>
  absl::Status Submit(LoggedShardPort& port, Operation operation) {
    auto told = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    operation.ticket.done = [told](absl::StatusOr<WriteResult> result) { told->set_value(std::move(result)); };
    const absl::Status handed = port.Submit(std::move(operation));
    if (handed.ok()) told_.push_back(told->get_future());
    return handed;
  }
  LoggedShardPortOptions Over(MemoryLog& log, uint64_t most_bytes = limits::kMaxQueuedWriteBytes) const {
    return {&channel_, &log, &clock_, nullptr, most_bytes};
  }
  static std::vector<LogRecord> RecordsOf(MemoryLog& log) {
    std::vector<LoggedBytes> bytes;
    const auto reader = log.Read(0).value();
    EXPECT_TRUE(reader->Next(std::chrono::milliseconds(0), size_t{1} << 30, bytes).ok());
    std::vector<LogRecord> records;
    for (const LoggedBytes& each : bytes) records.push_back(DecodeLogRecord(each.bytes).value());
    return records;
  }
  static RequestIdentity RequestOf(LogRecord& record) { return *TicketOf(record.operation)->request; }

  MemoryHandle memory_;
  SystemClock clock_;
  Canceller canceller_;
  Replica first_, second_;
  const ShardChannel channel_{TargetOfShard(), {first_.address(), second_.address()}, nullptr, &canceller_};
  std::vector<Told> told_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_CLUSTER_LOGGED_PORT_FIXTURE_H_
