// Which shard owns what. Stored data lies where these functions said, so their values are part of the format
// (docs/formats.md).
#include "engine/routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace mneme {
namespace {

using ::testing::ElementsAre;

MemoryRecord Memory(MemoryNumber number, Spread spread = Spread::kAll) {
  MemoryRecord memory;
  memory.number = number;
  memory.spec.spread = spread;
  return memory;
}

TEST(RoutingTest, MixedNumbersHaveTheirGoldenValues) {
  EXPECT_EQ(Mix64(0), 0xE220A8397B1DCDAF);
  EXPECT_EQ(Mix64(1), 0x910A2DEC89025CC1);
  EXPECT_EQ(Mix64(300), 0x2FB54C54D1EB0392);
  EXPECT_EQ(Mix64(42 ^ Mix64(3)), 0x43AA8652AD94B3A2);
  EXPECT_EQ(Checksum64("request-1", 3), 0x658641BDBC8B2BE2);
}

TEST(RoutingTest, AClientIdOfPartitionZeroGoesByItsOwnHash) {
  const EntryId ids[] = {0, 1, 2, 7, 300, (uint64_t{1} << 62) - 1};
  const uint32_t of_4[] = {3, 1, 2, 3, 2, 2};
  const uint32_t of_7[] = {2, 2, 4, 2, 0, 4};
  for (size_t i = 0; i < std::size(ids); ++i) {
    for (const MemoryNumber memory : {1, 3}) {
      EXPECT_EQ(Routing(4).OwnerOfEntry(Memory(memory), 0, ids[i]), of_4[i]) << ids[i];
      EXPECT_EQ(Routing(7).OwnerOfEntry(Memory(memory), 0, ids[i]), of_7[i]) << ids[i];
    }
    EXPECT_EQ(Routing(1).OwnerOfEntry(Memory(3), 0, ids[i]), 0U);
  }
}

TEST(RoutingTest, APartitionLivesWholeOnOneShard) {
  EXPECT_EQ(Routing(4).OwnerOfPartition(Memory(1), 1), 2U);
  EXPECT_EQ(Routing(7).OwnerOfPartition(Memory(1), 42), 6U);
  EXPECT_EQ(Routing(7).OwnerOfPartition(Memory(3), 1), 0U);
  EXPECT_EQ(Routing(256).OwnerOfPartition(Memory(3), 42), 162U);
  EXPECT_EQ(Routing(256).OwnerOfPartition(Memory(3), ~uint64_t{0}), 198U);
  EXPECT_EQ(Routing(4).OwnerOfPartition(Memory(3), 0), std::nullopt);
  for (const EntryId id : {EntryId{5}, ServerId(9, 1)}) {
    EXPECT_EQ(Routing(7).OwnerOfEntry(Memory(1), 42, id), 6U);
    EXPECT_EQ(Routing(7).OwnerOfBatch(Memory(1), 42, std::to_string(id)), 6U);
  }
}

TEST(RoutingTest, AMemoryOnOneShardLivesThereWithAllItsPartitions) {
  for (const PartitionId partition : {0, 1, 42}) {
    EXPECT_EQ(Routing(4).OwnerOfPartition(Memory(1, Spread::kOne), partition), 1U);
    EXPECT_EQ(Routing(7).OwnerOfPartition(Memory(3, Spread::kOne), partition), 2U);
    EXPECT_EQ(Routing(256).OwnerOfEntry(Memory(3, Spread::kOne), partition, 5), 237U);
    EXPECT_EQ(Routing(256).OwnerOfBatch(Memory(3, Spread::kOne), partition, "r"), 237U);
  }
}

TEST(RoutingTest, ABatchWithoutIdsGoesByItsRequestId) {
  EXPECT_EQ(Routing(4).OwnerOfBatch(Memory(1), 0, ""), 3U);
  EXPECT_EQ(Routing(4).OwnerOfBatch(Memory(3), 0, ""), 1U);
  EXPECT_EQ(Routing(7).OwnerOfBatch(Memory(1), 0, "request-1"), 0U);
  EXPECT_EQ(Routing(7).OwnerOfBatch(Memory(3), 0, "request-1"), 6U);
  EXPECT_EQ(Routing(256).OwnerOfBatch(Memory(3), 0, "request-1"), 226U);
}

TEST(RoutingTest, AServerIdSaysItsRowAndShard) {
  EXPECT_EQ(ServerId(0, 0), 0x4000000000000000U);
  EXPECT_EQ(ServerId(1000, 3), 0x400000000003E803U);
  for (const uint32_t shards : {4, 7, 256}) {
    for (uint32_t shard = 0; shard < shards; ++shard) {
      const EntryId id = ServerId(12'345, shard);
      EXPECT_TRUE(IsServerId(id));
      EXPECT_EQ(RowOfServerId(id), 12'345U);
      EXPECT_EQ(ShardOfServerId(id), shard);
      EXPECT_EQ(Routing(shards).OwnerOfEntry(Memory(3), 0, id), shard);
    }
  }
  EXPECT_FALSE(IsServerId(ServerId(0, 0) - 1));
}

TEST(RoutingTest, TheSuccessorIsTheNextClientIdOrTheNextRowOfTheShard) {
  EXPECT_EQ(SuccessorOf(0), 1U);
  EXPECT_EQ(SuccessorOf(299), 300U);
  EXPECT_EQ(SuccessorOf(ServerId(1000, 3)), ServerId(1001, 3));
  EXPECT_EQ(SuccessorOf(ServerId(255, 255)), ServerId(256, 255));
}

TEST(RoutingTest, IdsRequestsAndPartitionsSpreadEvenly) {
  constexpr int kDraws = 80'000;
  for (const uint32_t shards : {2, 8, 64}) {
    const Routing routing(shards);
    std::vector<int> ids(shards), requests(shards), partitions(shards), memories(shards);
    for (int i = 0; i < kDraws; ++i) {
      // Strided ids as an importer that numbers by block gives them.
      ++ids[routing.OwnerOfEntry(Memory(1), 0, static_cast<EntryId>(i) * 64)];
      ++requests[routing.OwnerOfBatch(Memory(1), 0, "request-" + std::to_string(i))];
      ++partitions[*routing.OwnerOfPartition(Memory(1), static_cast<PartitionId>(i) + 1)];
      ++memories[*routing.OwnerOfPartition(Memory(static_cast<MemoryNumber>(i) + 1, Spread::kOne), 0)];
    }
    // Six standard deviations of a fair draw.
    const double fair = static_cast<double>(kDraws) / shards;
    for (uint32_t shard = 0; shard < shards; ++shard) {
      for (const auto& counts : {ids, requests, partitions, memories}) {
        EXPECT_NEAR(counts[shard], fair, 6.0 * std::sqrt(fair)) << "shard " << shard << " of " << shards;
      }
    }
  }
}

TEST(RoutingTest, AReadAsksTheShardsThatMayHoldWhatItSelects) {
  const Routing routing(7);
  const MemoryRecord memory = Memory(1);
  const std::vector<uint32_t> everywhere = {0, 1, 2, 3, 4, 5, 6};
  EXPECT_EQ(routing.OwnersOf(memory, {}), everywhere);
  EXPECT_EQ(routing.OwnersOf(memory, {.partitions = {}, .all = true}), everywhere);
  EXPECT_EQ(routing.OwnersOf(memory, {.partitions = {42, 0}, .all = false}), everywhere);
  // Partitions 1, 42 and 258 of memory 1 lie on shards 2, 6 and 4.
  EXPECT_THAT(routing.OwnersOf(memory, {.partitions = {42, 1, 258, 42}, .all = false}), ElementsAre(2, 4, 6));
  const MemoryRecord one = Memory(3, Spread::kOne);
  EXPECT_THAT(routing.OwnersOf(one, {}), ElementsAre(2));
  EXPECT_THAT(routing.OwnersOf(one, {.partitions = {}, .all = true}), ElementsAre(2));
  EXPECT_THAT(routing.OwnersOf(one, {.partitions = {42, 1, 258}, .all = false}), ElementsAre(2));
}

TEST(RoutingTest, AProcessOfOneShardOwnsWhatThatShardDoes) {
  const Routing all(4);
  const Routing second(4, 1);
  const MemoryRecord memory = Memory(1);
  EXPECT_TRUE(second.Hosts(1));
  EXPECT_FALSE(second.Hosts(0));
  EXPECT_EQ(second.shards(), 4U) << "what is where does not depend on who has it";
  EXPECT_THAT(all.OwnersOf(memory, {}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(second.OwnersOf(memory, {}), ElementsAre(1));
  EXPECT_THAT(second.OwnersOf(memory, {.all = true}), ElementsAre(1));
  EXPECT_THAT(all.OwnersOf(memory, {.partitions = {1}}), ElementsAre(2));
  EXPECT_TRUE(second.OwnersOf(memory, {.partitions = {1}}).empty());
  EXPECT_EQ(second.OwnerOfEntry(memory, 0, 300), all.OwnerOfEntry(memory, 0, 300));
}

TEST(RoutingTest, AfterARestoreAnEntryMayLieWhereTheHashOfItsGivenIdSays) {
  const Routing plain(4);
  const Routing moved = plain.WithMovedIds();
  const EntryId given = ServerId(12'345, 3);
  EXPECT_EQ(plain.OtherOwnerOfEntry(Memory(1), 0, given), std::nullopt);
  EXPECT_EQ(moved.OtherOwnerOfEntry(Memory(1), 0, 300), std::nullopt);
  EXPECT_EQ(moved.OtherOwnerOfEntry(Memory(1), 5, given), std::nullopt);
  EXPECT_EQ(moved.OtherOwnerOfEntry(Memory(1, Spread::kOne), 0, given), std::nullopt);
  EXPECT_EQ(Routing(1).WithMovedIds().OtherOwnerOfEntry(Memory(1), 0, given), std::nullopt);
  std::vector<int> entries(4);
  for (Row row = 0; row < 4000; ++row) {
    const EntryId id = ServerId(row, 3);
    EXPECT_EQ(moved.OwnerOfEntry(Memory(1), 0, id), 3U);
    ++entries[PlacementOn(4).of_id(id)];
    EXPECT_EQ(moved.OtherOwnerOfEntry(Memory(1), 0, id).value_or(3), PlacementOn(4).of_id(id));
  }
  for (const int each : entries) EXPECT_NEAR(each, 1000, 150);
  EXPECT_TRUE(IsMapped(300, 7, 3));
  EXPECT_FALSE(IsMapped(ServerId(7, 3), 7, 3));
  EXPECT_TRUE(IsMapped(ServerId(7, 3), 8, 3));
  EXPECT_TRUE(IsMapped(ServerId(7, 3), 7, 2));
}
}  // namespace
}  // namespace mneme
