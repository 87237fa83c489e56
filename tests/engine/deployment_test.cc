// What a deployment promises, told one promise at a time, for one shard and for several.
#include <algorithm>
#include <fstream>
#include <atomic>
#include <numeric>
#include <thread>

#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/routing.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

class DeploymentTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  DeploymentTest() : deployment_(GetParam()) { memory_ = deployment_.Create(TokenMemory("wiki", 2)); }

  void Put(std::vector<PlainEntry> entries, PartitionId partition = 0) {
    const auto outcome = deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->inserted, entries.size());
  }
  std::vector<EntryId> Nearest(std::vector<float> key, uint32_t k, PartitionSelection partitions = {}) {
    QueryCommand command = ExactQuery(key, 1, k);
    command.partitions = std::move(partitions);
    const auto outcome = deployment_.Query(memory_, std::move(command));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? outcome->neighbours.ids : std::vector<EntryId>{};
  }

  // Entries first, first + 1, ... below end, at (id, 0).
  void PutLine(EntryId first, EntryId end, const Attributes& attributes = {}) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < end; ++id) entries.push_back({id, {static_cast<float>(id), 0}, 1, attributes});
    Put(entries);
  }
  MemoryStatistics Statistics() { return deployment_->Statistics(memory_).value(); }
  // Background work is nobody's to order: waits until it has done what is to be seen.
  template <typename Seen>
  void Await(const Seen& seen) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    while (!seen() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(seen());
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
};

using Ids = std::vector<EntryId>;

TEST_P(DeploymentTest, AnEmptyMemoryAnswersWithNoNeighbours) {
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{});
  EXPECT_EQ(deployment_.Count(memory_), 0U);
}

TEST_P(DeploymentTest, NeighboursComeNearestFirstAndTiesById) {
  Put({{7, {1, 0}, 1}, {3, {0, 1}, 2}, {5, {-1, 0}, 3}, {9, {3, 0}, 4}});
  EXPECT_EQ(Nearest({0, 0}, 3), (Ids{3, 5, 7}));
  EXPECT_EQ(Nearest({0, 0}, 10), (Ids{3, 5, 7, 9}));
}

TEST_P(DeploymentTest, AnUpsertReplacesTheEntryAndTheLastOfEqualIdsWins) {
  Put({{1, {0, 0}, 1}, {2, {5, 5}, 2}});
  const auto outcome = deployment_.Insert(
      memory_, ColumnsOf(memory_->spec, {{1, {9, 9}, 10}, {4, {1, 1}, 4}, {1, {8, 8}, 11}}));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->replaced, 2U);
  EXPECT_EQ(deployment_.Count(memory_), 3U);
  EXPECT_EQ(Nearest({8, 8}, 1), Ids{1});
  EXPECT_EQ(Nearest({0, 0}, 3), (Ids{4, 2, 1}));
}

TEST_P(DeploymentTest, ADeletedEntryIsGoneFromEveryReadAndCanComeBack) {
  Put({{1, {0, 0}, 1}, {2, {1, 1}, 2}});
  const auto outcome = deployment_.DeleteIds(memory_, {1, 77});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->deleted, 1U);
  EXPECT_EQ(outcome->absent, 1U);
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{2});
  std::vector<bool> found;
  ASSERT_TRUE(deployment_->Get(memory_, 0, {1, 2}, true, {}, {}, found).ok());
  EXPECT_EQ(found, (std::vector<bool>{false, true}));
  Put({{1, {0, 0}, 3}});
  EXPECT_EQ(Nearest({0, 0}, 5), (Ids{1, 2}));
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({0, 0}, 5), (Ids{1, 2}));
  EXPECT_EQ(deployment_.Count(memory_), 2U);
}

TEST_P(DeploymentTest, ServerGivenIdsAreUniqueAndSurviveARestart) {
  const std::vector<PlainEntry> two = {{0, {0, 0}, 1}, {0, {1, 1}, 2}};
  const auto first = deployment_.Insert(memory_, ColumnsOf(memory_->spec, two, false), 0, "r1");
  const auto second = deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{0, {2, 2}, 3}}, false), 0, "r2");
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_EQ(first->given_ids.size(), 2U);
  EXPECT_TRUE(IsServerId(first->given_ids[0]));
  EXPECT_NE(first->given_ids[0], second->given_ids[0]);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({0, 0}, 3), (Ids{first->given_ids[0], first->given_ids[1], second->given_ids[0]}));
  const auto outcome = deployment_.DeleteIds(memory_, first->given_ids);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->deleted, 2U);
  EXPECT_EQ(Nearest({0, 0}, 3), Ids{second->given_ids[0]});
}

TEST_P(DeploymentTest, ARetryWithTheSameRequestIdIsAppliedOnceAndAnsweredAlike) {
  const auto columns = [&] { return ColumnsOf(memory_->spec, {{0, {0, 0}, 1}, {0, {1, 1}, 2}}, false); };
  const auto first = deployment_.Insert(memory_, columns(), 0, "once");
  ASSERT_TRUE(first.ok());
  for (int round = 0; round < 2; ++round) {
    const auto again = deployment_.Insert(memory_, columns(), 0, "once");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->replayed);
    EXPECT_EQ(again->given_ids, first->given_ids);
    EXPECT_EQ(deployment_.Count(memory_), 2U);
    deployment_.Restart();
    memory_ = deployment_.Find("wiki");
  }
}

TEST_P(DeploymentTest, ARequestIdWithOtherContentIsRefused) {
  ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{0, {0, 0}, 1}}, false), 0, "r").ok());
  const auto other = deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{0, {0, 0}, 2}}, false), 0, "r");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(other.status()), reason::kRequestIdReused);
  EXPECT_EQ(deployment_.Count(memory_), 1U);
}

TEST_P(DeploymentTest, ARequestIdMeansAnotherWriteInEachPartition) {
  const auto put = [&](PartitionId partition, Token token) {
    return deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{0, {0, 0}, token}}, false), partition, "batch");
  };
  for (const PartitionId partition : {7, 8}) {
    const auto first = put(partition, partition);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_FALSE(first->replayed);
    const auto again = put(partition, partition);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->replayed);
    EXPECT_EQ(ReasonOf(put(partition, 99).status()), reason::kRequestIdReused);
  }
  // Nor does a deletion of one know of the other's, whatever the partition is called in its id.
  for (const std::string id : {"batch", "8/batch"}) {
    DeleteCommand erase;
    erase.partitions.partitions = {9};
    erase.everything = true;
    erase.request_id = id;
    const auto outcome = deployment_.Delete(memory_, erase);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_FALSE(outcome->replayed);
  }
  EXPECT_EQ(deployment_.Count(memory_, {.partitions = {7, 8}}), 2U);
}

TEST_P(DeploymentTest, PartitionsAreApartAndCanBeAskedTogether) {
  Put({{1, {0, 0}, 1}});
  Put({{1, {1, 1}, 2}, {2, {2, 2}, 3}}, 42);
  Put({{1, {3, 3}, 4}}, 43);
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{1});
  EXPECT_EQ(Nearest({0, 0}, 5, {.partitions = {42}}), (Ids{1, 2}));
  EXPECT_EQ(Nearest({0, 0}, 5, {.partitions = {42, 43}}), (Ids{1, 2, 1}));
  EXPECT_EQ(Nearest({0, 0}, 5, {.partitions = {}, .all = true}), (Ids{1, 1, 2, 1}));
  EXPECT_EQ(Nearest({0, 0}, 5, {.partitions = {99}}), Ids{});
}

TEST_P(DeploymentTest, AWholePartitionIsDroppedAtOnceAndStaysUsable) {
  Put({{1, {1, 1}, 2}, {2, {2, 2}, 3}}, 42);
  DeleteCommand command;
  command.partitions.partitions = {42};
  command.everything = true;
  const auto outcome = deployment_.Delete(memory_, command);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->deleted, 2U);
  EXPECT_EQ(Nearest({0, 0}, 5, {.partitions = {42}}), Ids{});
  Put({{2, {5, 5}, 3}}, 42);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({0, 0}, 5, {.partitions = {42}}), Ids{2});
}

TEST_P(DeploymentTest, FiltersDeleteAndCountWhatTheyMatch) {
  Put({{1, {0, 0}, 1, {.label = 5, .source = 10}},
       {2, {1, 0}, 2, {.label = 5, .source = 11}},
       {3, {2, 0}, 3, {.source = 10}}});
  RowFilter filter;
  filter.sources = std::vector<uint64_t>{10};
  EXPECT_EQ(deployment_.Count(memory_, {}, filter), 2U);
  DeleteCommand command;
  command.filter = filter;
  command.dry_run = true;
  EXPECT_EQ(deployment_.Delete(memory_, command)->deleted, 2U);
  EXPECT_EQ(deployment_.Count(memory_), 3U);
  command.dry_run = false;
  EXPECT_EQ(deployment_.Delete(memory_, command)->deleted, 2U);
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{2});
  // A deleted client id is free again.
  Put({{1, {0, 0}, 1}});
  EXPECT_EQ(Nearest({0, 0}, 5), (Ids{1, 2}));
}

TEST_P(DeploymentTest, ExpiredEntriesAreHiddenFromEveryRead) {
  Put({{1, {0, 0}, 1, {.expiry_ms = 1'000'500}}, {2, {1, 0}, 2}});
  EXPECT_EQ(Nearest({0, 0}, 5), (Ids{1, 2}));
  deployment_.clock().Advance(500);
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{2});
  EXPECT_EQ(deployment_.Count(memory_), 1U);
  std::vector<bool> found;
  ASSERT_TRUE(deployment_->Get(memory_, 0, {1}, false, {}, {}, found).ok());
  EXPECT_FALSE(found[0]);
}

TEST_P(DeploymentTest, AScanVisitsEveryEntryOncePageByPage) {
  std::vector<PlainEntry> entries;
  for (uint64_t i = 0; i < 100; ++i) entries.push_back({i, {static_cast<float>(i), 0}, static_cast<Token>(i)});
  Put(entries);
  Put({{7, {0, 0}, 1}}, 3);
  ScanCommand command;
  command.partitions.all = true;
  command.page_size = 9;
  Ids seen;
  do {
    const auto page = deployment_->Scan(memory_, command);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->entries.count, 9U);
    seen.insert(seen.end(), page->entries.ids.begin(), page->entries.ids.end());
    command.from = page->next;
  } while (command.from.has_value());
  std::sort(seen.begin(), seen.end());
  Ids expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  expected.insert(expected.begin() + 7, 7);
  EXPECT_EQ(seen, expected);
}

TEST_P(DeploymentTest, AVersionOfTheFutureMakesAReadWaitUntilItsDeadline) {
  const auto outcome = deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{1, {0, 0}, 1}}));
  ASSERT_TRUE(outcome.ok());
  QueryCommand now = ExactQuery({0, 0}, 1, 1);
  now.at_least = outcome->version;
  EXPECT_EQ(deployment_.Query(memory_, std::move(now))->neighbours.ids, Ids{1});
  QueryCommand future = ExactQuery({0, 0}, 1, 1);
  future.at_least = outcome->version;
  future.at_least.parts[0].sequence += 1000;
  future.limits.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  const auto late = deployment_.Query(memory_, std::move(future));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(late.status()), reason::kReplicaLagging);
}

TEST_P(DeploymentTest, VersionsOfOtherMemoriesAndDeploymentsAreRefused) {
  const MemoryHandle other = deployment_.Create(TokenMemory("other", 2));
  const std::string bytes = deployment_->EncodeVersion({.memory = memory_->number, .parts = {{0, 1}}});
  EXPECT_TRUE(deployment_->DecodeVersion(memory_, bytes).ok());
  EXPECT_EQ(deployment_->DecodeVersion(other, bytes).status().code(), absl::StatusCode::kFailedPrecondition);
  TestDeployment elsewhere(1);
  EXPECT_EQ(elsewhere->DecodeVersion(memory_, bytes).status().code(), absl::StatusCode::kFailedPrecondition);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    if (cut == 13) continue;  // the head alone is a version without parts
    const auto decoded = deployment_->DecodeVersion(memory_, bytes.substr(0, cut));
    EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument) << cut;
  }
}

TEST_P(DeploymentTest, ADroppedMemoryIsGoneAtOnceAndItsNameIsFree) {
  Put({{1, {0, 0}, 1}});
  ASSERT_TRUE(deployment_->DropMemory("wiki").ok());
  EXPECT_EQ(deployment_->FindMemory("wiki").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(deployment_->DropMemory("wiki").code(), absl::StatusCode::kNotFound);
  const MemoryHandle fresh = deployment_.Create(TokenMemory("wiki", 3));
  EXPECT_NE(fresh->number, memory_->number);
  EXPECT_EQ(deployment_.Count(fresh), 0U);
  // A write through the old handle comes after the drop in the log of its shard, and is refused.
  const auto late = deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{2, {0, 0}, 1}}));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kNotFound);
  deployment_.Restart();
  EXPECT_EQ(deployment_.Count(deployment_.Find("wiki")), 0U);
}

TEST_P(DeploymentTest, ANameIsTakenOnce) {
  EXPECT_EQ(deployment_->CreateMemory(TokenMemory("wiki", 8)).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_P(DeploymentTest, SuccessorsAreTheNextIdOfTheSameSource) {
  Put({{1, {0, 0}, 1, {.source = 1}}, {2, {1, 0}, 2, {.source = 1}}, {3, {2, 0}, 3, {.source = 2}}});
  QueryCommand command = ExactQuery({0, 0}, 1, 3);
  command.with_successors = true;
  const auto outcome = deployment_.Query(memory_, std::move(command));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->neighbours.ids, (Ids{1, 2, 3}));
  EXPECT_EQ(outcome->has_successor, (std::vector<uint8_t>{1, 0, 0}));
  EXPECT_EQ(outcome->successors[0], 2U);
}

TEST_P(DeploymentTest, ExtraCandidatesAreScoredOnceAndOnlyWhereTheyExist) {
  Put({{1, {0, 0}, 1, {.source = 1}}, {2, {1, 0}, 2, {.source = 1}}, {3, {2, 0}, 3, {.source = 2}}, {4, {9, 0}, 4}});
  ASSERT_TRUE(deployment_.DeleteIds(memory_, {4}).ok());
  QueryCommand command = ExactQuery({0, 0}, 1, 1);
  command.extra_offsets = {0, 5};
  command.extra_ids = {3, 3, 1, 4, 2};
  command.extra_sources = {2, 2, 1, 0, 7};  // 4 was deleted; 2 has another source
  const auto outcome = deployment_.Query(memory_, std::move(command));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->neighbours.ids, (Ids{1, 3}));
  EXPECT_EQ(outcome->neighbours.scores, (std::vector<double>{0.0, -4.0}));
}

TEST_P(DeploymentTest, AnIndexThatIsBuiltAnswersExactlyAsBefore) {
  std::vector<PlainEntry> entries;
  for (uint64_t i = 0; i < 2000; ++i) {
    const float x = static_cast<float>(Mix64(i) % 1000) / 10;
    entries.push_back({i, {x, static_cast<float>(Mix64(i + 5000) % 1000) / 10}, static_cast<Token>(i % 1000)});
  }
  Put(entries);
  const Ids before = Nearest({50, 50}, 100);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  EXPECT_EQ((*deployment_->Statistics(memory_)).segments, GetParam());
  EXPECT_EQ((*deployment_->Statistics(memory_)).tail_rows, 0U);
  EXPECT_EQ(Nearest({50, 50}, 100), before);
  // Deletes reach sealed rows, and stay after a restart and after a retrain.
  const Ids some(before.begin(), before.begin() + 10);
  ASSERT_EQ(deployment_.DeleteIds(memory_, some)->deleted, 10U);
  const Ids rest(before.begin() + 10, before.end());
  EXPECT_EQ(Nearest({50, 50}, 90), rest);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({50, 50}, 90), rest);
  ASSERT_TRUE(deployment_.Build(memory_, /*retrain=*/true).ok());
  EXPECT_EQ(Nearest({50, 50}, 90), rest);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({50, 50}, 90), rest);
}

TEST_P(DeploymentTest, IndexFilesThatAreDeletedOrDamagedAreRebuilt) {
  std::vector<PlainEntry> entries;
  for (uint64_t i = 0; i < 3000; ++i) entries.push_back({i, {static_cast<float>(Mix64(i) % 777), 1}, 0});
  Put(entries);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  const Ids before = Nearest({300, 0}, 200);
  for (const std::string ending : {".segment", ".codebook", ""}) {
    deployment_.Close();
    for (uint32_t shard = 0; shard < GetParam(); ++shard) {
      const std::string index = deployment_.path("shard-00" + std::to_string(shard) + "/index");
      for (const auto& file : std::filesystem::directory_iterator(index)) {
        if (ending.empty()) {
          std::fstream(file.path(), std::ios::in | std::ios::out | std::ios::binary).seekp(200).put('\x5a');
        } else if (file.path().extension() == ending) {
          std::filesystem::remove(file.path());
        }
      }
    }
    deployment_.Open();
    memory_ = deployment_.Find("wiki");
    EXPECT_EQ(Nearest({300, 0}, 200), before) << ending;
    EXPECT_EQ((*deployment_->Statistics(memory_)).segments, GetParam()) << ending;
  }
}

TEST_P(DeploymentTest, ATailThatGrowsIsSealedInTheBackground) {
  const size_t rows = (limits::kFlatRows + limits::kSealRows) * GetParam();
  std::vector<PlainEntry> batch;
  for (uint64_t i = 0; i < rows; ++i) {
    batch.push_back({i, {static_cast<float>(Mix64(i) % 9973), static_cast<float>(Mix64(~i) % 9973)}, 0});
    if (batch.size() == 8192 || i + 1 == rows) {
      Put(batch);
      batch.clear();
    }
  }
  Await([&] { return Statistics().segments >= GetParam(); });
  EXPECT_EQ(deployment_.Count(memory_), rows);
}

TEST_P(DeploymentTest, ALostCatalogueIsRefusedAndNothingIsDeleted) {
  Put({{1, {0, 0}, 1}});
  deployment_.Close();
  std::filesystem::rename(deployment_.path("catalogue"), deployment_.path("elsewhere"));
  EXPECT_EQ(deployment_.TryOpen().code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove_all(deployment_.path("catalogue"));
  std::filesystem::rename(deployment_.path("elsewhere"), deployment_.path("catalogue"));
  deployment_.Open();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{1});
}

TEST_P(DeploymentTest, ADeleteByFilterOfMoreThanOneGroupIsCompleteAndFreesTheIndex) {
  constexpr uint64_t kRows = 150'000;
  std::vector<PlainEntry> batch;
  for (uint64_t i = 0; i < kRows; ++i) {
    batch.push_back({i, {static_cast<float>(i % 1013), 1}, 0, {.source = i % 3 == 0 ? 2U : 1U}});
    if (batch.size() == 50'000) {
      Put(batch);
      batch.clear();
    }
  }
  DeleteCommand command;
  command.filter = RowFilter{};
  command.filter->sources = std::vector<uint64_t>{1};
  EXPECT_EQ(deployment_.Delete(memory_, command)->deleted, kRows - kRows / 3);
  EXPECT_EQ(deployment_.Count(memory_), kRows / 3);
  command.filter->sources = std::vector<uint64_t>{2};
  EXPECT_EQ(deployment_.Delete(memory_, command)->deleted, kRows / 3);
  EXPECT_EQ((*deployment_->Statistics(memory_)).tail_rows, 0U);
  EXPECT_EQ((*deployment_->Statistics(memory_)).dead_rows, 0U);
  Put({{1, {0, 0}, 1}});
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Nearest({0, 0}, 5), Ids{1});
}

TEST_P(DeploymentTest, AnExpiredEntryIsDeletedByFilterToo) {
  Put({{1, {0, 0}, 1, {.source = 4, .expiry_ms = 1'000'500}}});
  deployment_.clock().Advance(1000);
  DeleteCommand command;
  command.filter = RowFilter{};
  command.filter->sources = std::vector<uint64_t>{4};
  EXPECT_EQ(deployment_.Delete(memory_, command)->deleted, 1U);
}

TEST_P(DeploymentTest, AnEntryThatIsAlwaysThereIsAlwaysFoundWhileItIsOverwritten) {
  Put({{1, {0, 0}, 1, {.source = 1}}, {2, {1, 0}, 2, {.source = 1}}});
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      std::vector<bool> found;
      ASSERT_TRUE(deployment_->Get(memory_, 0, {2}, false, {}, {}, found).ok());
      ASSERT_TRUE(found[0]);
      QueryCommand command = ExactQuery({0, 0}, 1, 1);
      command.with_successors = true;
      const auto outcome = deployment_.Query(memory_, std::move(command));
      ASSERT_TRUE(outcome.ok());
      ASSERT_EQ(outcome->has_successor, std::vector<uint8_t>{1});
    }
  });
  for (Token token = 0; token < 300; ++token) Put({{2, {1, 0}, token, {.source = 1}}});
  stop = true;
  reader.join();
}

TEST_P(DeploymentTest, ExpiredEntriesAreRemovedFromSegmentsAndTail) {
  const uint64_t rows = 600 * GetParam();
  PutLine(0, rows, {.expiry_ms = 1'000'500});
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  PutLine(rows, rows + 100, {.expiry_ms = 1'000'600});
  PutLine(rows + 100, rows + 200, {.expiry_ms = 9'000'000});
  PutLine(0, 10);  // overwritten: these stay for ever
  deployment_.clock().Advance(700);
  EXPECT_EQ(deployment_.Count(memory_), 110U);
  EXPECT_EQ(Statistics().entries, rows + 200) << "hidden, and not removed yet";
  deployment_.clock().Advance(60'000);
  Await([&] { return Statistics().expired >= rows + 90; });
  EXPECT_EQ(Statistics().expired, rows + 90);
  EXPECT_EQ(Statistics().entries, 110U);
  EXPECT_EQ(deployment_.Count(memory_), 110U);
  EXPECT_EQ(Nearest({0, 0}, 11).back(), rows + 100);
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Statistics().entries, 110U);
}

TEST_P(DeploymentTest, WhatExpiredWhileTheServerWasDownIsRemovedAfterItsStart) {
  const uint64_t rows = 600 * GetParam();
  PutLine(0, rows, {.expiry_ms = 1'000'500});
  PutLine(rows, 2 * rows);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  PutLine(2 * rows, 2 * rows + 5, {.expiry_ms = 1'000'600});
  deployment_.Close();
  deployment_.clock().Advance(60'000);
  deployment_.Open();
  memory_ = deployment_.Find("wiki");
  Await([&] { return Statistics().expired >= rows + 5; });
  EXPECT_EQ(Statistics().entries, rows);
}

EntryColumns LoadBatch(const MemorySpec& spec, EntryId first, size_t count) {
  std::vector<PlainEntry> entries;
  for (size_t i = 0; i < count; ++i) {
    entries.push_back({first + i, {static_cast<float>(first + i), 0}, static_cast<Token>((first + i) % 1000)});
  }
  return ColumnsOf(spec, entries);
}

TEST_P(DeploymentTest, ALoadIsThereAtOnceAndStaysAndIsIndexedWhenItEnds) {
  const size_t rows = 2 * limits::kFlatRows * GetParam();
  PutLine(0, 3);
  for (EntryId first = 2; first < 2 + rows; first += rows / 2) {
    const auto loaded = deployment_.Load(memory_, LoadBatch(memory_->spec, first, rows / 2));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->inserted, rows / 2);
    EXPECT_EQ(loaded->replaced, first == 2 ? 1U : 0U);
    EXPECT_EQ(deployment_.Count(memory_), first + rows / 2);
  }
  EXPECT_EQ(Nearest({0, 0}, 4), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(Nearest({1e9F, 0}, 2).front(), rows + 1);
  ASSERT_TRUE(deployment_.DeleteIds(memory_, {2, rows + 1}).ok());
  PutLine(3, 4);
  Await([&] { return Statistics().segments >= GetParam(); });
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(deployment_.Count(memory_), rows);
    EXPECT_EQ(Nearest({0, 0}, 4), (Ids{0, 1, 3, 4}));
    deployment_.Restart();
    memory_ = deployment_.Find("wiki");
  }
}

TEST_P(DeploymentTest, AMessageOfALoadThatIsSentTwiceIsAppliedOnce) {
  const size_t rows = 6'000 * GetParam();
  const auto batch = [&] { return LoadBatch(memory_->spec, 0, rows); };
  ASSERT_TRUE(deployment_.Load(memory_, batch(), "part 1").ok());
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  const auto again = deployment_.Load(memory_, batch(), "part 1");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(deployment_.Count(memory_), rows);
  const auto anew = deployment_.Load(memory_, batch());
  ASSERT_TRUE(anew.ok()) << anew.status();
  EXPECT_EQ(anew->replaced, rows) << "without a request id its rows replace themselves";
  EXPECT_EQ(deployment_.Count(memory_), rows);
}

TEST_P(DeploymentTest, ASegmentWithManyDeadRowsIsCompacted) {
  const uint64_t rows = 6000 * GetParam();
  PutLine(0, rows);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  std::vector<EntryId> ids;
  for (EntryId id = 0; id < rows; id += 5) ids.push_back(id);
  ASSERT_TRUE(deployment_.DeleteIds(memory_, ids).ok());
  EXPECT_EQ(Statistics().dead_rows, rows / 5) << "a fifth is borne";
  const uint64_t bytes = Statistics().index_bytes;
  ids.clear();
  for (EntryId id = 1; id < rows; id += 5) ids.push_back(id);
  ASSERT_TRUE(deployment_.DeleteIds(memory_, ids).ok());
  Await([&] { return Statistics().dead_rows == 0; });
  EXPECT_LT(Statistics().index_bytes, bytes);
  EXPECT_EQ(Statistics().segments, GetParam());
  EXPECT_EQ(Nearest({0, 0}, 4), (Ids{2, 3, 4, 7}));
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Statistics().dead_rows, 0U);
  EXPECT_EQ(Nearest({0, 0}, 4), (Ids{2, 3, 4, 7}));
}

TEST_P(DeploymentTest, ASegmentWithoutALivingRowIsGivenUp) {
  MemorySpec spec = TokenMemory("recent", 2);
  spec.capacity = 3000;
  spec.spread = Spread::kOne;
  memory_ = deployment_.Create(spec);
  PutLine(0, 3000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  EXPECT_EQ(Statistics().segments, 1U);
  PutLine(3000, 6000);
  Await([&] { return Statistics().segments == 0; });
  EXPECT_EQ(Statistics().evicted, 3000U);
  EXPECT_EQ(Nearest({0, 0}, 2), (Ids{3000, 3001}));
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(deployment_.Build(memory_).ok());
    EXPECT_EQ(Statistics().entries, 3000U);
    EXPECT_EQ(Nearest({0, 0}, 2), (Ids{3000, 3001}));
    deployment_.Restart();
    memory_ = deployment_.Find("recent");
  }
  PutLine(6000, 6001);
  EXPECT_EQ(Nearest({0, 0}, 2), (Ids{3001, 3002}));
}

TEST_P(DeploymentTest, AFewEntriesThatAreOverwrittenForEverDoNotFillTheRam) {
  constexpr int kRounds = 170;
  std::vector<PlainEntry> entries;
  for (uint64_t i = 0; i < 500 * GetParam(); ++i) entries.push_back({i, {static_cast<float>(i), 1}, 0});
  for (int round = 0; round < kRounds; ++round) Put(entries);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const uint64_t written = kRounds * entries.size();
  while ((*deployment_->Statistics(memory_)).tail_rows > written / 2 && std::chrono::steady_clock::now() < deadline) {
    Put(entries);
  }
  EXPECT_LE((*deployment_->Statistics(memory_)).tail_rows, written / 2);
  EXPECT_EQ(deployment_.Count(memory_), entries.size());
}

INSTANTIATE_TEST_SUITE_P(Shards, DeploymentTest, ::testing::Values(1U, 3U),
                         [](const auto& shards) { return "Shards" + std::to_string(shards.param); });

}  // namespace
}  // namespace mneme
