#include "client/retry.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <set>

#include "client/rpc_status.h"
#include "common/error_reason.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace mneme {
namespace {

constexpr absl::Duration kFast = absl::Microseconds(10);

ClientOptions Options() { return {absl::Seconds(5), RetryPolicy{4, kFast, kFast}}; }

template <typename Detail>
grpc::Status WithDetail(grpc::StatusCode code, const std::string& message, const Detail& detail) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  status.add_details()->PackFrom(detail);
  return grpc::Status(code, message, status.SerializeAsString());
}

// Runs a call that ends with these statuses in turn; returns how often it was made.
int Attempts(const ClientOptions& options, const std::vector<grpc::Status>& statuses, absl::Status* last = nullptr) {
  size_t made = 0;
  const absl::Status status = CallWithRetry(options, [&](grpc::ClientContext&) {
    return made < statuses.size() ? statuses[made++] : statuses[(made++, statuses.size() - 1)];
  });
  if (last != nullptr) *last = status;
  return static_cast<int>(made);
}

const grpc::Status kGone(grpc::StatusCode::UNAVAILABLE, "gone");

TEST(Retry, RepeatsUnavailableUntilItWorks) {
  absl::Status status;
  EXPECT_EQ(Attempts(Options(), {kGone, kGone, grpc::Status::OK}, &status), 3);
  EXPECT_TRUE(status.ok());
}

TEST(Retry, GivesUpAfterTheLastAttemptWithItsStatus) {
  absl::Status status;
  EXPECT_EQ(Attempts(Options(), {kGone}, &status), 4);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(IsRpcError(status));
}

TEST(Retry, DoesNotRepeatWhatTheCallerMustMend) {
  for (const auto code : {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::NOT_FOUND,
                          grpc::StatusCode::DEADLINE_EXCEEDED, grpc::StatusCode::ABORTED, grpc::StatusCode::DATA_LOSS,
                          grpc::StatusCode::INTERNAL, grpc::StatusCode::RESOURCE_EXHAUSTED}) {
    EXPECT_EQ(Attempts(Options(), {grpc::Status(code, "x"), grpc::Status::OK}), 1) << code;
  }
}

TEST(Retry, RepeatsResourceExhaustedOnlyWhereTheServerSaysWhen) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_nanos(1'000);
  EXPECT_EQ(Attempts(Options(), {WithDetail(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", info), grpc::Status::OK}), 2);
}

TEST(Retry, NeverWaitsPastItsDeadline) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(3'600);
  absl::Status status;
  EXPECT_EQ(Attempts(Options(), {WithDetail(grpc::StatusCode::UNAVAILABLE, "later", info)}, &status), 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST(Retry, DelaysDoubleAndAreJitteredAndBounded) {
  const RetryPolicy policy{10, absl::Milliseconds(100), absl::Milliseconds(300)};
  const absl::Status gone = absl::UnavailableError("gone");
  EXPECT_EQ(NextDelay(policy, gone, 1, 0.5), absl::Milliseconds(100));
  EXPECT_EQ(NextDelay(policy, gone, 2, 0.5), absl::Milliseconds(200));
  EXPECT_EQ(NextDelay(policy, gone, 9, 0.5), absl::Milliseconds(300));
  EXPECT_EQ(NextDelay(policy, gone, 1, 0.0), absl::Milliseconds(50));
  EXPECT_EQ(NextDelay(policy, gone, 10, 0.5), std::nullopt);
}

TEST(RpcStatus, NamesTheFirstFieldThatWasRefused) {
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("k");
  bad.mutable_field_violations(0)->set_description("k is 5000; must be in [1, 4096]");
  const absl::Status added = ToAbslStatus(WithDetail(grpc::StatusCode::INVALID_ARGUMENT, "invalid request", bad));
  EXPECT_EQ(added.message(), "invalid request (k: k is 5000; must be in [1, 4096])");
  const absl::Status once =
      ToAbslStatus(WithDetail(grpc::StatusCode::INVALID_ARGUMENT, "k is 5000; must be in [1, 4096]", bad));
  EXPECT_EQ(once.message(), "k is 5000; must be in [1, 4096]");
}

TEST(RpcStatus, KeepsTheReason) {
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  EXPECT_EQ(ReasonOf(ToAbslStatus(WithDetail(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", info))), "QUEUE_FULL");
}

TEST(RpcStatus, BrokenDetailsDoNotHideTheError) {
  const absl::Status status = ToAbslStatus(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such memory", "\xff\xff"));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no such memory");
}

TEST(RpcStatus, LocalErrorsAreNotTakenForTheServers) {
  EXPECT_FALSE(IsRpcError(absl::UnavailableError("x")));
  EXPECT_TRUE(IsRpcError(ToAbslStatus(kGone)));
}

TEST(RequestId, IsNewEachTime) {
  std::set<std::string> ids;
  for (int i = 0; i < 1'000; ++i) ids.insert(NewRequestId());
  EXPECT_EQ(ids.size(), 1'000U);
  EXPECT_EQ(ids.begin()->size(), 32U);
}

}  // namespace
}  // namespace mneme
