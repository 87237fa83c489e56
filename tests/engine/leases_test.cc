// What a lease promises: reads of it see the rows that were live when it was taken, whatever happened since.
#include "engine/leases.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <tuple>

#include "common/error_reason.h"
#include "common/limits.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr uint32_t kDimension = 4;
constexpr int64_t kMinute = 60'000;

class LeasesTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  explicit LeasesTest(DeploymentOptions options = {.search_threads = 2,
                                                   .answer_cache_bytes = 1 << 20,
                                                   .thresholds = {.flat_rows = 300, .seal_rows = 400}})
      : deployment_(GetParam(), std::move(options)) {
    memory_ = deployment_.Create(TokenMemory("wiki", kDimension));
  }

  std::vector<float> RandomKey() {
    std::vector<float> key(kDimension);
    for (float& x : key) x = static_cast<float>(random_() % 1000) / 100;
    return key;
  }
  // Entries of these ids at random places, some of which expire.
  void Put(EntryId first, EntryId end, PartitionId partition = 0) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < end; ++id) {
      Attributes attributes;
      attributes.source = id / 10;
      attributes.label = static_cast<int64_t>(id % 3);
      if (id % 7 == 0) attributes.expiry_ms = deployment_.clock().NowMs() + 2 * kMinute;
      entries.push_back({id, RandomKey(), static_cast<Token>(random_() % 1000), attributes});
    }
    const auto outcome = deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  void Forget(std::vector<EntryId> ids, PartitionId partition = 0) {
    ASSERT_TRUE(deployment_.DeleteIds(memory_, std::move(ids), partition).ok());
  }

  absl::StatusOr<Leases::Granted> TryAcquire(PartitionSelection partitions = {}, int64_t lease_ms = 10 * kMinute) {
    return deployment_->AcquireLease(memory_, {.partitions = std::move(partitions)}, lease_ms);
  }
  std::string Acquire(PartitionSelection partitions = {}, int64_t lease_ms = 10 * kMinute) {
    auto granted = TryAcquire(std::move(partitions), lease_ms);
    EXPECT_TRUE(granted.ok()) << granted.status();
    return granted.ok() ? granted->id : "";
  }
  LeaseHandle Find(const std::string& id) {
    auto lease = deployment_->leases().Find(id, *memory_);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return lease.ok() ? *lease : nullptr;
  }
  static void ExpectEnded(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ(ReasonOf(status), reason::kLeaseExpired) << status;
    EXPECT_NE(status.message().find("take another"), absl::string_view::npos) << status;
  }

  // Everything that a query told, in bytes.
  struct Seen {
    std::vector<EntryId> ids;
    std::vector<double> scores;
    std::vector<char> values;
    std::vector<EntryId> successors;
    std::vector<uint8_t> has_successor;
    uint64_t counted = 0;
    std::vector<std::tuple<PartitionId, EntryId, int64_t, std::string>> visited;

    friend bool operator==(const Seen&, const Seen&) = default;
  };
  Seen Look(const LeaseHandle& lease, PartitionSelection partitions = {}, bool exact = true) {
    QueryCommand command = ExactQuery(probes_, probes_.size() / kDimension, 12);
    command.exact = exact;
    command.partitions = partitions;
    command.lease = lease;
    command.with_successors = true;
    if (!partitions.all) {  // the same ids for every row, some of which are there
      for (size_t row = 0; row <= command.count; ++row) command.extra_offsets.push_back(row * 4);
      for (size_t row = 0; row < command.count; ++row) {
        for (const EntryId id : {3, 77, 150, 9'999}) command.extra_ids.push_back(id);
      }
    }
    const auto outcome = deployment_.Query(memory_, std::move(command));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    Seen seen;
    if (!outcome.ok()) return seen;
    seen.ids = outcome->neighbours.ids;
    seen.scores = outcome->neighbours.scores;
    seen.values.assign(outcome->neighbours.values.bytes.begin(), outcome->neighbours.values.bytes.end());
    seen.successors = outcome->successors;
    seen.has_successor = outcome->has_successor;
    seen.counted = deployment_->Count(memory_, {.partitions = partitions, .lease = lease}).value();
    EXPECT_TRUE(deployment_
                    ->Visit(memory_, {.partitions = partitions, .lease = lease},
                            [&](PartitionId partition, const EntryView& entry) {
                              seen.visited.emplace_back(partition, entry.id, entry.attributes.label,
                                                        std::string(entry.value));
                              return absl::OkStatus();
                            })
                    .ok());
    std::sort(seen.visited.begin(), seen.visited.end());
    return seen;
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
  std::mt19937_64 random_{17};
  const std::vector<float> probes_ = {1, 2, 3, 4, 9, 8, 7, 6, 5, 5, 5, 5};
};

TEST_P(LeasesTest, ReadsSeeWhatWasLiveWhenItWasTakenWhateverHappensSince) {
  Put(0, 200);
  Put(200, 500);
  Forget({4, 78});
  const std::string id = Acquire();
  const Seen then = Look(Find(id));
  EXPECT_EQ(then, Look(nullptr)) << "at first it is what is there";
  EXPECT_EQ(then.counted, 498U);
  const auto same = [&](const char* after) {
    EXPECT_EQ(Look(Find(id)), then) << after;
    EXPECT_NE(Look(nullptr), then) << after << ": and who has no lease sees the present";
  };
  Put(500, 700);
  same("inserted");
  Put(0, 120);
  same("overwritten");
  Forget({1, 2, 3, 77, 150, 151, 152, 300, 499});
  same("deleted");
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  same("sealed");
  Put(600, 1'400);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  same("merged");
  ASSERT_TRUE(deployment_.Build(memory_, /*retrain=*/true).ok());
  same("trained anew");
  deployment_.clock().Advance(3 * kMinute);
  EXPECT_LT(deployment_.Count(memory_), 1'400U - 9);
  same("expired");
  DeleteCommand everything;
  everything.partitions.partitions = {0};
  everything.everything = true;
  ASSERT_TRUE(deployment_.Delete(memory_, std::move(everything)).ok());
  EXPECT_EQ(deployment_.Count(memory_), 0U);
  same("emptied");
}

TEST_P(LeasesTest, ReadsOfASealedVersionSeeItThroughItsFiles) {
  Put(0, 1'500);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  Put(1'500, 1'550);
  const std::string id = Acquire();
  const Seen exact = Look(Find(id));
  const Seen approximate = Look(Find(id), {}, /*exact=*/false);
  for (int round = 0; round < 3; ++round) {
    Put(0, 900);
    Put(2'000, 3'500);
    ASSERT_TRUE(deployment_.Build(memory_, /*retrain=*/true).ok());
    EXPECT_EQ(Look(Find(id)), exact);
    EXPECT_EQ(Look(Find(id), {}, /*exact=*/false), approximate);
  }
}

TEST_P(LeasesTest, EachLeaseHoldsItsOwnVersion) {
  std::vector<std::pair<std::string, Seen>> taken;
  for (int round = 0; round < 12; ++round) {
    Put(random_() % 300, 300 + random_() % 300);
    Forget({random_() % 300, random_() % 300});
    if (round % 4 == 3) {
      ASSERT_TRUE(deployment_.Build(memory_).ok());
    }
    const std::string id = Acquire();
    taken.emplace_back(id, Look(Find(id)));
  }
  std::shuffle(taken.begin(), taken.end(), random_);
  for (const auto& [id, seen] : taken) EXPECT_EQ(Look(Find(id)), seen);
  EXPECT_EQ(deployment_->Statistics().leases, 12U);
}

TEST_P(LeasesTest, TheVersionThatALeaseHoldsIsTheOneThatItsAnswersName) {
  Put(0, 50);
  const auto granted = TryAcquire();
  ASSERT_TRUE(granted.ok());
  Put(50, 90);
  QueryCommand command = ExactQuery(probes_, 3, 2);
  command.lease = Find(granted->id);
  const auto outcome = deployment_.Query(memory_, std::move(command));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(deployment_->EncodeVersion(outcome->version), deployment_->EncodeVersion(granted->version));
}

TEST_P(LeasesTest, ALeaseOfAllPartitionsHoldsThoseThatSlept) {
  for (PartitionId partition = 0; partition < 40; ++partition) Put(0, 20, partition);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  PartitionSelection all;
  all.all = true;
  const std::string id = Acquire(all);
  const Seen then = Look(Find(id), all);
  EXPECT_EQ(then.counted, 800U);
  for (PartitionId partition = 0; partition < 60; ++partition) Put(10, 40, partition);
  EXPECT_EQ(Look(Find(id), all), then);
  PartitionSelection some;
  some.partitions = {7, 3};
  EXPECT_EQ(Look(Find(id), some).counted, 40U);
  some.partitions = {55};
  EXPECT_EQ(Look(Find(id), some).counted, 0U) << "it was not there";
}

TEST_P(LeasesTest, ALeaseCoversThePartitionsThatItWasTakenFor) {
  const auto named = [](std::vector<PartitionId> partitions) {
    PartitionSelection selection;
    selection.partitions = std::move(partitions);
    return selection;
  };
  PartitionSelection all;
  all.all = true;
  const LeaseHandle zero = Find(Acquire());
  EXPECT_TRUE(zero->Covers({}) && zero->Covers(named({0})));
  EXPECT_FALSE(zero->Covers(named({0, 1})) || zero->Covers(all));
  const LeaseHandle some = Find(Acquire(named({9, 2, 5})));
  EXPECT_TRUE(some->Covers(named({5, 9})));
  EXPECT_FALSE(some->Covers({}) || some->Covers(named({2, 3})) || some->Covers(all));
  const LeaseHandle every = Find(Acquire(all));
  EXPECT_TRUE(every->Covers({}) && every->Covers(named({7})) && every->Covers(all));
}

TEST_P(LeasesTest, ALeaseEndsAtItsTimeUnlessItIsRenewed) {
  const auto granted = TryAcquire({}, 1'000);
  ASSERT_TRUE(granted.ok());
  EXPECT_EQ(granted->expires_ms, deployment_.clock().NowMs() + 1'000);
  deployment_.clock().Advance(999);
  EXPECT_NE(Find(granted->id), nullptr);
  EXPECT_EQ(deployment_->leases().Renew(granted->id, 500).value(), deployment_.clock().NowMs() + 500);
  deployment_.clock().Advance(499);
  const LeaseHandle lease = Find(granted->id);
  EXPECT_EQ(deployment_->Statistics().leases, 1U);
  deployment_.clock().Advance(1);
  ExpectEnded(deployment_->leases().Find(granted->id, *memory_).status());
  ExpectEnded(deployment_->leases().Renew(granted->id, 500).status());
  ExpectEnded(deployment_->leases().Release(granted->id));
  EXPECT_EQ(deployment_->Statistics().leases, 0U);
  EXPECT_EQ(Look(lease).counted, 0U) << "a read that found it before reads on";
}

TEST_P(LeasesTest, ALeaseThatIsGivenBackHasEndedAndLetsGoOfItsRam) {
  Put(0, 100);
  const std::string a = Acquire();
  const uint64_t one = deployment_->Statistics().leased_ram_bytes;
  EXPECT_GT(one, 100 * kDimension * sizeof(float));
  const std::string b = Acquire();
  EXPECT_EQ(deployment_->Statistics().leased_ram_bytes, one) << "the same tail is held once";
  ASSERT_TRUE(deployment_->leases().Release(a).ok());
  ExpectEnded(deployment_->leases().Find(a, *memory_).status());
  EXPECT_NE(Find(b), nullptr);
  EXPECT_EQ(deployment_->Statistics().leased_ram_bytes, one);
  absl::Status told = absl::UnknownError("nothing");
  deployment_->leases().ReleaseThen(b, [&told](const absl::Status& released) { told = released; });
  EXPECT_TRUE(told.ok()) << told;
  EXPECT_EQ(deployment_->Statistics().leased_ram_bytes, 0U);
  deployment_->leases().ReleaseThen(b, [&told](const absl::Status& released) { told = released; });
  ExpectEnded(told);
}

TEST_P(LeasesTest, ALeaseOfAnotherProcessOrMemoryHasEnded) {
  const std::string id = Acquire();
  const MemoryHandle other = deployment_.Create(TokenMemory("other", kDimension));
  ExpectEnded(deployment_->leases().Find(id, *other).status());
  EXPECT_NE(Find(id), nullptr);
  ASSERT_TRUE(deployment_->DropMemory("wiki").ok());
  ExpectEnded(deployment_->leases().Find(id, *memory_).status());
  deployment_.Restart();
  memory_ = deployment_.Find("other");
  for (int i = 0; i < 3; ++i) Acquire();
  ExpectEnded(deployment_->leases().Find(id, *memory_).status());
}

TEST_P(LeasesTest, WhatIsNoIdIsInvalid) {
  for (const std::string& id : {std::string("x"), std::string(15, '\0'), std::string(17, '\0')}) {
    EXPECT_EQ(deployment_->leases().Find(id, *memory_).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(deployment_->leases().Renew(id, 1).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(deployment_->leases().Release(id).code(), absl::StatusCode::kInvalidArgument);
  }
  ExpectEnded(deployment_->leases().Release(std::string(16, '\0')));
}

TEST_P(LeasesTest, ThereIsABoundAndAnEndedLeaseMakesRoom) {
  for (size_t i = 0; i < limits::kMaxLeases; ++i) Acquire({}, i == 0 ? 10 : kMinute);
  const absl::Status full = TryAcquire().status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_EQ(ReasonOf(full), reason::kMemoryLimit);
  deployment_.clock().Advance(10);
  EXPECT_TRUE(TryAcquire().ok());
}

TEST_P(LeasesTest, ReadersAndWritersAndWhoTakesLeasesDoNotDisturbEachOther) {
  Put(0, 400);
  std::atomic<bool> over{false};
  std::thread writer([&] {
    std::mt19937_64 random(3);
    for (EntryId round = 0; !over; ++round) {
      std::vector<PlainEntry> entries;
      for (EntryId id = round * 37 % 500; entries.size() < 60; ++id) {
        const float x = static_cast<float>(random() % 1000) / 100;
        entries.push_back({id, {x, x, x, x}, 1});
      }
      ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries)).ok());
      ASSERT_TRUE(deployment_.DeleteIds(memory_, {round % 400}).ok());
      if (round % 20 == 19) {
        ASSERT_TRUE(deployment_.Build(memory_).ok());
      }
    }
  });
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      for (int round = 0; round < 8; ++round) {
        const std::string id = Acquire();
        const Seen then = Look(Find(id));
        for (int again = 0; again < 5; ++again) ASSERT_EQ(Look(Find(id)), then);
        ASSERT_TRUE(deployment_->leases().Release(id).ok());
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  over = true;
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(Shards, LeasesTest, ::testing::Values(1U, 4U));

class ShortOfRamLeasesTest : public LeasesTest {
 protected:
  ShortOfRamLeasesTest() : LeasesTest({.search_threads = 1, .ram_limit_bytes = 400'000}) {}
};

TEST_P(ShortOfRamLeasesTest, WhatLeasesHoldCountsAndMayBeAQuarterOfTheRam) {
  PartitionId partition = 1;
  // Versions of partitions of their own, one after another, until their tails are a quarter of 400,000 bytes.
  const auto take = [&]() -> absl::Status {
    Put(0, 200, partition);
    PartitionSelection selection;
    selection.partitions = {partition++};
    return TryAcquire(selection).status();
  };
  absl::Status refused = absl::OkStatus();
  while (refused.ok() && partition < 100) refused = take();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(ReasonOf(refused), reason::kMemoryLimit);
  EXPECT_GT(partition, 3U);
  EXPECT_LE(deployment_->Statistics().leased_ram_bytes, 100'000U);
  EXPECT_GT(deployment_->Statistics().leased_ram_bytes, 60'000U);
  deployment_.clock().Advance(10 * kMinute);
  EXPECT_TRUE(take().ok()) << "those have ended";
}

INSTANTIATE_TEST_SUITE_P(Shards, ShortOfRamLeasesTest, ::testing::Values(1U));

}  // namespace
}  // namespace mneme
