// Groups of writes over a store in ram. What is there is read twice, from the store and by a search of the published
// version, and both must say the same.
#include "engine/write_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <list>
#include <map>
#include <random>
#include <set>
#include <string>

#include "common/error_reason.h"
#include "engine/routing.h"
#include "index/search.h"
#include "storage/memory_entry_store.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using testing::ColumnsOf;
using testing::PlainEntry;
using testing::TokenMemory;

constexpr uint32_t kShard = 5;

using Tokens = std::map<EntryId, Token>;

class WriteGroupTest : public ::testing::Test {
 protected:
  WriteGroupTest() {
    MemoryRecord record;
    record.number = 3;
    record.spec = TokenMemory("wiki", 1);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  void SetCapacity(uint64_t capacity) {
    MemoryRecord record = *memory_;
    record.spec.capacity = capacity;
    memory_ = std::make_shared<const MemoryRecord>(record);
  }
  PartitionKey Key(PartitionId partition) const { return {memory_->number, partition}; }
  WriteGroup Group() { return {*store_, partitions_, kShard, store_->applied() + 1}; }
  WriteTicket Ticket(uint64_t request, uint64_t content) const {
    WriteTicket ticket;
    ticket.memory = memory_;
    if (request != 0) ticket.request = RequestIdentity{{request, 77}, content};
    return ticket;
  }
  // Inserts (id, token) pairs; the operation lives as long as the test, since the group borrows its columns.
  absl::StatusOr<WriteResult> Insert(WriteGroup& group, const std::vector<std::pair<EntryId, Token>>& entries,
                                     PartitionId partition = 0, uint64_t request = 0, uint64_t content = 1) {
    std::vector<PlainEntry> plain;
    for (const auto& [id, token] : entries) plain.push_back({id, {static_cast<float>(token)}, token});
    InsertOperation& operation = inserts_.emplace_back();
    operation.ticket = Ticket(request, content);
    operation.partition = partition;
    operation.entries = ColumnsOf(memory_->spec, plain);
    return group.PlanInsert(operation);
  }
  absl::StatusOr<WriteResult> InsertWithoutIds(WriteGroup& group, const std::vector<Token>& tokens,
                                               uint64_t request = 0) {
    std::vector<PlainEntry> plain;
    for (const Token token : tokens) plain.push_back({0, {static_cast<float>(token)}, token});
    InsertOperation& operation = inserts_.emplace_back();
    operation.ticket = Ticket(request, 1);
    operation.entries = ColumnsOf(memory_->spec, plain, /*with_ids=*/false);
    return group.PlanInsert(operation);
  }
  absl::StatusOr<WriteResult> Delete(WriteGroup& group, std::vector<EntryId> ids, PartitionId partition = 0,
                                     uint64_t request = 0) {
    DeleteOperation operation;
    operation.ticket = Ticket(request, 1);
    operation.partitions = {partition};
    operation.ids = std::move(ids);
    return group.PlanDeleteById(operation);
  }
  absl::Status Commit(WriteGroup& group) {
    changed_.clear();
    std::vector<SegmentRecord> orphaned;
    return group.Commit(changed_, orphaned);
  }

  Tokens InStore(PartitionId partition) const {
    Tokens tokens;
    EXPECT_TRUE(store_->ScanRows(Key(partition), 0, ~Row{0}, [&](Row row, const EntryView& entry) {
      EXPECT_TRUE(tokens.emplace(entry.id, TokenOf(entry.value)).second) << "id " << entry.id << " twice";
      const auto mapped = store_->FindRow(Key(partition), entry.id).value();
      EXPECT_EQ(mapped, IsServerId(entry.id) ? std::nullopt : std::optional<Row>(row)) << "id " << entry.id;
      return true;
    }).ok());
    return tokens;
  }
  Tokens InIndex(PartitionId partition) const {
    Tokens tokens;
    const auto at = partitions_.find(Key(partition));
    if (at == partitions_.end()) return tokens;
    const float query = 0.0F;
    SearchRequest request;
    request.spec = at->second->spec();
    request.queries = &query;
    request.query_count = 1;
    request.k = 4096;
    const auto version = at->second->MakeVersion();
    const auto result = Search({&version, 1}, request);
    EXPECT_TRUE(result.ok()) << result.status();
    const NeighbourColumns& found = result->neighbours;
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_TRUE(tokens.emplace(found.ids[i], TokenOf(found.values.At(i))).second) << "id " << found.ids[i];
    }
    return tokens;
  }
  // What is there, in store and index alike; the heads agree with it.
  Tokens Now(PartitionId partition = 0) const {
    Tokens tokens = InStore(partition);
    EXPECT_EQ(InIndex(partition), tokens);
    const std::vector<PartitionHead> heads = store_->ReadHeads().value();
    for (const PartitionHead& head : heads) {
      if (head.key != Key(partition)) continue;
      EXPECT_EQ(head.live_rows, tokens.size());
      EXPECT_EQ(partitions_.at(head.key)->head().next_row, head.next_row);
      for (const auto& [id, token] : tokens) EXPECT_TRUE(IsServerId(id) || id < head.id_bound);
    }
    return tokens;
  }
  static Token TokenOf(std::string_view value) {
    Token token = 0;
    std::memcpy(&token, value.data(), sizeof(token));
    return token;
  }

  std::unique_ptr<EntryStore> store_ = NewMemoryEntryStore();
  PartitionMap partitions_;
  MemoryHandle memory_;
  std::list<InsertOperation> inserts_;
  std::vector<PartitionKey> changed_;
};

TEST_F(WriteGroupTest, EachWriteSeesThoseBeforeItInTheSameGroup) {
  WriteGroup group = Group();
  EXPECT_EQ(Insert(group, {{1, 10}, {2, 20}})->other, 0U);
  const WriteResult replaced = Insert(group, {{2, 21}, {3, 30}}).value();
  EXPECT_EQ(replaced.count, 2U);
  EXPECT_EQ(replaced.other, 1U);
  const WriteResult deleted = Delete(group, {1, 2, 9}).value();
  EXPECT_EQ(deleted.count, 2U);
  EXPECT_EQ(deleted.other, 1U);
  EXPECT_EQ(Delete(group, {1})->count, 0U);
  const WriteResult again = Insert(group, {{2, 22}}).value();
  EXPECT_EQ(again.other, 0U) << "a deleted id is not replaced";
  EXPECT_EQ(again.sequence, 5U);
  EXPECT_THAT(Now(), IsEmpty()) << "nothing is there before the commit";
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(2, 22), Pair(3, 30)));
  EXPECT_THAT(changed_, ElementsAre(Key(0)));
  EXPECT_EQ(store_->applied(), 5U);
}

TEST_F(WriteGroupTest, AnIdThatIsDeletedAndComesBackInOneGroupStaysUntilItIsDeletedAgain) {
  WriteGroup first = Group();
  ASSERT_TRUE(Insert(first, {{7, 1}}).ok());
  ASSERT_TRUE(Commit(first).ok());
  WriteGroup second = Group();
  EXPECT_EQ(Delete(second, {7})->count, 1U);
  EXPECT_EQ(Insert(second, {{7, 2}})->other, 0U);
  EXPECT_EQ(Insert(second, {{7, 3}})->other, 1U);
  ASSERT_TRUE(Commit(second).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(7, 3)));
  WriteGroup third = Group();
  EXPECT_EQ(Delete(third, {7})->count, 1U);
  EXPECT_EQ(Insert(third, {{7, 4}})->other, 0U);
  EXPECT_EQ(Delete(third, {7})->count, 1U);
  ASSERT_TRUE(Commit(third).ok());
  EXPECT_THAT(Now(), IsEmpty());
  EXPECT_EQ(store_->FindRow(Key(0), 7).value(), std::nullopt);
}

TEST_F(WriteGroupTest, TheLastOfEqualIdsWins) {
  WriteGroup group = Group();
  const WriteResult result = Insert(group, {{5, 1}, {4, 2}, {5, 3}, {6, 4}, {5, 5}, {4, 6}}).value();
  EXPECT_EQ(result.count, 6U);
  EXPECT_EQ(result.other, 3U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(4, 6), Pair(5, 5), Pair(6, 4)));
  EXPECT_EQ(partitions_.at(Key(0))->head().next_row, 3U) << "no row for what lost";
}

TEST_F(WriteGroupTest, AReplayedWriteAnswersAsBeforeAndDoesNothing) {
  const auto expect_same = [](const WriteResult& first, const WriteResult& replay) {
    EXPECT_TRUE(replay.replayed);
    EXPECT_EQ(replay.count, first.count);
    EXPECT_EQ(replay.other, first.other);
    EXPECT_EQ(replay.sequence, first.sequence);
    EXPECT_EQ(replay.given_ids, first.given_ids);
  };
  WriteGroup group = Group();
  const WriteResult insert = Insert(group, {{1, 10}, {1, 11}}, 0, /*request=*/100).value();
  const WriteResult given = InsertWithoutIds(group, {30, 31}, /*request=*/101).value();
  const WriteResult removed = Delete(group, {1, 2}, 0, /*request=*/102).value();
  EXPECT_FALSE(insert.replayed || given.replayed || removed.replayed);
  ASSERT_TRUE(Insert(group, {{1, 12}}).ok());
  expect_same(insert, Insert(group, {{1, 10}, {1, 11}}, 0, 100).value());
  expect_same(given, InsertWithoutIds(group, {30, 31}, 101).value());
  expect_same(removed, Delete(group, {1, 2}, 0, 102).value());
  ASSERT_TRUE(Commit(group).ok());
  const Tokens before = Now();
  EXPECT_THAT(before, ElementsAre(Pair(1, 12), Pair(ServerId(1, kShard), 30), Pair(ServerId(2, kShard), 31)));

  WriteGroup later = Group();
  expect_same(insert, Insert(later, {{1, 10}, {1, 11}}, 0, 100).value());
  expect_same(given, InsertWithoutIds(later, {30, 31}, 101).value());
  expect_same(removed, Delete(later, {1, 2}, 0, 102).value());
  EXPECT_TRUE(later.empty());
  EXPECT_EQ(Now(), before);
}

TEST_F(WriteGroupTest, ARequestIdWithOtherContentIsRefusedAndTheGroupGoesOn) {
  WriteGroup group = Group();
  ASSERT_TRUE(Insert(group, {{1, 10}}, 0, 100, /*content=*/1).ok());
  const auto expect_refused = [&](WriteGroup& in) {
    const absl::Status refused = Insert(in, {{1, 99}}, 0, 100, /*content=*/2).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
    EXPECT_EQ(ReasonOf(refused), reason::kRequestIdReused);
  };
  expect_refused(group);
  ASSERT_TRUE(Insert(group, {{2, 20}}).ok());
  ASSERT_TRUE(Commit(group).ok());
  WriteGroup later = Group();
  expect_refused(later);
  EXPECT_TRUE(later.empty());
  EXPECT_THAT(Now(), ElementsAre(Pair(1, 10), Pair(2, 20)));
}

TEST_F(WriteGroupTest, ADeleteThatFindsNothingMakesNoPartition) {
  WriteGroup group = Group();
  const WriteResult result = Delete(group, {1, 2, ServerId(0, kShard)}, /*partition=*/9).value();
  EXPECT_EQ(result.count, 0U);
  EXPECT_EQ(result.other, 3U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(partitions_, IsEmpty());
  EXPECT_THAT(store_->ReadHeads().value(), IsEmpty());
  EXPECT_THAT(changed_, IsEmpty());
  EXPECT_EQ(store_->applied(), 1U) << "it has its place in the history all the same";
}

TEST_F(WriteGroupTest, ServerIdsAreDeletedOnceAndOnlyOnTheirShard) {
  WriteGroup group = Group();
  const std::vector<EntryId> given = InsertWithoutIds(group, {1, 2, 3}).value().given_ids;
  ASSERT_THAT(given, ElementsAre(ServerId(0, kShard), ServerId(1, kShard), ServerId(2, kShard)));
  ASSERT_TRUE(Insert(group, {{8, 4}}).ok());
  EXPECT_EQ(Delete(group, {given[0], given[0]})->count, 1U);
  EXPECT_EQ(Delete(group, {given[0]})->count, 0U);
  // Row 3 belongs to client id 8; row 4 was never given; row 1 of another shard is another entry.
  EXPECT_EQ(Delete(group, {ServerId(3, kShard), ServerId(4, kShard), ServerId(1, kShard + 1)})->count, 0U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(8, 4), Pair(given[1], 2), Pair(given[2], 3)));
  WriteGroup later = Group();
  EXPECT_EQ(Delete(later, {given[0], given[1], ServerId(3, kShard)})->count, 1U);
  EXPECT_EQ(Delete(later, {given[1]})->count, 0U);
  ASSERT_TRUE(Commit(later).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(8, 4), Pair(given[2], 3)));
}

TEST_F(WriteGroupTest, TheSameIdInTwoPartitionsIsTwoEntries) {
  WriteGroup group = Group();
  ASSERT_TRUE(Insert(group, {{1, 10}}, 0).ok());
  EXPECT_EQ(Insert(group, {{1, 20}}, 4)->other, 0U);
  EXPECT_EQ(Delete(group, {1}, 0)->count, 1U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(Now(0), IsEmpty());
  EXPECT_THAT(Now(4), ElementsAre(Pair(1, 20)));
}

TEST_F(WriteGroupTest, ADroppedPartitionIsEmptyAndGivesNoRowTwice) {
  WriteGroup first = Group();
  ASSERT_TRUE(Insert(first, {{1, 10}, {2, 20}}, 4).ok());
  ASSERT_TRUE(Commit(first).ok());
  WriteGroup drop = Group();
  DeleteOperation operation;
  operation.ticket = Ticket(0, 0);
  EXPECT_EQ(drop.PlanDropPartitions(operation, {Key(4)})->count, 2U);
  ASSERT_TRUE(Commit(drop).ok());
  EXPECT_THAT(Now(4), IsEmpty());
  WriteGroup later = Group();
  EXPECT_EQ(Insert(later, {{2, 21}}, 4)->other, 0U);
  ASSERT_TRUE(Commit(later).ok());
  EXPECT_THAT(Now(4), ElementsAre(Pair(2, 21)));
  EXPECT_EQ(store_->FindRow(Key(4), 2).value(), 2U);
}

TEST_F(WriteGroupTest, ACapacityEvictsTheOldestOfWhatIsStoredAndOfTheSameGroup) {
  SetCapacity(3);
  {
    WriteGroup group = Group();
    ASSERT_TRUE(Insert(group, {{1, 10}, {2, 20}, {3, 30}}).ok());
    ASSERT_TRUE(Commit(group).ok());
  }
  WriteGroup group = Group();
  ASSERT_TRUE(Insert(group, {{4, 40}}).ok());             // 1 goes
  ASSERT_TRUE(Insert(group, {{2, 21}}).ok());             // an upsert: nothing goes, and 2 is the newest now
  ASSERT_EQ(Insert(group, {{1, 11}})->other, 0U);         // 3 goes; 1 was gone, so nothing is replaced
  ASSERT_TRUE(Insert(group, {{5, 50}, {6, 60}}).ok());    // 4 and 2 go, which this group brought
  ASSERT_EQ(Delete(group, {2, 5})->count, 1U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(1, 11), Pair(6, 60)));
  EXPECT_EQ(partitions_.at(Key(0))->removed().evicted, 4U);

  WriteGroup later = Group();
  ASSERT_TRUE(Insert(later, {{7, 70}}).ok());
  ASSERT_TRUE(Insert(later, {{8, 80}}).ok());
  ASSERT_TRUE(Commit(later).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(6, 60), Pair(7, 70), Pair(8, 80))) << "1 arrived before 6";
}

TEST_F(WriteGroupTest, ABatchAboveTheCapacityKeepsItsLastEntries) {
  SetCapacity(2);
  {
    WriteGroup group = Group();
    ASSERT_TRUE(Insert(group, {{1, 10}}).ok());
    ASSERT_TRUE(Commit(group).ok());
  }
  WriteGroup group = Group();
  ASSERT_EQ(Insert(group, {{1, 11}, {2, 20}, {3, 30}, {4, 40}})->count, 4U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(3, 30), Pair(4, 40)));
  WriteGroup given = Group();
  const auto ids = InsertWithoutIds(given, {50, 51, 52})->given_ids;
  ASSERT_TRUE(Commit(given).ok());
  EXPECT_THAT(Now(), ElementsAre(Pair(ids[1], 51), Pair(ids[2], 52)));
}

TEST_F(WriteGroupTest, EachPartitionHasItsOwnCapacityAndADropStartsItAnew) {
  SetCapacity(2);
  WriteGroup group = Group();
  ASSERT_TRUE(Insert(group, {{1, 10}, {2, 20}}, 0).ok());
  ASSERT_TRUE(Insert(group, {{1, 11}}, 1).ok());
  ASSERT_TRUE(Commit(group).ok());
  WriteGroup drop = Group();
  DeleteOperation everything;
  everything.ticket = Ticket(0, 1);
  ASSERT_TRUE(drop.PlanDropPartitions(everything, {Key(0)}).ok());
  ASSERT_TRUE(Commit(drop).ok());
  WriteGroup anew = Group();
  ASSERT_TRUE(Insert(anew, {{3, 30}, {4, 40}}, 0).ok());
  ASSERT_TRUE(Insert(anew, {{5, 50}}, 0).ok());
  ASSERT_TRUE(Commit(anew).ok());
  EXPECT_THAT(Now(0), ElementsAre(Pair(4, 40), Pair(5, 50)));
  EXPECT_THAT(Now(1), ElementsAre(Pair(1, 11)));
}

TEST_F(WriteGroupTest, AGroupWhoseCommitFailsChangesNothing) {
  WriteGroup first = Group();
  ASSERT_TRUE(Insert(first, {{1, 10}, {2, 20}}).ok());
  ASSERT_TRUE(Insert(first, {{3, 30}}).ok());
  ASSERT_TRUE(Commit(first).ok());
  const Tokens before = Now();
  // The store refuses a sequence that it has left behind.
  WriteGroup late(*store_, partitions_, kShard, 1);
  ASSERT_TRUE(Insert(late, {{2, 99}, {5, 50}}, 0, 100).ok());
  EXPECT_FALSE(Commit(late).ok());
  EXPECT_THAT(changed_, IsEmpty());
  EXPECT_EQ(Now(), before);
  EXPECT_EQ(partitions_.at(Key(0))->head().next_row, 3U);
  EXPECT_EQ(store_->FindRequest({100, 77}).value().has_value(), false);
}

TEST_F(WriteGroupTest, APlaceInALogIsTheSequenceAndARefusalHasOneToo) {
  WriteGroup group = Group();
  InsertOperation insert;
  insert.ticket = Ticket(100, /*content=*/1);
  insert.ticket.position = 40;
  insert.entries = ColumnsOf(memory_->spec, {{.id = 1, .key = {1.0F}, .token = 1}});
  EXPECT_EQ(group.PlanInsert(insert)->sequence, 40U);
  InsertOperation other;
  other.ticket = Ticket(100, /*content=*/2);
  other.ticket.position = 43;
  EXPECT_EQ(ReasonOf(group.PlanInsert(other).status()), reason::kRequestIdReused);
  group.Pass(43);
  EXPECT_EQ(group.last_sequence(), 43U);
  ASSERT_TRUE(Commit(group).ok());
  EXPECT_EQ(store_->applied(), 43U);
  WriteGroup nothing = Group();
  nothing.Pass(50);
  EXPECT_FALSE(nothing.empty());
  ASSERT_TRUE(Commit(nothing).ok());
  EXPECT_EQ(store_->applied(), 50U);
  EXPECT_THAT(Now(), ElementsAre(Pair(1, 1)));
}

TEST_F(WriteGroupTest, APartOfADeletionStandsBelowItsPlaceAndIsCountedWhenItComesAgain) {
  WriteGroup first = Group();
  ASSERT_TRUE(Insert(first, {{1, 10}, {2, 20}, {3, 30}}).ok());
  ASSERT_TRUE(Commit(first).ok());
  DeleteOperation erase;
  erase.ticket = Ticket(100, 1);
  erase.ticket.position = 9;
  WriteGroup part = Group();
  EXPECT_EQ(part.DeletedBefore(erase.ticket).value(), 0U);
  part.PlanDeletePart(erase, std::vector<WriteGroup::FoundRow>{{Key(0), 0, 1}, {Key(0), 1, 2}}, /*total=*/2);
  ASSERT_TRUE(Commit(part).ok());
  EXPECT_EQ(store_->applied(), 1U) << "a log hands it over again";
  WriteGroup rest = Group();
  EXPECT_FALSE(rest.FindReplay(erase)->has_value());
  EXPECT_EQ(rest.DeletedBefore(erase.ticket).value(), 2U);
  EXPECT_EQ(rest.PlanDeleteRows(erase, std::vector<WriteGroup::FoundRow>{{Key(0), 2, 3}}, 3)->count, 3U);
  ASSERT_TRUE(Commit(rest).ok());
  EXPECT_EQ(store_->applied(), 9U);
  EXPECT_THAT(Now(), IsEmpty());
  erase.ticket.position = 12;
  WriteGroup later = Group();
  EXPECT_EQ(later.FindReplay(erase)->value().count, 3U);
}

// The twin: plain maps, one write after another.
class TwinWriter {
 public:
  WriteResult Insert(PartitionId partition, const std::vector<std::pair<EntryId, Token>>& entries) {
    WriteResult result;
    result.count = entries.size();
    for (const auto& [id, token] : entries) {
      result.other += tokens_[partition].insert_or_assign(id, token).second ? 0 : 1;
    }
    return result;
  }
  WriteResult Delete(PartitionId partition, const std::vector<EntryId>& ids) {
    WriteResult result;
    const std::set<EntryId> distinct(ids.begin(), ids.end());
    for (const EntryId id : distinct) ++(tokens_[partition].erase(id) != 0 ? result.count : result.other);
    return result;
  }
  const Tokens& Now(PartitionId partition) { return tokens_[partition]; }

 private:
  std::map<PartitionId, Tokens> tokens_;
};

TEST_F(WriteGroupTest, AnyMixtureOfWritesActsLikeOneAfterAnother) {
  const char* given = std::getenv("MNEME_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 11;
  std::cout << "seed " << seed << " (MNEME_TEST_SEED repeats it)" << std::endl;
  std::mt19937_64 random(seed);
  TwinWriter twin;
  for (int round = 0; round < 300; ++round) {
    WriteGroup group = Group();
    for (uint64_t writes = 1 + random() % 8; writes > 0; --writes) {
      SCOPED_TRACE("round " + std::to_string(round) + " seed " + std::to_string(seed));
      const PartitionId partition = random() % 2;
      std::vector<std::pair<EntryId, Token>> entries;
      std::vector<EntryId> ids;
      for (uint64_t i = 1 + random() % 4; i > 0; --i) {
        ids.push_back(random() % 12);
        entries.emplace_back(ids.back(), static_cast<Token>(random() % 1000));
      }
      const bool insert = random() % 2 == 0;
      const WriteResult expected = insert ? twin.Insert(partition, entries) : twin.Delete(partition, ids);
      const WriteResult result =
          insert ? Insert(group, entries, partition).value() : Delete(group, ids, partition).value();
      ASSERT_EQ(result.count, expected.count);
      ASSERT_EQ(result.other, expected.other);
    }
    ASSERT_TRUE(Commit(group).ok());
    for (const PartitionId partition : {0, 1}) ASSERT_EQ(Now(partition), twin.Now(partition)) << "round " << round;
    inserts_.clear();
  }
}

}  // namespace
}  // namespace mneme
