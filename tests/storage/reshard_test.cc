// Stores that are restored onto another number of shards: what is damaged is refused, and what is old stays the oldest.
#include "storage/reshard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/columns.h"
#include "tests/storage/backup_fixture.h"

namespace mneme::testing {
namespace {

using ::testing::HasSubstr;

class ReshardTest : public BackupTest {};

TEST_F(ReshardTest, WhatTheCatalogueNeverHadIsNotRestoredOntoOtherShards) {
  Stores stores(data_, resources_);
  StoreBatch batch;
  batch.sequence = 1;
  batch.heads = {{.key = {stores.catalogue->NextNumber().value(), 0}, .next_row = 1}};
  ASSERT_TRUE(stores.shards[1]->Commit(batch).ok());
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  const std::string target = directory_ / "target";
  const absl::Status refused = RestoreBackup(backups_, 0, {target, PlacementOn(kShards + 1)}, Go).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("which its catalogue never had"));
  EXPECT_FALSE(fs::exists(target));
}

TEST_F(ReshardTest, EntriesThatAreNotWhatTheirShardsSayAreNotRestoredOntoOtherShards) {
  Stores stores(data_, resources_);
  MemoryRecord memory;
  memory.number = stores.catalogue->NextNumber().value();
  memory.spec.name = "wiki";
  memory.spec.dimension = 2;
  ASSERT_TRUE(stores.catalogue->Put(memory).ok());
  const std::string target = directory_ / "target";
  const auto refused = [&](Row row, size_t key_bytes, const PartitionHead& head) {
    EntryColumns columns;
    columns.values.width = memory.spec.ValueBytes();
    columns.Append({.id = 1, .key = std::string(key_bytes, 'k'), .value = "1234", .attributes = {}});
    StoreBatch batch;
    batch.sequence = stores.shards[0]->applied() + 1;
    batch.dropped_partitions = {head.key};
    EXPECT_TRUE(stores.shards[0]->Commit(batch).ok());
    batch = {.sequence = batch.sequence + 1};
    batch.runs = {{head.key, row, &columns, 0, 1}};
    batch.heads = {head};
    EXPECT_TRUE(stores.shards[0]->Commit(batch).ok());
    EXPECT_TRUE(Write(Checkpoint(stores)).ok());
    const absl::Status status = RestoreBackup(backups_, 0, {target, PlacementOn(3)}, Go).status();
    EXPECT_FALSE(fs::exists(target) && !status.ok()) << status;
    fs::remove_all(target);
    return status.ok() ? "" : std::string(status.message());
  };
  PartitionHead head{.key = {memory.number, 0}, .next_row = 7, .live_rows = 1, .id_bound = 2};
  EXPECT_EQ(refused(6, 8, head), "");
  EXPECT_THAT(refused(7, 8, head), HasSubstr("row 7 of a shard is none of memory wiki"));
  EXPECT_THAT(refused(6, 12, head), HasSubstr("row 6 of a shard is none of memory wiki"));
  head.live_rows = 2;
  EXPECT_THAT(refused(6, 8, head), HasSubstr("has 1 entries in the backup; its shards counted 2"));
}

TEST_F(ReshardTest, RequestsGoOntoOtherShardsInTheOrderOfTheirAge) {
  Stores stores(data_, resources_);
  std::vector<int64_t> stamps;
  for (uint64_t i = 1; i <= 300; ++i) {
    const int64_t stamp_ms = 1'000'000 + static_cast<int64_t>(random_() % 100'000);
    StoreBatch batch;
    batch.sequence = i;
    batch.requests = {{{random_(), random_()}, i, i, stamp_ms, absl::StrCat("result ", i)}};
    ASSERT_TRUE(stores.shards[i % kShards]->Commit(batch).ok());
    // One of two parts.
    if (i % 10 == 0) {
      batch.requests[0].stamp_ms -= 500;
      ASSERT_TRUE(stores.shards[(i + 1) % kShards]->Commit(batch).ok());
    }
    stamps.push_back(stamp_ms);
  }
  std::sort(stamps.begin(), stamps.end());
  ASSERT_TRUE(Write(Checkpoint(stores)).ok());
  const std::string target = directory_ / "target";
  ASSERT_TRUE(RestoreBackup(backups_, 0, {target, PlacementOn(3)}, Go).ok());
  for (int shard = 0; shard < 3; ++shard) {
    const std::string path = absl::StrFormat("%s/shard-%03d/db", target, shard);
    const auto store = OpenRocksDbEntryStore({path, &resources_, nullptr});
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->CountRequests().value(), 300U);
    const std::vector<RememberedRequest> oldest = (*store)->OldestRequests(1000).value();
    ASSERT_EQ(oldest.size(), 300U);
    for (size_t i = 0; i < oldest.size(); ++i) {
      EXPECT_EQ(oldest[i].stamp_ms, stamps[i]);
      EXPECT_GE(oldest[i].sequence, 1U);
      EXPECT_LE(oldest[i].sequence, (*store)->applied());
      const auto whole = (*store)->FindRequest(oldest[i].id).value();
      ASSERT_TRUE(whole.has_value());
      EXPECT_EQ(whole->earlier.size(), whole->content % 10 == 0 ? 2U : 1U);
      EXPECT_EQ(whole->earlier[0].result, absl::StrCat("result ", whole->content));
    }
  }
}

}  // namespace
}  // namespace mneme::testing
