// What a receipt says is so: the bytes of a key that was deleted are looked for in every file of the data directory.
#include "engine/erasure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "engine/backups.h"
#include "engine/receipts.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/erasure_fixture.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::BytesOfKey;
using testing::CanaryKey;
using testing::ColumnsOf;
using testing::Entries;
using testing::ErasureOptionsFor;
using testing::ExactQuery;
using testing::FilesWith;
using testing::kAfterMs;
using testing::kCanary;
using testing::kDimension;
using testing::kNeighbour;
using testing::NeighbourKey;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

class ErasureTest : public ::testing::Test {
 protected:
  explicit ErasureTest(DeploymentOptions options = ErasureOptionsFor()) : deployment_(1, std::move(options)) {
    memory_ = deployment_.Create(TokenMemory("wiki", kDimension));
  }

  void Insert(uint32_t count, PartitionId partition = 0) {
    const auto inserted = deployment_.Insert(memory_, ColumnsOf(memory_->spec, Entries(count)), partition);
    ASSERT_TRUE(inserted.ok()) << inserted.status();
  }
  Version Delete(DeleteCommand command) {
    const auto deleted = deployment_.Delete(memory_, std::move(command));
    EXPECT_TRUE(deleted.ok()) << deleted.status();
    return deleted.ok() ? deleted->version : Version();
  }
  Version DeleteId(EntryId id, PartitionId partition = 0) {
    DeleteCommand command;
    command.partitions.partitions = {partition};
    command.ids = {id};
    return Delete(std::move(command));
  }
  ReceiptStatus Ask(const Version& receipt) {
    const auto status = deployment_->Receipt(memory_, receipt, {});
    EXPECT_TRUE(status.ok()) << status.status();
    return status.value_or(ReceiptStatus());
  }
  // Waits for the background, for which no clock has to be moved any more.
  bool Reaches(const Version& receipt, ErasureState state) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (std::chrono::steady_clock::now() < end) {
      if (Ask(receipt).state >= state) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  std::vector<std::string> FilesWithKey(const std::vector<float>& key) const {
    return FilesWith(deployment_.path(""), BytesOfKey(key));
  }
  // That it was there, that its deletion leaves it there, and that erasing takes it.
  void ExpectErased(const Version& receipt) {
    EXPECT_EQ(Ask(receipt).state, ErasureState::kHidden);
    EXPECT_THAT(FilesWithKey(CanaryKey()), Not(IsEmpty())) << "else this test could not fail";
    deployment_.clock().Advance(kAfterMs);
    ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb)) << static_cast<int>(Ask(receipt).state);
    EXPECT_THAT(FilesWithKey(CanaryKey()), IsEmpty());
    EXPECT_THAT(FilesWithKey(NeighbourKey()), Not(IsEmpty())) << "what stays is there";
    const ReceiptStatus status = Ask(receipt);
    EXPECT_GE(status.indexed_at_ms, status.deleted_at_ms + kAfterMs);
    EXPECT_GE(status.erased_at_ms, status.indexed_at_ms);
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
};

TEST_F(ErasureTest, AnEntryOfASmallPartitionIsErasedFromRamAndLog) {
  Insert(20);
  const Version receipt = DeleteId(kCanary);
  ExpectErased(receipt);
  EXPECT_EQ(deployment_.Count(memory_), 21U);
  const auto found = deployment_.Query(memory_, ExactQuery(NeighbourKey(), 1, 1));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->neighbours.ids, ElementsAre(kNeighbour));
}

TEST_F(ErasureTest, AnEntryOfASealedPartitionIsErasedFromSegmentCodebookAndTables) {
  Insert(1000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  ASSERT_EQ(deployment_->Statistics(memory_)->segments, 1U);
  const std::string segments = deployment_.path("shard-000/index");
  EXPECT_THAT(FilesWith(segments, BytesOfKey(CanaryKey())), Not(IsEmpty())) << "it is in an index file";
  const Version receipt = DeleteId(kCanary);
  ExpectErased(receipt);
  EXPECT_EQ(deployment_.Count(memory_), 1001U);
  EXPECT_EQ(deployment_->Statistics(memory_)->segments, 1U);
  const auto found = deployment_.Query(memory_, ExactQuery(NeighbourKey(), 1, 1));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->neighbours.ids, ElementsAre(kNeighbour));
}

TEST_F(ErasureTest, AnEntryBehindASealedIndexIsErasedWithoutATraining) {
  Insert(1000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  const auto more = deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{9000, CanaryKey(1), 1, {}}}));
  ASSERT_TRUE(more.ok()) << more.status();
  const Version receipt = DeleteId(9000);
  EXPECT_THAT(FilesWithKey(CanaryKey(1)), Not(IsEmpty()));
  deployment_.clock().Advance(kAfterMs);
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  EXPECT_THAT(FilesWithKey(CanaryKey(1)), IsEmpty());
  EXPECT_THAT(FilesWithKey(CanaryKey()), Not(IsEmpty())) << "the other canary was not deleted";
  EXPECT_EQ(deployment_.Count(memory_), 1002U);
}

TEST_F(ErasureTest, WhatASourceALabelAndAPartitionHadIsErased) {
  Insert(600);
  Insert(5, /*partition=*/3);
  DeleteCommand by_source;
  by_source.filter.emplace();
  by_source.filter->sources = {9};
  const Version first = Delete(std::move(by_source));
  EXPECT_EQ(Ask(first).deleted, 1U);
  EXPECT_THAT(Ask(first).partitions.partitions, ElementsAre(0));
  DeleteCommand whole;
  whole.partitions.partitions = {3};
  whole.everything = true;
  const Version second = Delete(std::move(whole));
  EXPECT_EQ(Ask(second).deleted, 7U);
  EXPECT_THAT(Ask(second).partitions.partitions, ElementsAre(3));
  ExpectErased(second);
  EXPECT_EQ(Ask(first).state, ErasureState::kRocksDb) << "one run is for all that waited";
  EXPECT_EQ(deployment_.Count(memory_, {.partitions = {}, .all = true}), 601U);
}

TEST_F(ErasureTest, DeletionsWaitForEachOtherUntilTheirTimeAndCounts) {
  Insert(20);
  const Version nothing = DeleteId(999'999);
  EXPECT_EQ(Ask(nothing).deleted, 0U) << "a deletion that found nothing has a receipt, too";
  const Version receipt = DeleteId(kCanary);
  deployment_.clock().Advance(kAfterMs - 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // a few looks of the background
  EXPECT_EQ(Ask(receipt).state, ErasureState::kHidden);
  EXPECT_EQ(deployment_->Statistics().unerased_deletions, 2U);
  EXPECT_EQ(deployment_->Statistics().unerased_ms, kAfterMs - 1);
  EXPECT_EQ(deployment_->Statistics().erasures, 0U);
  deployment_.clock().Advance(1);
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  EXPECT_EQ(Ask(nothing).state, ErasureState::kRocksDb);
  const auto page = deployment_->ListReceipts(memory_, std::nullopt, 1, {});
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->items.size(), 1U);
  ASSERT_TRUE(page->next.has_value());
  const auto rest = deployment_->ListReceipts(memory_, page->next, 10, {});
  ASSERT_TRUE(rest.ok()) << rest.status();
  ASSERT_EQ(rest->items.size(), 1U);
  EXPECT_EQ(rest->items[0].receipt.parts[0].sequence, receipt.parts[0].sequence);
  EXPECT_FALSE(rest->next.has_value());
}

class SoonErasedTest : public ErasureTest {
 protected:
  SoonErasedTest() : ErasureTest(ErasureOptionsFor(/*after_ms=*/1'000)) {}
};

TEST_F(SoonErasedTest, AClockThatIsSetBackHoldsNoDeletionUp) {
  Insert(20);
  const Version receipt = DeleteId(kCanary);
  deployment_.clock().Advance(-3'600'000);
  EXPECT_TRUE(Reaches(receipt, ErasureState::kRocksDb)) << "after a second of a steady clock";
  EXPECT_THAT(FilesWithKey(CanaryKey()), IsEmpty());
}

TEST_F(ErasureTest, ALeaseFromBeforeHoldsTheIndexState) {
  Insert(20);
  const auto lease = deployment_->AcquireLease(memory_, {}, 10 * kAfterMs);
  ASSERT_TRUE(lease.ok()) << lease.status();
  const Version receipt = DeleteId(kCanary);
  deployment_.clock().Advance(kAfterMs);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(Ask(receipt).state, ErasureState::kHidden) << "a read of the lease finds it";
  ASSERT_TRUE(deployment_->leases().Release(lease->id).ok());
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  EXPECT_THAT(FilesWithKey(CanaryKey()), IsEmpty());
}

TEST_F(ErasureTest, AReaderFromBeforeHoldsTheIndexStateThoughItsSegmentWasReplaced) {
  Insert(1000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  std::promise<void> begun;
  std::promise<void> may_end;
  std::thread reader([&] {
    bool first = true;
    const auto read = deployment_->Visit(memory_, {}, [&](PartitionId, const EntryView&) {
      if (std::exchange(first, false)) {
        begun.set_value();
        may_end.get_future().wait();
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(read.ok()) << read.status();
  });
  begun.get_future().wait();
  const Version receipt = DeleteId(kCanary);
  EXPECT_TRUE(deployment_.Build(memory_, /*retrain=*/true).ok());
  const std::string index = deployment_.path("shard-000/index");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!FilesWith(index, BytesOfKey(CanaryKey())).empty() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_THAT(FilesWith(index, BytesOfKey(CanaryKey())), IsEmpty()) << "what was replaced goes with the next sync";
  deployment_.clock().Advance(kAfterMs);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(Ask(receipt).state, ErasureState::kHidden) << "the reader finds it";
  may_end.set_value();
  reader.join();
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  EXPECT_THAT(FilesWithKey(CanaryKey()), IsEmpty());
}

TEST_F(ErasureTest, ALeaseOfAnotherMemoryHoldsNothing) {
  Insert(20);
  const MemoryHandle other = deployment_.Create(TokenMemory("other", kDimension));
  ASSERT_TRUE(deployment_.Insert(other, ColumnsOf(other->spec, Entries(20))).ok());
  const auto lease = deployment_->AcquireLease(other, {}, 10 * kAfterMs);
  ASSERT_TRUE(lease.ok()) << lease.status();
  const Version receipt = DeleteId(kCanary);
  deployment_.clock().Advance(kAfterMs);
  EXPECT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
}

// The background seals nothing here: when it is late it would seal what comes after a build as well.
class SealedByHandTest : public ErasureTest {
 protected:
  SealedByHandTest() : ErasureTest(Options()) {}

 private:
  static DeploymentOptions Options() {
    DeploymentOptions options = ErasureOptionsFor();
    options.thresholds.seal_rows = 5'000;
    return options;
  }
};

TEST_F(SealedByHandTest, TheCodebookGoesWhenNothingIsLeftOfWhatWasSealed) {
  Insert(1200);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  std::vector<PlainEntry> more;
  for (EntryId id = 9000; id < 9005; ++id) more.push_back({id, NeighbourKey(), 1, {.source = 2}});
  ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, more)).ok());
  DeleteCommand all_sealed;
  all_sealed.filter.emplace();
  all_sealed.filter->sources = {1, 9};
  const Version receipt = Delete(std::move(all_sealed));
  EXPECT_EQ(Ask(receipt).deleted, 1202U);
  // So many deaths have the background give the segment up; its codebook stays.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (deployment_->Statistics(memory_)->segments != 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_EQ(deployment_->Statistics(memory_)->segments, 0U);
  deployment_.clock().Advance(kAfterMs);
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  EXPECT_THAT(FilesWithKey(CanaryKey()), IsEmpty());
  EXPECT_EQ(deployment_.Count(memory_), 5U);
}

TEST_F(ErasureTest, AnIndexFileThatWasLeftGoesBeforeTheStateIsTold) {
  Insert(20);
  WriteBytes(deployment_.path("shard-000/index/00000000000fffff.segment"), BytesOfKey(CanaryKey()));
  ExpectErased(DeleteId(kCanary));
}

TEST_F(ErasureTest, AReceiptIsTextThatAnotherMemoryDoesNotTake) {
  Insert(20);
  const Version receipt = DeleteId(kCanary);
  const std::string text = deployment_->EncodeReceipt(receipt);
  const auto read = deployment_->DecodeReceipt(memory_, text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->parts[0].sequence, receipt.parts[0].sequence);
  const MemoryHandle other = deployment_.Create(TokenMemory("other", kDimension));
  EXPECT_EQ(ReasonOf(deployment_->DecodeReceipt(other, text).status()), "FOREIGN_VERSION");
  for (const std::string& wrong : {std::string(), std::string("!"), text.substr(1), text + "AAAA"}) {
    EXPECT_FALSE(deployment_->DecodeReceipt(memory_, wrong).ok()) << wrong;
  }
  Version unknown = receipt;
  ++unknown.parts[0].sequence;
  EXPECT_EQ(ReasonOf(deployment_->Receipt(memory_, unknown, {}).status()), "RECEIPT_NOT_FOUND");
}

// A base, so that it is made before the deployment is.
struct BackupDirectory {
  TemporaryDirectory directory;
};

class ErasedBackupsTest : protected BackupDirectory, public ErasureTest {
 protected:
  ErasedBackupsTest() : ErasureTest(ErasureOptionsFor(kAfterMs, BackupDirectory::directory / "backups")) {}
  absl::StatusOr<BackupOutcome> Back(uint32_t keep) {
    return deployment_->backups()->Create(keep, [](const BackupProgress&) { return true; });
  }
};

TEST_F(ErasedBackupsTest, BackupsFromBeforeAreNamedUntilTheyAreRemoved) {
  Insert(600);
  ASSERT_TRUE(Back(0).ok());
  const Version receipt = DeleteId(kCanary);
  ASSERT_TRUE(Back(0).ok()) << "made after the deletion, and before its bytes were erased";
  deployment_.clock().Advance(kAfterMs);
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  ReceiptStatus status = Ask(receipt);
  EXPECT_EQ(status.state, ErasureState::kRocksDb);
  EXPECT_TRUE(status.backups_known);
  ASSERT_EQ(status.backups.size(), 2U);
  EXPECT_EQ(status.backups[0].number, 1U);
  EXPECT_EQ(status.backups[1].number, 2U);
  ASSERT_TRUE(Back(2).ok());
  status = Ask(receipt);
  ASSERT_EQ(status.backups.size(), 1U);
  EXPECT_EQ(status.backups[0].number, 2U);
  ASSERT_TRUE(Back(1).ok());
  EXPECT_EQ(Ask(receipt).state, ErasureState::kSnapshots);
}

TEST_F(ErasedBackupsTest, BackupsOfTheDeploymentThatThisOneWasRestoredFromCount) {
  TestDeployment other(1, ErasureOptionsFor(kAfterMs, BackupDirectory::directory / "backups"));
  ASSERT_TRUE(other->backups()->Create(0, [](const BackupProgress&) { return true; }).ok());
  Insert(20);
  const Version receipt = DeleteId(kCanary);
  deployment_.clock().Advance(kAfterMs);
  ASSERT_TRUE(Reaches(receipt, ErasureState::kRocksDb));
  const ReceiptStatus status = Ask(receipt);
  EXPECT_EQ(status.state, ErasureState::kRocksDb) << "who knows what the other one has";
  ASSERT_EQ(status.backups.size(), 1U);
  EXPECT_EQ(status.backups[0].number, 1U);
}

TEST_F(ErasedBackupsTest, WhatABackupWasMadeOfHoldsTheStateWhileItIsLeft) {
  Insert(20);
  std::filesystem::create_directories(deployment_.path("checkpoint"));
  const Version receipt = DeleteId(kCanary);
  deployment_.clock().Advance(kAfterMs);
  ASSERT_TRUE(Reaches(receipt, ErasureState::kIndex));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(Ask(receipt).state, ErasureState::kIndex) << "it may have links to tables that have the key";
  std::filesystem::remove_all(deployment_.path("checkpoint"));
  EXPECT_TRUE(Reaches(receipt, ErasureState::kSnapshots));
}

TEST(RowSpansTest, RangesThatLieNearAreOne) {
  RowSpans spans;
  spans.Add(10, 20);
  EXPECT_TRUE(spans.Contains(10));
  EXPECT_TRUE(spans.Contains(19));
  EXPECT_FALSE(spans.Contains(20));
  EXPECT_FALSE(spans.Contains(9));
  EXPECT_TRUE(spans.HasAnyOf(0, 11));
  EXPECT_TRUE(spans.HasAnyOf(19, 30));
  EXPECT_TRUE(spans.HasAnyOf(0, 100));
  EXPECT_FALSE(spans.HasAnyOf(0, 10));
  EXPECT_FALSE(spans.HasAnyOf(20, 30));
  spans.Add(1'000'000, 1'000'001);
  EXPECT_EQ(spans.spans().size(), 2U);
  spans.Add(20 + RowSpans::kNear, 21 + RowSpans::kNear);
  EXPECT_EQ(spans.spans().size(), 2U) << "as near as may be to the first";
  EXPECT_TRUE(spans.Contains(30));
  spans.Add(0, 2'000'000);
  EXPECT_EQ(spans.spans().size(), 1U);
  EXPECT_FALSE(spans.Contains(2'000'000));
}

}  // namespace
}  // namespace mneme
