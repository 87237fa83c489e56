// What a shard refuses, as a front end tells it on: the same code, reason and details as from one process.
#include "cluster/wire_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "server/grpc_status.h"
#include "server/request_error.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

constexpr char kWho[] = "shard 1 at 127.0.0.1:7720";

absl::Status Through(const absl::Status& status) { return FromGrpcStatus(ToGrpcStatus(status), kWho); }

TEST(WireStatusTest, CodeMessageAndReasonArriveAsTheyWere) {
  EXPECT_TRUE(Through(absl::OkStatus()).ok());
  const absl::Status sent = WithReason(absl::FailedPreconditionError("the lease ended"), reason::kLeaseExpired);
  const absl::Status got = Through(sent);
  EXPECT_EQ(got.code(), sent.code());
  EXPECT_EQ(got.message(), sent.message());
  EXPECT_EQ(ReasonOf(got), reason::kLeaseExpired);
}

TEST(WireStatusTest, WhatAClientIsToldIsWhatOneProcessTells) {
  for (const absl::Status& status :
       {WithReason(absl::NotFoundError("the memory was dropped"), reason::kMemoryNotFound),
        WithReason(absl::ResourceExhaustedError("writes wait"), reason::kQueueFull), absl::AbortedError("moved"),
        FieldError("k", "is 0; must be at least 1"),
        WithRetry(absl::ResourceExhaustedError("full"), absl::Seconds(2))}) {
    EXPECT_EQ(ToGrpcStatus(Through(status)).error_details(), ToGrpcStatus(status).error_details()) << status;
  }
}

TEST(WireStatusTest, AProcessThatDoesNotLetThisOneInIsNoErrorOfTheClient) {
  for (const absl::Status& refused : {absl::UnauthenticatedError("who?"), absl::PermissionDeniedError("no")}) {
    const absl::Status got = Through(refused);
    EXPECT_TRUE(absl::IsUnavailable(got));
    EXPECT_EQ(got.message(), std::string(kWho) + " does not let this process in");
    EXPECT_EQ(ReasonOf(got), reason::kShardUnavailable);
  }
}

TEST(WireStatusTest, AProcessThatIsNotThereIsNamed) {
  const absl::Status got = FromGrpcStatus({grpc::StatusCode::UNAVAILABLE, "Connection refused"}, kWho);
  EXPECT_EQ(got.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(got.message()), HasSubstr(kWho));
  EXPECT_EQ(ReasonOf(got), reason::kShardUnavailable);
  EXPECT_TRUE(IsAway({grpc::StatusCode::UNAVAILABLE, "Connection refused"}));
}

TEST(WireStatusTest, AShardThatStartsOrStopsIsAwayWhileWhoAsksItServes) {
  for (const std::string_view reason : {reason::kDraining, reason::kStarting}) {
    const absl::Status sent = WithRetry(WithReason(absl::UnavailableError("try again"), reason), absl::Seconds(1));
    const absl::Status got = Through(sent);
    EXPECT_EQ(got.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(got.message()), HasSubstr(kWho));
    EXPECT_EQ(ReasonOf(got), reason::kShardUnavailable);
    EXPECT_TRUE(IsAway(ToGrpcStatus(sent))) << reason;
  }
}

TEST(WireStatusTest, AShardThatRefusesIsThere) {
  EXPECT_FALSE(IsAway(grpc::Status::OK));
  for (const absl::Status& status :
       {WithReason(absl::ResourceExhaustedError("writes wait"), reason::kQueueFull), absl::AbortedError("moved"),
        WithReason(absl::UnavailableError("not told of the memory yet"), reason::kShardUnavailable),
        absl::InternalError("a bug")}) {
    EXPECT_FALSE(IsAway(ToGrpcStatus(status))) << status;
  }
}

TEST(WireStatusTest, AReplicaThatLagsSaysWhatItWaitsFor) {
  const absl::Status got = Through(WithReason(absl::DeadlineExceededError("waits for ram"), reason::kReplicaLagging));
  EXPECT_EQ(got.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(got.message(), absl::StrCat(kWho, ": waits for ram"));
  EXPECT_EQ(ReasonOf(got), reason::kReplicaLagging);
}

TEST(WireStatusTest, AShardWhoseDiskRunsLowIsNamed) {
  const absl::Status waits = Through(WithReason(absl::DeadlineExceededError("waits for room"), reason::kStorageLow));
  const absl::Status refuses = Through(WithReason(absl::ResourceExhaustedError("1 byte free"), reason::kStorageLow));
  EXPECT_EQ(waits.message(), absl::StrCat(kWho, ": waits for room"));
  EXPECT_TRUE(IsLagging(waits));
  EXPECT_EQ(refuses.message(), absl::StrCat(kWho, ": 1 byte free"));
  EXPECT_EQ(ReasonOf(refuses), reason::kStorageLow);
  EXPECT_FALSE(IsLagging(refuses)) << "no other is asked";
}

TEST(WireStatusTest, ADeadlineIsOne) {
  const absl::Status got = FromGrpcStatus({grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"}, kWho);
  EXPECT_EQ(got.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(got.message()), HasSubstr(kWho));
  EXPECT_TRUE(IsAway({grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"}));
}

}  // namespace
}  // namespace mneme
