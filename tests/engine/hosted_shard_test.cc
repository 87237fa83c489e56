// Deployments of one shard each: together they hold what one of all shards holds, and each alone serves its part.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <thread>

#include "common/error_reason.h"
#include "engine/prune_guard.h"
#include "engine/write_fanout.h"
#include "index/search.h"
#include "tests/engine/append_port.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::AppendPort;
using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr uint32_t kShards = 2;
constexpr uint64_t kDiskReserve = 1'000;

class HostedShardTest : public ::testing::Test {
 protected:
  void SetUp() override { OpenAll(); }

  absl::StatusOr<std::unique_ptr<LocalDeployment>> Open(uint32_t number) {
    DeploymentOptions options;
    options.data_dir = directory_ / ("shard-" + std::to_string(number));
    options.shards = kShards;
    options.search_threads = 1;
    options.clock = &clock_;
    options.disk_reserve_bytes = kDiskReserve;
    options.free_disk = [this](const std::string&) { return std::optional<uint64_t>(free_disk_); };
    options.hosted.emplace().number = number;
    if (number != 0) {
      options.hosted->identity = shards_[0]->identity();
      options.hosted->catalogue = shards_[0]->names().Everything();
      options.hosted->accept_empty = accept_empty_;
    }
    return LocalDeployment::Open(std::move(options));
  }
  void OpenAll() {
    for (uint32_t number = 0; number < kShards; ++number) {
      auto opened = Open(number);
      ASSERT_TRUE(opened.ok()) << opened.status();
      shards_[number] = *std::move(opened);
      ports_[number] = std::make_unique<AppendPort>(shards_[number].get(), number);
    }
  }
  // Has every shard know what shard 0 does.
  void Tell() { ASSERT_TRUE(shards_[1]->TakeCatalogue(shards_[0]->names().Everything()).ok()); }
  MemoryHandle Create(const std::string& name) {
    const MemoryHandle memory = shards_[0]->CreateMemory(TokenMemory(name, 3)).value();
    Tell();
    return memory;
  }

  std::vector<PlainEntry> Entries(EntryId first, size_t count) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < first + count; ++id) {
      const float x = static_cast<float>(id % 17);
      entries.push_back({.id = id, .key = {x, x * 0.5F, 1.0F}, .token = static_cast<Token>(id % 1000)});
    }
    return entries;
  }
  absl::StatusOr<InsertOutcome> Insert(const MemoryHandle& memory, const std::vector<PlainEntry>& entries) {
    const WriteFanout fanout({ports_[0].get(), ports_[1].get()}, &routing_);
    std::promise<absl::StatusOr<InsertOutcome>> told;
    fanout.Insert(memory, {.entries = ColumnsOf(memory->spec, entries)}, clock_.NowMs(), nullptr,
                  [&](absl::StatusOr<InsertOutcome> outcome) { told.set_value(std::move(outcome)); });
    return told.get_future().get();
  }
  absl::StatusOr<QueryOutcome> QueryOn(uint32_t shard, const MemoryHandle& memory, uint32_t k) {
    std::promise<absl::StatusOr<QueryOutcome>> told;
    shards_[shard]->Query(memory, ExactQuery({3.0F, 1.0F, 1.0F}, 1, k),
                          [&](absl::StatusOr<QueryOutcome> outcome) { told.set_value(std::move(outcome)); });
    return told.get_future().get();
  }

  bool accept_empty_ = false;
  std::atomic<uint64_t> free_disk_{kDiskReserve};
  ManualClock clock_{1'000'000};
  TemporaryDirectory directory_;
  const Routing routing_{kShards};
  std::unique_ptr<LocalDeployment> shards_[kShards];
  std::unique_ptr<AppendPort> ports_[kShards];
};

TEST_F(HostedShardTest, ShardsOfTheirOwnAnswerTogetherAsOneDeployment) {
  TestDeployment whole(kShards);
  const MemoryHandle twin = whole.Create(TokenMemory("wiki", 3));
  const MemoryHandle memory = Create("wiki");
  const auto entries = Entries(0, 500);
  ASSERT_TRUE(whole.Insert(twin, ColumnsOf(twin->spec, entries)).ok());
  const auto inserted = Insert(memory, entries);
  ASSERT_TRUE(inserted.ok()) << inserted.status();
  EXPECT_EQ(inserted->inserted, 500U);
  EXPECT_EQ(inserted->version.parts.size(), kShards);

  const QueryOutcome expected = whole.Query(twin, ExactQuery({3.0F, 1.0F, 1.0F}, 1, 40)).value();
  const QueryOutcome first = QueryOn(0, memory, 40).value();
  const QueryOutcome second = QueryOn(1, memory, 40).value();
  const NeighbourColumns* const parts[] = {&first.neighbours, &second.neighbours};
  const NeighbourColumns merged = MergeNeighbours(parts, 40);
  EXPECT_EQ(merged.ids, expected.neighbours.ids);
  EXPECT_EQ(merged.scores, expected.neighbours.scores);
  EXPECT_EQ(first.version.parts.size(), 1U);
  EXPECT_EQ(second.version.parts.front().shard, 1U);

  uint64_t count = 0;
  for (const auto& shard : shards_) count += shard->Count(memory, {}).value();
  EXPECT_EQ(count, 500U);
}

TEST_F(HostedShardTest, EachKeepsItsPartAcrossARestart) {
  const MemoryHandle memory = Create("wiki");
  ASSERT_TRUE(Insert(memory, Entries(0, 200)).ok());
  std::map<uint32_t, uint64_t> before;
  for (uint32_t i = 0; i < kShards; ++i) before[i] = shards_[i]->Count(memory, {}).value();
  EXPECT_GT(before[0], 50U);
  EXPECT_GT(before[1], 50U);
  for (auto& shard : shards_) shard.reset();
  OpenAll();
  for (uint32_t i = 0; i < kShards; ++i) {
    const MemoryHandle found = shards_[i]->FindMemory("wiki").value();
    EXPECT_EQ(shards_[i]->Count(found, {}).value(), before[i]) << "shard " << i;
  }
}

TEST_F(HostedShardTest, WhatFillsADiskThatHasNoRoomIsNotAppendedAndADropIs) {
  const MemoryHandle memory = Create("wiki");
  ASSERT_TRUE(Insert(memory, Entries(0, 10)).ok());
  free_disk_ = kDiskReserve - 1;
  absl::Status refused;
  for (int tries = 0; tries < 2'000 && refused.ok(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    refused = Insert(memory, Entries(0, 10)).status();
  }
  EXPECT_EQ(ReasonOf(refused), reason::kStorageLow) << refused;
  DeleteOperation erase;
  std::promise<absl::StatusOr<WriteResult>> told;
  erase.ticket.memory = memory;
  erase.ticket.done = [&told](absl::StatusOr<WriteResult> result) { told.set_value(std::move(result)); };
  erase.all_partitions = true;
  erase.everything = true;
  ASSERT_TRUE(ports_[1]->Submit(std::move(erase)).ok());
  EXPECT_TRUE(told.get_future().get().ok());
}

TEST_F(HostedShardTest, AMemoryThatWasDroppedTakesNoWritesOnAnyShard) {
  const MemoryHandle memory = Create("wiki");
  ASSERT_TRUE(Insert(memory, Entries(0, 10)).ok());
  ASSERT_TRUE(shards_[0]->DropMemory("wiki").ok());
  Tell();
  const absl::Status refused = Insert(memory, Entries(10, 10)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound) << refused;
  EXPECT_EQ(shards_[1]->names().FindByNumber(memory->number), nullptr);
}

TEST_F(HostedShardTest, WhatWasDroppedWhileAShardWasAwayIsGoneWhenItComesBack) {
  const MemoryHandle memory = Create("wiki");
  const MemoryHandle stays = Create("books");
  ASSERT_TRUE(Insert(memory, Entries(0, 100)).ok());
  ASSERT_TRUE(Insert(stays, Entries(0, 100)).ok());
  shards_[1].reset();
  ASSERT_TRUE(shards_[0]->DropMemory("wiki").ok());
  auto opened = Open(1);
  ASSERT_TRUE(opened.ok()) << opened.status();
  shards_[1] = *std::move(opened);
  EXPECT_EQ(shards_[1]->Statistics().memories.entries, shards_[1]->Count(stays, {}).value());
}

TEST_F(HostedShardTest, AShardThatLostItsDiskDoesNotComeBackEmpty) {
  shards_[1].reset();
  std::filesystem::remove_all(directory_ / "shard-1");
  auto opened = Open(1);
  ASSERT_TRUE(opened.ok()) << "nothing was ever in it: " << opened.status();
  shards_[1] = *std::move(opened);
  ports_[1] = std::make_unique<AppendPort>(shards_[1].get(), 1);
  const MemoryHandle memory = Create("wiki");
  ASSERT_TRUE(Insert(memory, Entries(0, 100)).ok());
  shards_[1].reset();
  std::filesystem::remove_all(directory_ / "shard-1");
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(absl::IsDataLoss(Open(1).status()));
  accept_empty_ = true;
  opened = Open(1);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->Statistics().memories.entries, 0U);
}

TEST_F(HostedShardTest, AnOlderCopyOfTheCatalogueRemovesNothing) {
  Create("books");
  const CatalogueChanges older = shards_[0]->names().Everything();
  const MemoryHandle memory = Create("wiki");
  ASSERT_TRUE(Insert(memory, Entries(0, 100)).ok());
  const uint64_t before = shards_[1]->Count(memory, {}).value();
  EXPECT_TRUE(absl::IsDataLoss(shards_[1]->TakeCatalogue(older)));
  EXPECT_EQ(shards_[1]->Count(shards_[1]->FindMemory("wiki").value(), {}).value(), before);
  EXPECT_TRUE(Insert(memory, Entries(100, 10)).ok()) << "it takes writes as before";
}

TEST_F(HostedShardTest, OnlyShardZeroChangesTheCatalogue) {
  const absl::Status refused = shards_[1]->CreateMemory(TokenMemory("wiki", 3)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("shard 0 does"));
}

TEST_F(HostedShardTest, IsNotOpenedAsAnotherShardNorOfAnotherDeployment) {
  shards_[1].reset();
  DeploymentOptions options;
  options.data_dir = directory_ / "shard-1";
  options.shards = kShards;
  const absl::Status as_all = LocalDeployment::Open(std::move(options)).status();
  EXPECT_EQ(as_all.code(), absl::StatusCode::kFailedPrecondition) << as_all;
  DeploymentOptions other;
  other.data_dir = directory_ / "shard-1";
  other.shards = kShards;
  other.hosted.emplace().number = 1;
  other.hosted->identity = shards_[0]->identity() + 1;
  EXPECT_EQ(LocalDeployment::Open(std::move(other)).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(HostedShardTest, AGuardOverAllPartsIsThatOfOneProcess) {
  std::vector<PlainEntry> entries = Entries(0, 300);
  for (PlainEntry& entry : entries) entry.token = static_cast<Token>(entry.id % 3);
  const auto dry_run = [] {
    PruneCommand command;
    command.neighbours = 4;
    command.exact = true;
    command.dry_run = true;
    PruneGuard& guard = command.guard.emplace();
    guard.count = 70;  // more than a batch
    guard.queries.Resize(guard.count * 3 * sizeof(float));
    for (size_t i = 0; i < guard.count; ++i) {
      const float x = static_cast<float>(i) * 0.3F;
      guard.queries.as<float>()[3 * i] = x;
      guard.queries.as<float>()[3 * i + 1] = x * 0.4F;
      guard.queries.as<float>()[3 * i + 2] = 1.0F;
      guard.targets.push_back(static_cast<Token>(i % 4));  // 3 is none's
      guard.lm_log_probs.push_back(-2.0F);
    }
    guard.k = 7;
    guard.temperature = 3.0;
    guard.knn_weight = 0.25;
    return command;
  };
  TestDeployment one(kShards);
  const MemoryHandle whole = one.Create(TokenMemory("wiki", 3));
  ASSERT_TRUE(one.Insert(whole, ColumnsOf(whole->spec, entries)).ok());
  const auto expected = one->Prune(whole, dry_run());
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_NE(expected->perplexity_before, expected->perplexity_after);

  const MemoryHandle memory = Create("wiki");
  ASSERT_TRUE(Insert(memory, entries).ok());
  std::vector<NeighbourColumns> shared[kShards];
  PruneOutcome sum;
  for (uint32_t number = 0; number < kShards; ++number) {
    PruneCommand command = dry_run();
    command.share = [&, number](const NeighbourColumns& found) {
      shared[number].push_back(found);
      return absl::OkStatus();
    };
    const auto part = shards_[number]->Prune(memory, std::move(command));
    ASSERT_TRUE(part.ok()) << part.status();
    sum.entries += part->entries;
    sum.merged += part->merged;
  }
  size_t batch = 0;
  const auto search = [&](bool, size_t, size_t) {
    const NeighbourColumns* const parts[] = {&shared[0][batch], &shared[1][batch]};
    ++batch;
    return absl::StatusOr<NeighbourColumns>(MergeNeighbours(parts, 7));
  };
  ASSERT_TRUE(ReckonGuard(dry_run(), search, sum).ok());
  EXPECT_EQ(batch, 4U);
  EXPECT_EQ(sum.entries, expected->entries);
  EXPECT_EQ(sum.merged, expected->merged);
  EXPECT_EQ(sum.perplexity_before, expected->perplexity_before) << "to the bit";
  EXPECT_EQ(sum.perplexity_after, expected->perplexity_after);
}

}  // namespace
}  // namespace mneme
