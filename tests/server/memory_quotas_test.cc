// How many memories a name may have, held to however many are made at once.
#include "server/memory_quotas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "server/request_error.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

class MemoryQuotasTest : public ::testing::Test {
 protected:
  static Principal Tenant(uint64_t memories) {
    Principal principal;
    principal.name = "tenant";
    principal.grants.push_back(*ParseGrant("admin:own-*"));
    principal.stored.memories = memories;
    return principal;
  }
  absl::StatusOr<MemoryQuotas::Ticket> Admit(const Principal& principal, const std::string& name) {
    return quotas_.Admit(principal, *deployment_, name);
  }
  void Make(const std::string& name) { deployment_.Create(testing::TokenMemory(name, 2)); }
  static void ExpectComeBack(const absl::Status& refused) {
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(refused), reason::kRateLimit);
    EXPECT_EQ(QuotaOf(refused), "memories");
    EXPECT_TRUE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  }

  testing::TestDeployment deployment_;
  MemoryQuotas quotas_;
};

TEST_F(MemoryQuotasTest, WhatIsBeingMadeIsCountedUntilItHasEnded) {
  const Principal tenant = Tenant(2);
  Make("own-1");
  Make("wiki");  // none of his
  absl::StatusOr<MemoryQuotas::Ticket> second = Admit(tenant, "own-2");
  ASSERT_TRUE(second.ok()) << second.status();
  const absl::Status refused = Admit(tenant, "own-3").status();
  ExpectComeBack(refused);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("there are 1 memories of the names that \"tenant\" may create, and 1 are being made, beside "
                        "which one more may not fit in his quota of 2"));
  EXPECT_TRUE(Admit(tenant, "own-2").ok()) << "a retry is the same memory";
  EXPECT_TRUE(Admit(tenant, "own-1").ok()) << "it is there, which who makes it tells";
  second->Release();  // it was not made
  EXPECT_TRUE(Admit(tenant, "own-3").ok());
}

TEST_F(MemoryQuotasTest, WhatIsThereAndStillBeingMadeCountsOnce) {
  const Principal tenant = Tenant(2);
  const absl::StatusOr<MemoryQuotas::Ticket> first = Admit(tenant, "own-1");
  ASSERT_TRUE(first.ok()) << first.status();
  Make("own-1");
  EXPECT_TRUE(Admit(tenant, "own-2").ok());
  Make("own-2");
  const absl::Status refused = Admit(tenant, "own-3").status();
  EXPECT_EQ(ReasonOf(refused), reason::kStoredQuota) << "only dropping helps";
  EXPECT_FALSE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
}

TEST_F(MemoryQuotasTest, OnlyNamesThatHeMayCreateAreHeldAgainstHim) {
  const absl::StatusOr<MemoryQuotas::Ticket> own = Admit(Tenant(1), "own-1");
  ASSERT_TRUE(own.ok()) << own.status();
  Principal other = Tenant(1);
  other.grants = {*ParseGrant("admin:other-*")};
  EXPECT_TRUE(Admit(other, "other-1").ok());
  EXPECT_TRUE(Admit(Tenant(0), "own-2").ok()) << "who has no bound";
}

TEST_F(MemoryQuotasTest, OfManyAtOnceAsManyAreMadeAsHeMayHave) {
  constexpr int kThreads = 8;
  constexpr int kBound = 3;
  const Principal tenant = Tenant(kBound);
  std::latch decided(kThreads);
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const std::string name = "own-" + std::to_string(i);
      const absl::StatusOr<MemoryQuotas::Ticket> ticket = Admit(tenant, name);
      decided.arrive_and_wait();  // nothing is made before all were let in, or not
      if (!ticket.ok()) return ExpectComeBack(ticket.status());
      Make(name);
      ++made;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, kBound);
  EXPECT_EQ(deployment_->ListMemories()->size(), size_t{kBound});
  EXPECT_EQ(ReasonOf(Admit(tenant, "own-9").status()), reason::kStoredQuota);
}

}  // namespace
}  // namespace mneme
