// Small partitions sleep in the store until somebody asks for them: nothing that a client sees may depend on it. Run
// under TSan.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr PartitionId kPartitions = 200;
constexpr EntryId kEntries = 20;

uint64_t Seed() {
  const char* text = std::getenv("MNEME_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

class SleepingPartitionsTest : public ::testing::Test {
 protected:
  explicit SleepingPartitionsTest(DeploymentOptions options = {.search_threads = 2})
      : deployment_(2, std::move(options)), memory_(deployment_.Create(TokenMemory("many", 2))) {}

  // Entry `id` of a partition lies at (id, partition).
  static PlainEntry Entry(PartitionId partition, EntryId id) {
    return {id, {static_cast<float>(id), static_cast<float>(partition)}, 1};
  }
  void Put(PartitionId partition, EntryId first, EntryId end, int64_t expiry_ms = 0) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < end; ++id) {
      entries.push_back(Entry(partition, id));
      entries.back().attributes.expiry_ms = expiry_ms;
    }
    absl::Status status;
    do {
      status = deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition).status();
    } while (absl::IsResourceExhausted(status));  // come back when there is ram
    ASSERT_TRUE(status.ok()) << status;
  }
  void PutAll() {
    for (PartitionId partition = 1; partition <= kPartitions; ++partition) Put(partition, 0, kEntries);
  }
  void Restart() {
    deployment_.Restart();
    memory_ = deployment_.Find("many");
  }
  MemoryStatistics Statistics() { return deployment_->Statistics(memory_).value(); }

  std::set<EntryId> IdsIn(PartitionId partition) {
    QueryCommand command = ExactQuery({0, 0}, 1, 4096);
    command.partitions.partitions = {partition};
    const auto outcome = deployment_.Query(memory_, std::move(command));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    if (!outcome.ok()) return {};
    return {outcome->neighbours.ids.begin(), outcome->neighbours.ids.end()};
  }
  static std::set<EntryId> Range(EntryId first, EntryId end) {
    std::set<EntryId> ids;
    for (EntryId id = first; id < end; ++id) ids.insert(id);
    return ids;
  }
  absl::StatusOr<DeleteOutcome> Drop(PartitionSelection partitions, std::string request_id = "") {
    DeleteCommand command;
    command.partitions = std::move(partitions);
    command.everything = true;
    command.request_id = std::move(request_id);
    return deployment_.Delete(memory_, std::move(command));
  }
  template <typename Condition>
  static bool Within(std::chrono::seconds time, const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
};

TEST_F(SleepingPartitionsTest, ARestartReadsOnlyWhatIsAskedFor) {
  PutAll();
  const uint64_t filled = Statistics().tail_ram_bytes;
  Restart();
  EXPECT_EQ(Statistics().tail_ram_bytes, 0U);
  EXPECT_EQ(Statistics().entries, kPartitions * kEntries);
  EXPECT_EQ(Statistics().partitions, kPartitions);
  EXPECT_EQ(Statistics().tail_rows, kPartitions * kEntries);
  EXPECT_EQ(IdsIn(7), Range(0, kEntries));
  EXPECT_GT(Statistics().tail_ram_bytes, 0U);
  EXPECT_LE(Statistics().tail_ram_bytes, 2 * filled / kPartitions);
  EXPECT_EQ(Statistics().entries, kPartitions * kEntries);
  EXPECT_EQ(Statistics().partitions, kPartitions);
}

TEST_F(SleepingPartitionsTest, ADropThatWasAnsweredBeforeDoesNotTouchWhatCameSince) {
  Put(7, 0, 10);
  ASSERT_TRUE(Drop({{7}, false}, "once").ok());
  Put(7, 10, 20);
  Restart();
  const auto again = Drop({{7}, false}, "once");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->replayed);
  Put(7, 20, 21);
  EXPECT_EQ(IdsIn(7), Range(10, 21));
}

TEST_F(SleepingPartitionsTest, AQueryOfAllWakesAll) {
  PutAll();
  Restart();
  PartitionSelection all;
  all.all = true;
  EXPECT_EQ(deployment_.Count(memory_, all), kPartitions * kEntries);
  Restart();
  QueryCommand command = ExactQuery(std::vector<float>(2 * 64, 0.0F), 64, 4096);  // in slices
  command.partitions.all = true;
  const auto outcome = deployment_.Query(memory_, std::move(command));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->neighbours.size(), 64 * kPartitions * kEntries);
}

TEST_F(SleepingPartitionsTest, AQueryThatIsGivenUpWakesNoMore) {
  PutAll();
  Restart();
  CallLimits given_up;
  given_up.cancelled = std::make_shared<std::atomic<bool>>(true);
  PartitionSelection all;
  all.all = true;
  EXPECT_TRUE(absl::IsCancelled(deployment_->Count(memory_, {.partitions = all, .limits = given_up}).status()));
  EXPECT_EQ(Statistics().tail_ram_bytes, 0U);
}

TEST_F(SleepingPartitionsTest, AQueryOfPartitionsInAnyOrderGetsEach) {
  PutAll();
  Restart();
  PartitionSelection some;
  some.partitions = {150, 3, kPartitions + 5, 77, 4, 149};
  IdsIn(77);  // awake among sleepers
  EXPECT_EQ(deployment_.Count(memory_, some), 5 * kEntries);
}

TEST_F(SleepingPartitionsTest, AGapThatDeletionsLeftStaysAGap) {
  Put(1, 0, kEntries);
  Put(2, 0, kEntries);
  Put(3, 0, kEntries);
  ASSERT_TRUE(deployment_.DeleteIds(memory_, {0, 1, 7, 8, kEntries - 1}, 2).ok());
  for (EntryId id = 0; id < kEntries; ++id) ASSERT_TRUE(deployment_.DeleteIds(memory_, {id}, 3).ok());
  Restart();
  PartitionSelection all;
  all.all = true;
  EXPECT_EQ(deployment_.Count(memory_, all), 2 * kEntries - 5);
  std::set<EntryId> left = Range(2, kEntries - 1);
  left.erase(7);
  left.erase(8);
  EXPECT_EQ(IdsIn(2), left);
  Put(2, 7, 8);
  left.insert(7);
  EXPECT_EQ(IdsIn(2), left);
  Put(3, 5, 6);
  EXPECT_EQ(IdsIn(3), Range(5, 6));
}

TEST_F(SleepingPartitionsTest, ADeleteInAllPartitionsFindsWhatSleeps) {
  PutAll();
  Restart();
  DeleteCommand by_id;
  by_id.partitions.all = true;
  by_id.ids = std::vector<EntryId>{0, 3, 1000};
  const auto ids = deployment_.Delete(memory_, std::move(by_id));
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(ids->deleted, 2 * kPartitions);
  Restart();
  DeleteCommand by_filter;
  by_filter.partitions.all = true;
  by_filter.filter = RowFilter{};
  by_filter.filter->ids = std::vector<EntryId>{4, 5, 6};
  const auto filtered = deployment_.Delete(memory_, std::move(by_filter));
  ASSERT_TRUE(filtered.ok()) << filtered.status();
  EXPECT_EQ(filtered->deleted, 3 * kPartitions);
  std::set<EntryId> left = Range(7, kEntries);
  left.insert({1, 2});
  EXPECT_EQ(IdsIn(1), left);
  Restart();
  EXPECT_EQ(IdsIn(kPartitions), left);
  EXPECT_EQ(Statistics().entries, kPartitions * (kEntries - 5));
}

// As many as two threads share among themselves.
TEST(ManySleepingPartitionsTest, AreReadByMoreThanOneThread) {
  constexpr PartitionId kMany = 9'000;
  TestDeployment deployment(1, {.search_threads = 2});
  MemoryHandle memory = deployment.Create(TokenMemory("many", 2));
  std::vector<std::promise<absl::Status>> written(kMany);
  for (PartitionId partition = 0; partition < kMany; ++partition) {
    const auto place = static_cast<float>(partition);
    InsertCommand command{.partition = partition, .entries = ColumnsOf(memory->spec, {{partition, {place, 0}, 1}}),
                          .request_id = {}};
    deployment->Insert(memory, std::move(command), nullptr, [&, partition](const absl::StatusOr<InsertOutcome>& done) {
      written[partition].set_value(done.status());
    });
  }
  for (auto& one : written) ASSERT_TRUE(one.get_future().get().ok());
  deployment.Restart();
  memory = deployment.Find("many");
  std::vector<std::thread> askers;
  for (PartitionId asker = 0; asker < 3; ++asker) {
    askers.emplace_back([&, asker] {
      PartitionSelection all;
      all.all = true;
      EXPECT_EQ(deployment.Count(memory, all), kMany);
      QueryCommand command = ExactQuery({static_cast<float>(asker * 4'000), 0}, 1, 1);
      command.partitions.all = true;
      const auto outcome = deployment.Query(memory, std::move(command));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      EXPECT_EQ(outcome->neighbours.ids, (std::vector<EntryId>{asker * 4'000}));
    });
  }
  for (std::thread& asker : askers) asker.join();
}

TEST_F(SleepingPartitionsTest, AnUnknownPartitionIsEmpty) {
  PutAll();
  Restart();
  EXPECT_TRUE(IdsIn(kPartitions + 1).empty());
  EXPECT_EQ(Statistics().partitions, kPartitions);
}

TEST_F(SleepingPartitionsTest, AWriteToASleepingPartitionGoesOnWhereItWas) {
  PutAll();
  Restart();
  Put(3, kEntries - 5, kEntries + 5);  // five of them again
  EXPECT_EQ(IdsIn(3), Range(0, kEntries + 5));
  EXPECT_EQ(Statistics().entries, kPartitions * kEntries + 5);
  ASSERT_TRUE(deployment_.DeleteIds(memory_, {0, 1}, 4).ok());
  EXPECT_EQ(IdsIn(4), Range(2, kEntries));
  Restart();
  EXPECT_EQ(IdsIn(3), Range(0, kEntries + 5));
  EXPECT_EQ(IdsIn(4), Range(2, kEntries));
}

TEST_F(SleepingPartitionsTest, ADroppedPartitionIsNotReadAndStaysGone) {
  PutAll();
  Restart();
  const auto one = Drop({.partitions = {5}});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->deleted, kEntries);
  EXPECT_EQ(Statistics().tail_ram_bytes, 0U);
  EXPECT_TRUE(IdsIn(5).empty());
  Put(5, 3, 6);
  EXPECT_EQ(IdsIn(5), Range(3, 6));
  PartitionSelection all;
  all.all = true;
  EXPECT_EQ(Drop(all)->deleted, (kPartitions - 1) * kEntries + 3);
  EXPECT_EQ(Statistics().entries, 0U);
  Restart();
  EXPECT_EQ(deployment_.Count(memory_, all), 0U);
}

TEST_F(SleepingPartitionsTest, ADroppedMemoryTakesSleepingPartitionsWithIt) {
  PutAll();
  Restart();
  ASSERT_TRUE(deployment_->DropMemory("many").ok());
  memory_ = nullptr;  // while it is held, what it holds may still be read
  EXPECT_TRUE(Within(std::chrono::seconds(20), [&] { return deployment_->Statistics().memories.entries == 0; }));
  memory_ = deployment_.Create(TokenMemory("many", 2));
  EXPECT_TRUE(IdsIn(1).empty());
}

TEST_F(SleepingPartitionsTest, ExpiredEntriesOfASleepingPartitionAreRemoved) {
  PutAll();
  Put(9, 100, 110, /*expiry_ms=*/1'000'500);
  Put(9, 110, 120, /*expiry_ms=*/9'000'000);
  Restart();
  deployment_.clock().Advance(60'000);
  EXPECT_TRUE(Within(std::chrono::seconds(20), [&] { return Statistics().expired == 10; }));
  EXPECT_EQ(Statistics().entries, kPartitions * kEntries + 10);
}

class ShortOfRamTest : public SleepingPartitionsTest {
 protected:
  // Room for about a sixth of what PutAll() writes.
  ShortOfRamTest() : SleepingPartitionsTest({.search_threads = 2, .ram_limit_bytes = 40'000}) {}
};

TEST_F(ShortOfRamTest, PartitionsThatAreNotInUseMakeRoom) {
  PutAll();
  EXPECT_TRUE(Within(std::chrono::seconds(20), [&] { return Statistics().tail_ram_bytes <= 20'000; }));
  for (PartitionId partition = 1; partition <= kPartitions; ++partition) {
    ASSERT_EQ(IdsIn(partition), Range(0, kEntries)) << partition;
  }
}

TEST_F(ShortOfRamTest, AQueryOfMoreThanThereIsRoomForIsAnsweredAndGivesTheRoomBack) {
  PutAll();
  PartitionSelection all;
  all.all = true;
  for (int i = 0; i < 20; ++i) ASSERT_EQ(deployment_.Count(memory_, all), kPartitions * kEntries) << i;
  EXPECT_TRUE(Within(std::chrono::seconds(20), [&] { return Statistics().tail_ram_bytes <= 20'000; }));
}

TEST_F(ShortOfRamTest, AnswersAreThoseOfATwinWhilePartitionsSleepAndWake) {
  SCOPED_TRACE(Seed());
  std::mt19937_64 random(Seed());
  std::map<PartitionId, std::set<EntryId>> twin;
  for (int step = 0; step < 1'500; ++step) {
    const PartitionId partition = 1 + random() % 60;
    std::set<EntryId>& ids = twin[partition];
    switch (random() % 8) {
      case 0: case 1: case 2: {
        const EntryId first = random() % 40;
        Put(partition, first, first + 10);
        for (const EntryId id : Range(first, first + 10)) ids.insert(id);
        break;
      }
      case 3: {
        const EntryId id = random() % 50;
        const auto outcome = deployment_.DeleteIds(memory_, {id}, partition);
        ASSERT_TRUE(outcome.ok()) << outcome.status();
        ASSERT_EQ(outcome->deleted, ids.erase(id));
        break;
      }
      case 4: {
        const auto outcome = Drop({.partitions = {partition}});
        ASSERT_TRUE(outcome.ok()) << outcome.status();
        ASSERT_EQ(outcome->deleted, ids.size());
        ids.clear();
        break;
      }
      case 5: {
        size_t entries = 0;
        for (const auto& [number, of_partition] : twin) entries += of_partition.size();
        PartitionSelection all;
        all.all = true;
        ASSERT_EQ(deployment_.Count(memory_, all), entries) << "step " << step;
        break;
      }
      default: ASSERT_EQ(IdsIn(partition), ids) << "partition " << partition << ", step " << step;
    }
    if (step % 250 == 249) Restart();
  }
  for (const auto& [partition, ids] : twin) ASSERT_EQ(IdsIn(partition), ids) << partition;
}

TEST_F(ShortOfRamTest, ReadersAndWritersWakeThemAtOnce) {
  PutAll();
  Restart();
  constexpr PartitionId kWritten = kPartitions / 5;
  std::atomic<PartitionId> written{0};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      std::mt19937_64 random(Seed() + static_cast<uint64_t>(reader));
      while (written < kWritten) {
        const PartitionId done = written;
        const PartitionId partition = 1 + random() % kWritten;
        const std::set<EntryId> ids = IdsIn(partition);
        // A batch is there whole or not at all, and what was acknowledged is there.
        const bool both = ids == Range(0, 2 * kEntries);
        ASSERT_TRUE(both || (partition > done && ids == Range(0, kEntries))) << partition;
      }
    });
  }
  for (PartitionId partition = 1; partition <= kWritten; ++partition) {
    Put(partition, kEntries, 2 * kEntries);
    written = partition;
  }
  for (std::thread& reader : readers) reader.join();
  PartitionSelection all;
  all.all = true;
  EXPECT_EQ(deployment_.Count(memory_, all), (kPartitions + kWritten) * kEntries);
}

}  // namespace
}  // namespace mneme
