// A shard with a log: every record takes its place, once, whatever becomes of it; and what it holds is a function of
// the records alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/routing.h"
#include "engine/shard.h"
#include "storage/memory_entry_store.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/journaled_store.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::Journal;
using testing::JournaledStore;
using testing::PlainEntry;
using testing::StoreFaults;
using testing::TokenMemory;

constexpr uint32_t kShard = 5;
constexpr int64_t kStampMs = 2'000'000'000;

class ShardPlacesTest : public ::testing::Test {
 protected:
  ShardPlacesTest() {
    MemoryRecord record;
    record.number = 3;
    record.spec = TokenMemory("wiki", 1);
    memory_ = std::make_shared<const MemoryRecord>(record);
    Open(/*logged=*/true);
  }

  void Open(bool logged) {
    shard_.reset();
    journal_.Cut(0);
    Open(logged, std::make_unique<JournaledStore>(&journal_, StoreFaults{.read = [this] { return disk_; }}));
  }
  void Open(bool logged, std::unique_ptr<EntryStore> store) {
    shard_.reset();
    ShardOptions options;
    options.number = kShard;
    options.store = std::move(store);
    store_ = options.store.get();
    options.files = IndexFiles::Open(directory_.path(), 1).value();
    options.logged = logged;
    options.delete_group_rows = 2;
    shard_ = Shard::Open(std::move(options), {memory_}, 4).value();
  }

  WriteTicket Ticket(Sequence position, uint64_t request, uint64_t content, int64_t stamp_ms) const {
    WriteTicket ticket;
    ticket.memory = memory_;
    ticket.position = position;
    ticket.stamp_ms = stamp_ms;
    ticket.durability = Durability::kWritten;
    if (request != 0) ticket.request = RequestIdentity{{request, 77}, content};
    return ticket;
  }
  // Hands an operation with a ticket over and waits for what becomes of it.
  template <typename Operation>
  absl::StatusOr<WriteResult> Submit(Operation operation) {
    auto told = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    operation.ticket.done = [told](absl::StatusOr<WriteResult> result) { told->set_value(std::move(result)); };
    if (const absl::Status status = shard_->Submit(std::move(operation)); !status.ok()) return status;
    return told->get_future().get();
  }
  absl::StatusOr<WriteResult> Insert(Sequence position, EntryId id, uint64_t request = 0, uint64_t content = 1,
                                     int64_t stamp_ms = kStampMs, int64_t expiry_ms = 0) {
    InsertOperation insert;
    insert.ticket = Ticket(position, request, content, stamp_ms);
    PlainEntry entry{.id = id, .key = {1.0F}, .token = static_cast<Token>(position)};
    entry.attributes.expiry_ms = expiry_ms;
    insert.entries = ColumnsOf(memory_->spec, {entry});
    return Submit(std::move(insert));
  }
  absl::StatusOr<WriteResult> DeleteAll(Sequence position, uint64_t request) {
    DeleteOperation erase;
    erase.ticket = Ticket(position, request, 1, kStampMs);
    erase.partitions = {0};
    erase.filter.emplace();
    return Submit(std::move(erase));
  }
  absl::StatusOr<WriteResult> Pass(Sequence position, absl::Status refusal = {}, int64_t stamp_ms = kStampMs) {
    PassOperation pass;
    pass.ticket = Ticket(position, 0, 0, stamp_ms);
    pass.ticket.memory = nullptr;
    pass.refusal = std::move(refusal);
    return Submit(std::move(pass));
  }
  absl::Status Expire(Sequence position, std::vector<StoredRow> rows, int64_t stamp_ms) {
    std::promise<absl::Status> told;
    ExpireOperation expire;
    expire.memory = memory_;
    expire.key = {memory_->number, 0};
    expire.rows = std::move(rows);
    expire.position = position;
    expire.stamp_ms = stamp_ms;
    expire.done = [&told](const absl::Status& status) { told.set_value(status); };
    if (absl::Status status = shard_->Submit(std::move(expire)); !status.ok()) return status;
    return told.get_future().get();
  }
  absl::StatusOr<WriteResult> Merge(Sequence position, RowMerges merges) {
    MergeRowsOperation merge;
    merge.ticket = Ticket(position, 0, 0, kStampMs);
    merge.merges = std::move(merges);
    return Submit(std::move(merge));
  }
  std::vector<std::pair<EntryId, float>> Weights() const {
    std::vector<std::pair<EntryId, float>> weights;
    EXPECT_TRUE(store_->ScanRows({memory_->number, 0}, 0, 1000, [&](Row, const EntryView& entry) {
      weights.emplace_back(entry.id, entry.attributes.weight);
      return true;
    }).ok());
    return weights;
  }
  std::vector<EntryId> Ids() const {
    std::vector<EntryId> ids;
    EXPECT_TRUE(store_->ScanRows({memory_->number, 0}, 0, 1000, [&](Row, const EntryView& entry) {
      ids.push_back(entry.id);
      return true;
    }).ok());
    return ids;
  }

  absl::Status disk_;  // what reads of the store say; set while nothing is under way
  Journal journal_;
  TemporaryDirectory directory_;
  MemoryHandle memory_;
  std::unique_ptr<Shard> shard_;
  EntryStore* store_ = nullptr;
};

TEST_F(ShardPlacesTest, ARecordsSequenceIsItsPlace) {
  EXPECT_EQ(Insert(5, 1)->sequence, 5U);
  EXPECT_EQ(Insert(9, 2)->sequence, 9U) << "offsets may be of no record";
  EXPECT_EQ(store_->applied(), 9U);
  EXPECT_EQ(shard_->visible(), 9U);
}

TEST_F(ShardPlacesTest, ARecordThatComesTwiceIsDropped) {
  ASSERT_TRUE(Insert(5, 1).ok());
  ASSERT_TRUE(Insert(6, 2).ok());
  for (const Sequence again : {5, 6}) {
    const absl::Status dropped = Insert(again, 3).status();
    EXPECT_EQ(dropped.code(), absl::StatusCode::kAborted) << dropped;
    EXPECT_THAT(std::string(dropped.message()), HasSubstr("came again"));
  }
  EXPECT_THAT(Ids(), ::testing::ElementsAre(1, 2));
  EXPECT_EQ(store_->applied(), 6U);
  EXPECT_EQ(Expire(4, {{0, 1}}, kStampMs).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(Insert(7, 3).ok()) << "it goes on";
}

TEST_F(ShardPlacesTest, ARefusedRecordTakesItsPlace) {
  ASSERT_TRUE(Insert(5, 1, /*request=*/100, /*content=*/1).ok());
  EXPECT_EQ(ReasonOf(Insert(6, 2, 100, /*content=*/2).status()), reason::kRequestIdReused);
  EXPECT_EQ(store_->applied(), 6U);
  EXPECT_EQ(shard_->visible(), 6U) << "a read of that version need not wait";
  EXPECT_EQ(Pass(8, absl::NotFoundError("the memory was dropped")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->applied(), 8U);
  EXPECT_THAT(Ids(), ::testing::ElementsAre(1));
}

TEST_F(ShardPlacesTest, AMarkerHasItsPlaceAndNothingElse) {
  ASSERT_TRUE(Insert(5, 1).ok());
  EXPECT_EQ(Pass(6)->sequence, 6U);
  EXPECT_EQ(store_->applied(), 6U);
  EXPECT_THAT(Ids(), ::testing::ElementsAre(1));
}

TEST_F(ShardPlacesTest, AReplayTakesAPlaceAndTellsTheFirstOne) {
  ASSERT_TRUE(Insert(5, 1, 100).ok());
  const WriteResult replay = Insert(6, 1, 100).value();
  EXPECT_TRUE(replay.replayed);
  EXPECT_EQ(replay.sequence, 5U);
  EXPECT_EQ(store_->applied(), 6U);
}

TEST_F(ShardPlacesTest, WritesComeFromTheLogAlone) {
  const absl::Status refused = Insert(0, 1).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_EQ(Expire(0, {{0, 1}}, 0).code(), absl::StatusCode::kFailedPrecondition);
  MergeOperation merge;
  merge.memory = memory_;
  EXPECT_EQ(shard_->Submit(std::move(merge)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(shard_->Submit(SleepOperation{}).ok()) << "it takes no sequence";
}

TEST_F(ShardPlacesTest, AShardWithoutALogTakesNoPlaces) {
  Open(/*logged=*/false);
  EXPECT_EQ(Insert(5, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Insert(0, 1)->sequence, 1U);
  EXPECT_EQ(Insert(0, 2)->sequence, 2U);
}

TEST_F(ShardPlacesTest, WithoutALogRequestsOfAClockThatWasSetBackAreForgottenBeyondAMillion) {
  constexpr int64_t kAheadMs = kStampMs + int64_t{10} * 365 * 24 * 3'600'000;
  constexpr uint64_t kMany = limits::kRememberedRequests + 5'000;
  StoreBatch batch;
  for (uint64_t i = 1; i <= kMany; ++i) {
    batch.requests.push_back({.id = {i, 1}, .content = 1, .sequence = i, .stamp_ms = kAheadMs, .result = {}});
  }
  batch.sequence = kMany;
  auto store = NewMemoryEntryStore();
  ASSERT_TRUE(store->Commit(batch).ok());
  Open(/*logged=*/false, std::move(store));
  ASSERT_TRUE(Insert(0, 1, 0, 1, kAheadMs + 1).ok());
  EXPECT_EQ(store_->CountRequests().value(), kMany) << "they are young";
  ASSERT_TRUE(Insert(0, 2, 0, 1, kStampMs).ok());
  EXPECT_EQ(store_->CountRequests().value(), kMany - 1024) << "else all that come are kept for ten years";
  EXPECT_FALSE(store_->FindRequest({1, 1})->has_value());
  EXPECT_TRUE(store_->FindRequest({kMany, 1})->has_value());
}

TEST_F(ShardPlacesTest, AMergeIsOfWhatIsStillThereAndComesTwiceForNothing) {
  for (EntryId id = 1; id <= 5; ++id) ASSERT_TRUE(Insert(id, id).ok());  // in row id - 1
  ASSERT_TRUE(Insert(6, 3).ok());                                        // in row 5, no longer in row 2
  // Row 3 is of another id than it says.
  const RowMerges first{{{0, 1}}, {3}, {{1, 2}, {3, 9}, {4, 5}}};
  const WriteResult merged = Merge(8, first).value();
  EXPECT_EQ(merged.count, 2U);
  EXPECT_EQ(merged.other, 1U);
  EXPECT_EQ(merged.sequence, 8U);
  using Kept = std::vector<std::pair<EntryId, float>>;
  EXPECT_EQ(Weights(), (Kept{{4, 1}, {3, 1}, {1, 3}})) << "the survivor is the newest row";
  const WriteResult again = Merge(9, first).value();
  EXPECT_EQ(again.count, 0U);
  EXPECT_EQ(again.other, 3U);
  EXPECT_EQ(Merge(10, {{{2, 3}}, {1}, {{3, 4}}})->other, 1U) << "row 2 was written anew";
  EXPECT_EQ(store_->applied(), 10U);
  EXPECT_EQ(shard_->visible(), 10U);
  EXPECT_EQ(Weights(), (Kept{{4, 1}, {3, 1}, {1, 3}}));
}

TEST_F(ShardPlacesTest, ASurvivorWithAnIdOfTheServerIsNamedAnew) {
  InsertOperation insert;
  insert.ticket = Ticket(5, 0, 0, kStampMs);
  insert.entries = ColumnsOf(memory_->spec, {{.key = {1.0F}, .token = 4}, {.key = {1.0F}, .token = 4}}, false);
  const std::vector<EntryId> given = Submit(std::move(insert))->given_ids;
  ASSERT_EQ(Merge(6, {{{0, given[0]}}, {1}, {{1, given[1]}}})->count, 1U);
  EXPECT_EQ(Weights(), (std::vector<std::pair<EntryId, float>>{{ServerId(2, kShard), 2}}));
  EXPECT_EQ(Merge(7, {{{0, given[0]}}, {1}, {{2, ServerId(2, kShard)}}})->count, 0U);
}

TEST_F(ShardPlacesTest, AMergeThatCannotBeReadStopsTheShard) {
  for (EntryId id = 1; id <= 2; ++id) ASSERT_TRUE(Insert(id, id).ok());
  disk_ = absl::DataLossError("the disk says no");
  EXPECT_EQ(Merge(3, {{{0, 1}}, {1}, {{1, 2}}}).status().code(), absl::StatusCode::kDataLoss);
  disk_ = absl::OkStatus();
  EXPECT_EQ(store_->applied(), 2U);
  EXPECT_FALSE(shard_->write_status().ok());
  EXPECT_THAT(Ids(), ::testing::ElementsAre(1, 2));
}

TEST_F(ShardPlacesTest, ALongDeletionTakesItsPlaceWithItsLastPart) {
  for (EntryId id = 1; id <= 7; ++id) ASSERT_TRUE(Insert(id, id).ok());
  const WriteResult deleted = DeleteAll(10, 100).value();
  EXPECT_EQ(deleted.count, 7U);
  EXPECT_EQ(deleted.sequence, 10U);
  EXPECT_EQ(store_->applied(), 10U);
  EXPECT_THAT(Ids(), ::testing::IsEmpty());
  const WriteResult replay = DeleteAll(11, 100).value();
  EXPECT_TRUE(replay.replayed);
  EXPECT_EQ(replay.count, 7U);
}

TEST_F(ShardPlacesTest, ARequestIsKnownForItsWindowByTheStampsOfBoth) {
  constexpr int64_t kWindow = limits::kRememberedRequestMs;
  ASSERT_TRUE(Insert(5, 1, 100).ok());
  EXPECT_TRUE(Insert(6, 1, 100, 1, kStampMs + kWindow)->replayed);
  EXPECT_TRUE(Insert(7, 1, 100, 1, kStampMs - kWindow)->replayed) << "a front end's clock is behind";
  const WriteResult anew = Insert(8, 1, 100, 1, kStampMs + kWindow + 1).value();
  EXPECT_FALSE(anew.replayed) << "though it is remembered";
  EXPECT_EQ(anew.other, 1U);
  EXPECT_TRUE(Insert(9, 1, 100, 1, kStampMs + kWindow + 1)->replayed) << "of the later one";
}

TEST_F(ShardPlacesTest, RequestsAreForgottenAtPlacesThatEveryReplicaKnows) {
  constexpr int64_t kLongAfter = kStampMs + 24 * 60 * 60 * 1000;
  ASSERT_TRUE(Insert(5, 1, 100).ok());
  ASSERT_TRUE(Insert(6, 2, 101, 1, kLongAfter).ok());
  ASSERT_TRUE(Pass(511, {}, kLongAfter).ok());
  EXPECT_EQ(store_->CountRequests().value(), 2U);
  ASSERT_TRUE(Pass(512, {}, kLongAfter).ok());
  EXPECT_EQ(store_->CountRequests().value(), 1U);
  EXPECT_FALSE(store_->FindRequest({100, 77})->has_value());
  EXPECT_TRUE(store_->FindRequest({101, 77})->has_value());
}

TEST_F(ShardPlacesTest, AClockFarAheadHoldsUpNoOtherRequest) {
  constexpr int64_t kHourMs = 60 * 60 * 1000;
  ASSERT_TRUE(Insert(5, 1, 100, 1, kStampMs + 24 * kHourMs).ok());
  ASSERT_TRUE(Insert(6, 2, 101).ok());
  ASSERT_TRUE(Pass(512, {}, kStampMs + kHourMs).ok());
  EXPECT_TRUE(store_->FindRequest({100, 77})->has_value());
  EXPECT_FALSE(store_->FindRequest({101, 77})->has_value());
}

// A stamp of a clock that nobody set has requests forgotten: then they are so to all that follows, in one group, too.
TEST_F(ShardPlacesTest, WhatIsForgottenIsUnknownToTheRestOfTheGroup) {
  constexpr int64_t kLongAfter = kStampMs + 24 * 60 * 60 * 1000;
  ASSERT_TRUE(Insert(5, 1, 100).ok());
  std::vector<std::future<absl::StatusOr<WriteResult>>> told;
  for (const auto& [position, stamp_ms] : {std::pair<Sequence, int64_t>{513, kLongAfter}, {514, kStampMs}}) {
    InsertOperation insert;
    insert.ticket = Ticket(position, position == 513 ? 101 : 100, 1, stamp_ms);
    insert.entries = ColumnsOf(memory_->spec, {{.id = 1, .key = {1.0F}, .token = 1}});
    auto promise = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    told.push_back(promise->get_future());
    insert.ticket.done = [promise](absl::StatusOr<WriteResult> result) { promise->set_value(std::move(result)); };
    ASSERT_TRUE(shard_->Submit(std::move(insert)).ok());
  }
  EXPECT_FALSE(told[0].get()->replayed);
  EXPECT_FALSE(told[1].get()->replayed);
}

TEST_F(ShardPlacesTest, AReplicaThatCannotReadItsDiskPassesOverNothing) {
  ASSERT_TRUE(Insert(5, 1).ok());
  disk_ = absl::DataLossError("a block is damaged");
  EXPECT_EQ(Insert(6, 0).status().code(), absl::StatusCode::kDataLoss) << "whether it replaces one is not known";
  EXPECT_EQ(store_->applied(), 5U);
  EXPECT_EQ(shard_->write_status().code(), absl::StatusCode::kDataLoss);
  disk_ = absl::OkStatus();
  EXPECT_EQ(Insert(7, 3).status().code(), absl::StatusCode::kDataLoss) << "what follows would be without it";
  EXPECT_EQ(store_->applied(), 5U);
  EXPECT_THAT(Ids(), ::testing::ElementsAre(1));
}

TEST_F(ShardPlacesTest, ARowGoesWhenItsStoredExpiryIsDueAtTheStampOfTheRecord) {
  ASSERT_TRUE(Insert(5, 1, 0, 1, kStampMs, /*expiry_ms=*/kStampMs + 10).ok());
  ASSERT_TRUE(Insert(6, 2, 0, 1, kStampMs, kStampMs + 20).ok());
  ASSERT_TRUE(Insert(7, 3).ok());
  const std::vector<StoredRow> all = {{0, 1}, {1, 2}, {2, 3}, {9, 4}};
  EXPECT_TRUE(Expire(8, all, kStampMs + 9).ok());
  EXPECT_THAT(Ids(), ::testing::ElementsAre(1, 2, 3));
  EXPECT_TRUE(Expire(9, all, kStampMs + 10).ok());
  EXPECT_THAT(Ids(), ::testing::ElementsAre(2, 3));
  EXPECT_TRUE(Expire(10, all, kStampMs + 10).ok()) << "twice is as once";
  EXPECT_THAT(Ids(), ::testing::ElementsAre(2, 3));
  EXPECT_TRUE(Expire(11, {{1, 5}}, kStampMs + 100).ok()) << "another entry";
  EXPECT_THAT(Ids(), ::testing::ElementsAre(2, 3));
  EXPECT_EQ(store_->applied(), 11U);
}

}  // namespace
}  // namespace mneme
