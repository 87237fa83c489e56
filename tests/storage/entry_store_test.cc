// What every EntryStore does, whatever it is made of.
#include "storage/entry_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include <functional>
#include <memory>
#include <random>

#include "storage/memory_entry_store.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/store_model.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr PartitionKey kKey{7, 0};

enum class Kind { kMemory, kRocksDb };

class EntryStoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { Reopen(); }

  // Closes and opens again what outlives a process; does nothing to a store in ram.
  void Reopen() {
    if (GetParam() == Kind::kMemory) {
      if (store_ == nullptr) store_ = NewMemoryEntryStore();
      return;
    }
    store_.reset();
    auto opened = OpenRocksDbEntryStore({directory_ / "db", &resources_, nullptr});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  absl::Status Commit(StoreBatch batch) {
    batch.sequence = store_->applied() + 1;
    return store_->Commit(batch);
  }
  static EntryColumns Columns(std::vector<EntryId> ids) {
    EntryColumns columns;
    for (const EntryId id : ids) columns.Append({id, "key!", "value", {}});
    return columns;
  }
  absl::Status Insert(const PartitionKey& key, Row first_row, const EntryColumns& columns) {
    return Commit({.runs = {{key, first_row, &columns, 0, columns.count, true}},
                   .heads = {{key, first_row + columns.count, columns.count}}});
  }
  std::vector<Row> Rows(const PartitionKey& key, Row first = 0, Row end = UINT64_MAX) {
    std::vector<Row> rows;
    EXPECT_TRUE(store_->ScanRows(key, first, end, [&](Row row, const EntryView&) {
      rows.push_back(row);
      return true;
    }).ok());
    return rows;
  }

  TemporaryDirectory directory_;
  StoreResources resources_{8 << 20, 64 << 20};
  std::unique_ptr<EntryStore> store_;
};

TEST_P(EntryStoreTest, IsEmptyAtFirst) {
  EXPECT_EQ(store_->applied(), 0U);
  EXPECT_EQ(store_->Sync().value(), 0U);
  EXPECT_EQ(DumpStore(*store_).value(), StoreModel().Dump());
}

TEST_P(EntryStoreTest, GivesBackAnEntryWithAllItsAttributes) {
  const Attributes attributes{.weight = 0.5F, .score = -2.5, .label = -3, .source = 4, .position = UINT64_MAX,
                              .expiry_ms = 6, .created_ms = 1'717'000'000'123};
  EntryColumns columns;
  columns.Append({42, "abcd", std::string_view("\0v", 2), attributes});
  ASSERT_TRUE(Insert(kKey, 9, columns).ok());
  Reopen();
  EntryColumns out;
  ASSERT_TRUE(store_->ReadRow(kKey, 9, out).value());
  ASSERT_EQ(out.count, 1U);
  const EntryView entry = out.At(0);
  EXPECT_EQ(entry.id, 42U);
  EXPECT_EQ(entry.key, "abcd");
  EXPECT_EQ(entry.value, std::string_view("\0v", 2));
  EXPECT_EQ(entry.attributes, attributes);
  EXPECT_FALSE(store_->ReadRow(kKey, 8, out).value());
  EXPECT_FALSE(store_->ReadRow({7, 1}, 9, out).value());
  EXPECT_EQ(out.count, 1U);
}

TEST_P(EntryStoreTest, ScansExactlyTheRowsOfARange) {
  ASSERT_TRUE(Insert(kKey, 0, Columns({1, 2, 3, 4, 5})).ok());
  ASSERT_TRUE(Insert({7, 1}, 0, Columns({1})).ok());
  EXPECT_THAT(Rows(kKey, 1, 4), ElementsAre(1, 2, 3));
  EXPECT_THAT(Rows(kKey, 4), ElementsAre(4));
  EXPECT_THAT(Rows(kKey, 3, 3), IsEmpty());
  EXPECT_THAT(Rows(kKey, 4, 2), IsEmpty());
  EXPECT_THAT(Rows({8, 0}), IsEmpty());
}

TEST_P(EntryStoreTest, ScansManyRangesInOnePass) {
  ASSERT_TRUE(Insert({7, 1}, 0, Columns({10, 11, 12})).ok());
  ASSERT_TRUE(Insert({7, 2}, 0, Columns({20, 21})).ok());
  ASSERT_TRUE(Insert({7, 4}, 0, Columns({40, 41, 42})).ok());
  ASSERT_TRUE(Insert({8, 0}, 0, Columns({80})).ok());
  const auto scan = [&](std::vector<RowRange> ranges, size_t most) {
    std::vector<std::tuple<size_t, Row, EntryId>> seen;
    EXPECT_TRUE(store_->ScanRanges(ranges, [&](size_t range, Row row, const EntryView& entry) {
      seen.emplace_back(range, row, entry.id);
      return seen.size() < most;
    }).ok());
    return seen;
  };
  using Seen = std::tuple<size_t, Row, EntryId>;
  // A part of one, none of an empty and of an unknown partition, one passed over, one of another memory.
  const std::vector<RowRange> ranges = {{{7, 0}, 0, 9}, {{7, 1}, 1, 2}, {{7, 2}, 1, 1}, {{7, 3}, 0, 5},
                                        {{7, 4}, 1, 9}, {{8, 0}, 0, 1}, {{9, 0}, 0, 1}};
  EXPECT_THAT(scan(ranges, 100), ElementsAre(Seen(1, 1, 11), Seen(4, 1, 41), Seen(4, 2, 42), Seen(5, 0, 80)));
  EXPECT_THAT(scan(ranges, 2), ElementsAre(Seen(1, 1, 11), Seen(4, 1, 41)));
  EXPECT_THAT(scan({{{7, 1}, 0, 3}, {{7, 2}, 0, 2}}, 100),
              ElementsAre(Seen(0, 0, 10), Seen(0, 1, 11), Seen(0, 2, 12), Seen(1, 0, 20), Seen(1, 1, 21)));
  EXPECT_THAT(scan({}, 100), IsEmpty());
}

TEST_P(EntryStoreTest, StopsAScanWhenAskedTo) {
  ASSERT_TRUE(Insert(kKey, 0, Columns({1, 2, 3})).ok());
  size_t seen = 0;
  ASSERT_TRUE(store_->ScanRows(kKey, 0, 3, [&](Row, const EntryView&) { return ++seen < 2; }).ok());
  EXPECT_EQ(seen, 2U);
}

TEST_P(EntryStoreTest, AScanKeepsTheSnapshotThatItBeganWith) {
  ASSERT_TRUE(Insert(kKey, 0, Columns({1, 2})).ok());
  size_t seen = 0;
  ASSERT_TRUE(store_->ScanRows(kKey, 0, 100, [&](Row row, const EntryView&) {
    EXPECT_TRUE(Commit({.deaths = {{kKey, 1, 2, true}}}).ok());
    EXPECT_TRUE(Insert(kKey, 2 + row, Columns({9})).ok());
    return ++seen < 10;
  }).ok());
  EXPECT_EQ(seen, 2U);
}

TEST_P(EntryStoreTest, AnOverwriteMapsTheIdToItsNewRow) {
  ASSERT_TRUE(Insert(kKey, 0, Columns({5})).ok());
  const EntryColumns again = Columns({5});
  ASSERT_TRUE(Commit({.runs = {{kKey, 1, &again, 0, 1, true}}, .deaths = {{kKey, 0, 5, false}}}).ok());
  EXPECT_THAT(store_->FindRow(kKey, 5).value(), Optional(1U));
  EXPECT_THAT(Rows(kKey), ElementsAre(1));
  EXPECT_THAT(store_->ReadDeadMarks(kKey).value(), ElementsAre(0));
}

TEST_P(EntryStoreTest, ADeleteUnmapsTheId) {
  ASSERT_TRUE(Insert(kKey, 0, Columns({5, 6})).ok());
  ASSERT_TRUE(Commit({.deaths = {{kKey, 0, 5, true}}}).ok());
  EXPECT_THAT(store_->FindRows(kKey, {5, 6, 7}).value(), ElementsAre(std::nullopt, Optional(1U), std::nullopt));
  ASSERT_TRUE(Commit({.cleared_marks = {{kKey, 0, 0, false}}}).ok());
  EXPECT_THAT(store_->ReadDeadMarks(kKey).value(), IsEmpty());
}

TEST_P(EntryStoreTest, DoesNotMapIdsThatTheServerGave) {
  const EntryColumns columns = Columns({5});
  ASSERT_TRUE(Commit({.runs = {{kKey, 0, &columns, 0, 1, false}}}).ok());
  EXPECT_EQ(store_->FindRow(kKey, 5).value(), std::nullopt);
  EXPECT_THAT(Rows(kKey), ElementsAre(0));
}

// As a restore onto another number of shards does it.
TEST_P(EntryStoreTest, MapsIdsThatTheServerGaveWhereABatchSaysSo) {
  const EntryId given = (uint64_t{1} << 62) | 5 << 8 | 3;
  const EntryColumns columns = Columns({7, given, 8});
  ASSERT_TRUE(Commit({.runs = {{kKey, 100, &columns, 0, 1, true, true},
                               {kKey, 101, &columns, 1, 2, true},
                               {kKey, 102, &columns, 2, 3, true, true}},
                      .heads = {{kKey, 103, 3, 9}}}).ok());
  EXPECT_THAT(store_->FindRows(kKey, std::vector<EntryId>{7, given, 8, given + 256}).value(),
              ElementsAre(Optional(100U), Optional(101U), Optional(102U), std::nullopt));
  ASSERT_TRUE(Commit({.deaths = {{kKey, 101, given, true}}}).ok());
  Reopen();
  EXPECT_EQ(store_->FindRow(kKey, given).value(), std::nullopt);
  EXPECT_THAT(Rows(kKey), ElementsAre(100, 102));
}

TEST(RocksDbEntryStoreTest, AStoreThatMapsServerIdsDoesSoForGood) {
  TemporaryDirectory directory;
  StoreResources resources{8 << 20, 64 << 20};
  for (const bool maps : {false, true}) {
    const std::string path = directory / (maps ? "maps" : "plain");
    for (const bool told : {maps, !maps, false}) {
      const auto store = OpenRocksDbEntryStore({path, &resources, nullptr, false, told});
      ASSERT_TRUE(store.ok()) << store.status();
      EXPECT_EQ((*store)->maps_server_ids(), maps);
    }
  }
}

TEST_P(EntryStoreTest, FindsThousandsOfIdsInTheirOrder) {
  std::vector<EntryId> ids;
  for (EntryId id = 0; id < 3000; ++id) ids.push_back((id * 7919) % 3001);
  ASSERT_TRUE(Insert(kKey, 0, Columns(ids)).ok());
  const std::vector<std::optional<Row>> rows = store_->FindRows(kKey, ids).value();
  ASSERT_EQ(rows.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_THAT(rows[i], Optional(i));
}

TEST_P(EntryStoreTest, IdsOfARunAreOverwrittenDeletedAndInsertedAgainLikeAnyOther) {
  std::vector<EntryId> ids(100);
  std::iota(ids.begin(), ids.end(), 1000);
  ids.push_back(5000);
  const EntryColumns columns = Columns(ids);
  ASSERT_TRUE(Commit({.runs = {{kKey, 50, &columns, 0, columns.count, true, /*new_ids=*/true}}}).ok());
  Reopen();
  EXPECT_THAT(store_->FindRows(kKey, {999, 1000, 1099, 1100, 1042, 5000, 5001, 0}).value(),
              ElementsAre(std::nullopt, Optional(50U), Optional(149U), std::nullopt, Optional(92U), Optional(150U),
                          std::nullopt, std::nullopt));
  EXPECT_EQ(store_->FindRow({kKey.memory, kKey.partition + 1}, 1000).value(), std::nullopt);

  const EntryColumns again = Columns({1042});
  ASSERT_TRUE(Commit({.runs = {{kKey, 151, &again, 0, 1, true}}, .deaths = {{kKey, 92, 1042, false}}}).ok());
  EXPECT_THAT(store_->FindRow(kKey, 1042).value(), Optional(151U));
  ASSERT_TRUE(Commit({.deaths = {{kKey, 151, 1042, true}, {kKey, 50, 1000, true}}}).ok());
  Reopen();
  EXPECT_THAT(store_->FindRows(kKey, {1042, 1000, 1001}).value(),
              ElementsAre(std::nullopt, std::nullopt, Optional(51U)));
  ASSERT_TRUE(Insert(kKey, 152, Columns({1000})).ok());
  EXPECT_THAT(store_->FindRow(kKey, 1000).value(), Optional(152U));
  ASSERT_TRUE(Commit({.dropped_partitions = {kKey}}).ok());
  EXPECT_EQ(store_->FindRow(kKey, 1001).value(), std::nullopt);
}

TEST_P(EntryStoreTest, DropsAPartitionAndFillsItAnewInOneBatch) {
  ASSERT_TRUE(Insert(kKey, 0, Columns({1, 2})).ok());
  ASSERT_TRUE(Insert({7, 1}, 0, Columns({1})).ok());
  const EntryColumns fresh = Columns({2});
  ASSERT_TRUE(Commit({.dropped_partitions = {kKey}, .runs = {{kKey, 0, &fresh, 0, 1, true}}, .heads = {{kKey, 1, 1}}})
                  .ok());
  EXPECT_THAT(Rows(kKey), ElementsAre(0));
  EXPECT_THAT(store_->FindRows(kKey, {1, 2}).value(), ElementsAre(std::nullopt, Optional(0U)));
  EXPECT_THAT(Rows({7, 1}), ElementsAre(0));
}

TEST_P(EntryStoreTest, DropsAMemoryAndNothingBesideIt) {
  for (const MemoryNumber memory : {6U, 7U, 8U, UINT32_MAX}) {
    for (const PartitionId partition : {PartitionId{0}, UINT64_MAX}) {
      ASSERT_TRUE(Insert({memory, partition}, 0, Columns({1})).ok());
    }
  }
  const Sequence before = store_->applied();
  ASSERT_TRUE(store_->DropMemory(7).ok());
  ASSERT_TRUE(store_->DropMemory(UINT32_MAX).ok());
  ASSERT_TRUE(store_->DropMemory(7).ok());
  Reopen();
  EXPECT_EQ(store_->applied(), before);
  EXPECT_THAT(Rows({7, 0}), IsEmpty());
  EXPECT_THAT(Rows({UINT32_MAX, UINT64_MAX}), IsEmpty());
  EXPECT_THAT(Rows({6, UINT64_MAX}), ElementsAre(0));
  EXPECT_THAT(Rows({8, 0}), ElementsAre(0));
  EXPECT_EQ(store_->ReadHeads().value().size(), 4U);
}

TEST_P(EntryStoreTest, TellsTheBytesOfAMemoryAndOfAPartition) {
  EntryColumns columns;
  for (EntryId id = 1; id <= 2'000; ++id) columns.Append({id, std::string(100, 'k'), std::to_string(id), {}});
  ASSERT_TRUE(Insert({7, 1}, 0, columns).ok());
  ASSERT_TRUE(Insert({8, 1}, 0, Columns({1})).ok());
  for (int round = 0; round < 2; ++round) {  // in ram, then from tables
    const uint64_t whole = store_->BytesOf(7, std::nullopt).value();
    EXPECT_GT(whole, 0U);
    EXPECT_GT(store_->BytesOf(7, 1).value(), whole / 2);
    EXPECT_LT(store_->BytesOf(7, 2).value(), whole / 2);
    EXPECT_LT(store_->BytesOf(8, std::nullopt).value(), whole / 2);
    EXPECT_EQ(store_->BytesOf(9, std::nullopt).value(), 0U);
    ASSERT_TRUE(store_->Compact().ok());
  }
}

TEST_P(EntryStoreTest, RemembersRequestsByAge) {
  const Hash128 a{1, 9};
  const Hash128 b{2, 8};
  EXPECT_EQ(store_->LatestRequest().value(), std::nullopt);
  ASSERT_TRUE(Commit({.requests = {{a, 11, 1, 100, "first"}}}).ok());
  ASSERT_TRUE(Commit({.requests = {{b, 22, 2, 200, "second"}}}).ok());
  Reopen();
  EXPECT_EQ(store_->CountRequests().value(), 2U);
  EXPECT_EQ(store_->FindRequest(b).value()->result, "second");
  EXPECT_EQ(store_->FindRequest({1, 8}).value(), std::nullopt);
  const std::vector<RememberedRequest> oldest = store_->OldestRequests(1).value();
  ASSERT_EQ(oldest.size(), 1U);
  EXPECT_EQ(oldest[0].id, a);
  EXPECT_EQ(oldest[0].stamp_ms, 100);
  const std::optional<RememberedRequest> latest = store_->LatestRequest().value();
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->id, b);
  EXPECT_EQ(latest->content, 22U);
  EXPECT_EQ(latest->sequence, 2U);
  ASSERT_TRUE(Commit({.forgotten_requests = oldest}).ok());
  EXPECT_EQ(store_->FindRequest(a).value(), std::nullopt);
  EXPECT_EQ(store_->CountRequests().value(), 1U);
}

TEST_P(EntryStoreTest, RemembersWhatShardsDidOfARequestBeforeARestore) {
  const std::vector<RequestPart> parts = {{2, 0, "first"}, {2, 1, ""}, {256, 255, "last"}};
  ASSERT_TRUE(Commit({.requests = {{{1, 2}, 7, 1, 1000, "", parts}, {{3, 4}, 8, 1, 1000, "since", parts}}}).ok());
  Reopen();
  EXPECT_EQ(store_->FindRequest({1, 2}).value()->earlier, parts);
  EXPECT_EQ(store_->FindRequest({1, 2}).value()->result, "");
  EXPECT_EQ(store_->FindRequest({3, 4}).value()->earlier, parts);
  EXPECT_EQ(store_->FindRequest({3, 4}).value()->result, "since");
  EXPECT_EQ(store_->CountRequests().value(), 2U);
  EXPECT_TRUE(store_->OldestRequests(1).value()[0].earlier.empty());
}

TEST_P(EntryStoreTest, ForgettingAnOldRequestSparesItsSuccessor) {
  const Hash128 id{1, 9};
  ASSERT_TRUE(Commit({.requests = {{id, 11, 1, 100, "first"}}}).ok());
  ASSERT_TRUE(Commit({.requests = {{id, 11, 2, 200, "second"}}}).ok());
  ASSERT_TRUE(Commit({.forgotten_requests = {{id, 0, 1, 0, ""}}}).ok());
  EXPECT_EQ(store_->FindRequest(id).value()->result, "second");
  EXPECT_EQ(store_->CountRequests().value(), 1U);
  EXPECT_EQ(store_->OldestRequests(5).value().size(), 1U);
}

TEST_P(EntryStoreTest, RefusesASequenceThatFallsBackAndEveryWriteAfterIt) {
  ASSERT_TRUE(store_->Commit({.sequence = 5}).ok());
  EXPECT_TRUE(store_->Commit({.sequence = 5}).ok());
  const absl::Status refused = store_->Commit({.sequence = 4});
  EXPECT_EQ(refused.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(store_->Commit({.sequence = 6}), refused);
  EXPECT_EQ(store_->Sync().status(), refused);
  EXPECT_EQ(store_->DropMemory(1), refused);
  EXPECT_EQ(store_->applied(), 5U);
}

TEST_P(EntryStoreTest, AgreesWithItsModelOverRandomBatches) {
  std::mt19937_64 random(TestSeed());
  const uint64_t batches = Repetitions(400, 5000);
  StoreModel model;
  for (uint64_t i = 0; i < batches; ++i) {
    const OwnedBatch next = model.RandomBatch(random);
    ASSERT_TRUE(store_->Commit(next.batch).ok());
    model.Apply(next.batch);
    if (random() % 8 == 0) {
      ASSERT_EQ(store_->Sync().value(), model.applied());
    }
    if (random() % 40 == 0) {
      const MemoryNumber memory = 1 + random() % 2;
      ASSERT_TRUE(store_->DropMemory(memory).ok());
      model.DropMemory(memory);
    }
    if (random() % 25 == 0) Reopen();
    if (random() % 60 == 0) {
      ASSERT_TRUE(store_->Compact().ok());
    }
    if (random() % 4 == 0) {
      ASSERT_EQ(DumpStore(*store_).value(), model.Dump()) << "after batch " << i;
    }
  }
  Reopen();
  EXPECT_EQ(DumpStore(*store_).value(), model.Dump());
}

INSTANTIATE_TEST_SUITE_P(All, EntryStoreTest, ::testing::Values(Kind::kMemory, Kind::kRocksDb),
                         [](const auto& test) { return test.param == Kind::kMemory ? "Memory" : "RocksDb"; });

}  // namespace
}  // namespace mneme
