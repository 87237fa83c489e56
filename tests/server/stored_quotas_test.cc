// Bounds on what is stored, against counts of the test's own: by which count a write is let in, and what is refused.
#include "server/stored_quotas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "common/limits.h"
#include "server/request_error.h"

namespace mneme {
namespace {

using std::chrono::milliseconds;

class StoredQuotasTest : public testing::Test {
 protected:
  StoredQuotasTest() {
    memory_.number = 3;
    memory_.spec.name = "wiki";
  }

  static Principal Of(const std::string& grant, const StoredBounds& bounds) {
    Principal principal;
    principal.name = "tenant";
    principal.grants.push_back(*ParseGrant(grant));
    principal.stored = bounds;
    return principal;
  }
  absl::Status Write(const Principal& principal, StoredAmount added, int at_ms,
                     std::optional<PartitionId> partition = 7) {
    absl::StatusOr<StoredQuotas::Ticket> ticket =
        quotas_.Admit(principal, {"wiki", partition, added}, memory_, limits_,
                      [this](std::optional<PartitionId> counted) {
                        ++counts_;
                        counted_ = counted;
                        if (on_count_ != nullptr) on_count_();
                        return stored_;
                      },
                      start_ + milliseconds(at_ms));
    if (ticket.ok() && under_way_) tickets_.push_back(*std::move(ticket));
    return ticket.status();
  }

  StoredQuotas quotas_;
  std::vector<StoredQuotas::Ticket> tickets_;
  bool under_way_ = false;  // what is let in does not end by itself
  std::function<void()> on_count_;
  CallLimits limits_;
  MemoryRecord memory_;
  absl::StatusOr<StoredAmount> stored_ = StoredAmount();  // what shards say
  int counts_ = 0;                                        // how often they were asked
  std::optional<PartitionId> counted_;
  const StoredQuotas::Time start_ = std::chrono::steady_clock::now();
};

TEST_F(StoredQuotasTest, WhatFitsIsLetInByOneCountForATime) {
  const Principal writer = Of("write:wiki", {.entries = 100});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Write(writer, {10, 1}, i).ok()) << i;
  EXPECT_EQ(counts_, 1) << "what was let in is added to it";
  stored_ = StoredAmount{100, 0};
  const absl::Status refused = Write(writer, {1, 1}, 10);
  EXPECT_EQ(counts_, 2);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), reason::kStoredQuota);
  EXPECT_EQ(QuotaOf(refused), "stored-entries");
  EXPECT_THAT(std::string(refused.message()),
              testing::HasSubstr("memory \"wiki\" holds 100 entries, and 1 more do not fit in the quota of 100 stored "
                                 "entries of \"tenant\""));
  EXPECT_FALSE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
}

TEST_F(StoredQuotasTest, AnOldCountIsMadeAnew) {
  const Principal writer = Of("write:wiki", {.entries = 100});
  EXPECT_TRUE(Write(writer, {1, 1}, 0).ok());
  EXPECT_TRUE(Write(writer, {1, 1}, limits::kStoredCountMs - 1).ok());
  EXPECT_EQ(counts_, 1);
  EXPECT_TRUE(Write(writer, {1, 1}, limits::kStoredCountMs).ok());
  EXPECT_EQ(counts_, 2);
}

TEST_F(StoredQuotasTest, WhatWasDeletedMakesRoomAtOnce) {
  const Principal writer = Of("write:wiki", {.entries = 100});
  stored_ = StoredAmount{100, 0};
  EXPECT_FALSE(Write(writer, {1, 1}, 0).ok());
  stored_ = StoredAmount{99, 0};
  EXPECT_TRUE(Write(writer, {1, 1}, 1).ok());
  EXPECT_FALSE(Write(writer, {2, 1}, 1).ok()) << "one does not fit beside the other";
}

TEST_F(StoredQuotasTest, EachKindIsHeldAgainstItsOwnBound) {
  const Principal writer = Of("write:wiki", {.entries = 10, .bytes = 1'000});
  stored_ = StoredAmount{10, 900};
  EXPECT_TRUE(Write(writer, {0, 100}, 0, std::nullopt).ok()) << "sessions are no entries";
  const absl::Status refused = Write(writer, {0, 101}, 0, std::nullopt);
  EXPECT_EQ(QuotaOf(refused), "stored-bytes");
  stored_ = StoredAmount{9, 900};
  EXPECT_TRUE(Write(writer, {1, 100}, 0).ok());
}

TEST_F(StoredQuotasTest, WhoMayWriteToPartitionsIsHeldAgainstEachOfThem) {
  const Principal tenant = Of("write:wiki/7-8", {.entries = 10});
  stored_ = StoredAmount{10, 0};
  const absl::Status refused = Write(tenant, {1, 1}, 0);
  EXPECT_EQ(counted_, std::optional<PartitionId>(7));
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("partition 7 of memory \"wiki\" holds 10 entries"));
  stored_ = StoredAmount{0, 0};
  EXPECT_TRUE(Write(tenant, {10, 1}, 0, 8).ok());
  EXPECT_EQ(counted_, std::optional<PartitionId>(8));
  EXPECT_TRUE(Write(Of("write:wiki", {.entries = 10}), {1, 1}, 0).ok());
  EXPECT_EQ(counted_, std::nullopt) << "of all of it, of all of it";
}

TEST_F(StoredQuotasTest, WhoWouldNotFitBesideWhatIsUnderWayWaitsUntilItIsKnown) {
  const Principal writer = Of("write:wiki", {.entries = 100});
  under_way_ = true;
  EXPECT_TRUE(Write(writer, {60, 1}, 0).ok());
  EXPECT_TRUE(Write(writer, {40, 1}, 0).ok()) << "beside it";
  EXPECT_EQ(counts_, 1);
  // Neither is in the counts at first; then the first has ended.
  on_count_ = [this] {
    if (counts_ < 4) return;
    tickets_.front().Release();
    stored_ = StoredAmount{60, 0};
  };
  const absl::Status refused = Write(writer, {41, 1}, 0);
  EXPECT_EQ(QuotaOf(refused), "stored-entries");
  EXPECT_EQ(counts_, 4);
  // The second failed: it leaves room.
  on_count_ = [this] { tickets_.back().Release(); };
  EXPECT_TRUE(Write(writer, {40, 1}, 0).ok());
}

TEST_F(StoredQuotasTest, WhoWaitsDoesNotWaitBeyondHisCall) {
  const Principal writer = Of("write:wiki", {.entries = 100});
  under_way_ = true;
  EXPECT_TRUE(Write(writer, {60, 1}, 0).ok());
  limits_.deadline = std::chrono::steady_clock::now();
  EXPECT_TRUE(absl::IsDeadlineExceeded(Write(writer, {60, 1}, 0)));
}

TEST_F(StoredQuotasTest, WhoWaitsInVainIsToldToComeBack) {
  const Principal writer = Of("write:wiki", {.entries = 100});
  under_way_ = true;
  EXPECT_TRUE(Write(writer, {60, 1}, 0).ok());
  const absl::Status refused = Write(writer, {60, 1}, 0);  // the first does not end
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), reason::kRateLimit) << "waiting helps";
  EXPECT_EQ(QuotaOf(refused), "stored-entries");
  EXPECT_TRUE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  tickets_.clear();
  EXPECT_TRUE(Write(writer, {60, 1}, 0).ok()) << "it failed, and the count says so";
}

TEST_F(StoredQuotasTest, AShardThatDoesNotAnswerLeavesTheLastCount) {
  const Principal writer = Of("write:wiki", {.entries = 10});
  stored_ = absl::UnavailableError("shard 1 is away");
  EXPECT_TRUE(absl::IsUnavailable(Write(writer, {1, 1}, 0))) << "nothing is known";
  stored_ = StoredAmount{5, 0};
  EXPECT_TRUE(Write(writer, {1, 1}, 0).ok());
  stored_ = absl::UnavailableError("shard 1 is away");
  EXPECT_TRUE(Write(writer, {4, 1}, 60'000).ok());
  stored_ = WithReason(absl::UnavailableError("shard 1 is away"), reason::kShardUnavailable);
  const absl::Status refused = Write(writer, {1, 1}, 120'000);
  EXPECT_TRUE(absl::IsUnavailable(refused)) << "it passes: what was deleted since is not known";
  EXPECT_EQ(ReasonOf(refused), reason::kShardUnavailable);
  EXPECT_EQ(QuotaOf(refused), "");
  EXPECT_EQ(std::string(refused.message()),
            "memory \"wiki\" cannot be counted now, and by its last count holds up to 10 entries, "
            "beside which 1 more may not fit in the quota of 10 stored entries of \"tenant\"; try again: shard 1 is "
            "away");
  stored_ = StoredAmount{9, 0};
  EXPECT_TRUE(Write(writer, {1, 1}, 120'001).ok());
}

}  // namespace
}  // namespace mneme
