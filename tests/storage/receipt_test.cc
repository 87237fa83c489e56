// Receipts of deletions and runs of erasure: their bytes (the examples are those of docs/formats.md), what a store
// keeps of them, and that what Erase() took is in no file.
#include "storage/receipt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "storage/format.h"
#include "storage/memory_entry_store.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/fault_file_system.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Bytes(const std::string& hex) { return absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}})); }

const DeletionReceipt kReceipt{258, 7, 300, 1000, false, {{0, 5, 1000}, {3, 0, 1}}};
const DeletionReceipt kOfMany{259, 7, 1, -1, true, {}};
const ErasureRun kRun{258, 1000, 1001, 1002, 3};

TEST(ReceiptFormatTest, GoldenBytes) {
  EXPECT_EQ(format::SequenceKey(format::kReceiptPrefix, 258), Bytes("64 00 00 00 00 00 00 01 02"));
  EXPECT_EQ(format::EncodeReceipt(kReceipt), Bytes("01 07 ac 02 d0 0f 00 02 00 05 e8 07 03 00 01"));
  EXPECT_EQ(format::EncodeReceipt(kOfMany), Bytes("01 07 01 01 01 00"));
  EXPECT_EQ(format::SequenceKey(format::kErasurePrefix, 258), Bytes("65 00 00 00 00 00 00 01 02"));
  EXPECT_EQ(format::EncodeErasure(kRun), Bytes("01 d0 0f d2 0f d4 0f 03"));
}

TEST(ReceiptFormatTest, NothingButWhatIsWrittenIsRead) {
  EXPECT_EQ(format::DecodeReceipt(258, format::EncodeReceipt(kReceipt)).value(), kReceipt);
  EXPECT_EQ(format::DecodeReceipt(259, format::EncodeReceipt(kOfMany)).value(), kOfMany);
  EXPECT_EQ(format::DecodeErasure(258, format::EncodeErasure(kRun)).value(), kRun);
  EXPECT_EQ(format::ParseSequenceKey("d", format::SequenceKey("d", 258)).value(), 258U);
  const auto damaged = [](const absl::Status& status) { return status.code() == absl::StatusCode::kDataLoss; };
  const auto refuse_all_others = [&](const std::string& record, const auto& decode) {
    for (size_t length = 0; length < record.size(); ++length) {
      EXPECT_TRUE(damaged(decode(record.substr(0, length)).status())) << length;
    }
    EXPECT_TRUE(damaged(decode(record + std::string(1, '\0')).status()));
    std::string newer = record;
    newer[0] = 2;
    EXPECT_TRUE(damaged(decode(newer).status()));
  };
  const auto receipt = [](const std::string& record) { return format::DecodeReceipt(258, record); };
  const auto run = [](const std::string& record) { return format::DecodeErasure(258, record); };
  refuse_all_others(format::EncodeReceipt(kReceipt), receipt);
  refuse_all_others(format::EncodeErasure(kRun), run);
  for (const char* const wrong : {
           "01 07 ac 02 d0 0f 02 00",                    // neither few partitions nor many
           "01 07 ac 02 d0 0f 01 01 00 05 06",           // many, and named
           "01 07 ac 02 d0 0f 00 01 00 05 05",           // no row
           "01 07 ac 02 d0 0f 00 02 03 00 01 03 05 06",  // one twice
           "01 80 80 80 80 10 01 00 00 00",              // a memory beyond 32 bits
       }) {
    EXPECT_TRUE(damaged(receipt(Bytes(wrong)).status())) << wrong;
  }
  EXPECT_TRUE(damaged(run(Bytes("01 d0 0f d2 0f 00 03")).status())) << "not finished, and a backup";
  EXPECT_TRUE(damaged(run(Bytes("01 d0 0f 00 d4 0f 03")).status())) << "out of the store before the index";
  EXPECT_TRUE(damaged(format::ParseSequenceKey("d", format::SequenceKey("e", 258)).status()));
}

enum class Kind { kMemory, kRocksDb };

class ReceiptStoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    if (GetParam() == Kind::kMemory) {
      if (store_ == nullptr) store_ = NewMemoryEntryStore();
      return;
    }
    store_.reset();
    auto opened = OpenRocksDbEntryStore({.path = directory_ / "db", .resources = &resources_, .file_system = nullptr});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }
  void Keep(std::vector<DeletionReceipt> receipts) {
    StoreBatch batch;
    batch.sequence = receipts.back().sequence;
    batch.receipts = std::move(receipts);
    ASSERT_TRUE(store_->Commit(batch).ok());
  }

  TemporaryDirectory directory_;
  StoreResources resources_{8 << 20, 8 << 20};
  std::unique_ptr<EntryStore> store_;
};

TEST_P(ReceiptStoreTest, KeepsThemByTheirSequencesAndForgetsTheOldest) {
  Keep({kReceipt});
  Keep({kOfMany});
  DeletionReceipt again = kOfMany;
  again.deleted = 2;
  Keep({again});
  Reopen();
  EXPECT_THAT(store_->ReadReceipts(0, 10).value(), ElementsAre(kReceipt, again));
  EXPECT_THAT(store_->ReadReceipts(0, 1).value(), ElementsAre(kReceipt));
  EXPECT_THAT(store_->ReadReceipts(259, 1).value(), ElementsAre(again));
  EXPECT_THAT(store_->ReadReceipts(260, 1).value(), IsEmpty());
  EXPECT_THAT(store_->ReadErasures(0, 10).value(), IsEmpty());
  ErasureRun run{258, 1000};
  ASSERT_TRUE(store_->NoteErasure(run, 0).ok());
  run = kRun;
  ASSERT_TRUE(store_->NoteErasure(run, 0).ok());
  const ErasureRun next{259, 2000};
  ASSERT_TRUE(store_->NoteErasure(next, 0).ok());
  Reopen();
  EXPECT_THAT(store_->ReadErasures(0, 10).value(), ElementsAre(kRun, next));
  EXPECT_THAT(store_->ReadErasures(259, 1).value(), ElementsAre(next));
  ASSERT_TRUE(store_->NoteErasure(next, 259).ok());
  Reopen();
  EXPECT_THAT(store_->ReadReceipts(0, 10).value(), ElementsAre(again));
  EXPECT_THAT(store_->ReadErasures(0, 10).value(), ElementsAre(next));
  EXPECT_EQ(store_->CountRequests().value(), 0U) << "they lie beside the requests, and are none";
  EXPECT_THAT(store_->OldestRequests(10).value(), IsEmpty());
}

TEST(ReceiptPowerLossTest, WhatWasNotedOfARunIsThereWhenThePowerWasLost) {
  TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "attic");
  const auto system = std::make_shared<PowerLossFileSystem>(directory / "attic");
  StoreResources resources(8 << 20, 8 << 20);
  std::mt19937_64 random(1);
  bool was_cut = false;
  {
    auto store = OpenRocksDbEntryStore({.path = directory / "db", .resources = &resources, .file_system = system});
    ASSERT_TRUE(store.ok()) << store.status();
    StoreBatch batch;
    batch.sequence = kReceipt.sequence;
    batch.receipts = {kReceipt};
    ASSERT_TRUE((*store)->Commit(batch).ok());
    ASSERT_TRUE((*store)->NoteErasure(kRun, 0).ok());
    system->CutAfter(1, [&] {
      was_cut = true;
      system->Image(directory / "db", directory / "image", PowerLossFileSystem::Survival::kNone, random);
      WriteBytes(directory / "image/WATERMARK", ReadBytes(directory / "db/WATERMARK"));
    });
    batch.sequence = kReceipt.sequence + 1;
    batch.receipts = {kOfMany};
    ASSERT_TRUE((*store)->Commit(batch).ok());
  }
  ASSERT_TRUE(was_cut);
  StoreResources fresh(8 << 20, 8 << 20);
  const auto left = OpenRocksDbEntryStore({.path = directory / "image", .resources = &fresh, .file_system = nullptr});
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_THAT((*left)->ReadReceipts(0, 10).value(), ElementsAre(kReceipt));
  EXPECT_THAT((*left)->ReadErasures(0, 10).value(), ElementsAre(kRun));
}

INSTANTIATE_TEST_SUITE_P(Kinds, ReceiptStoreTest, ::testing::Values(Kind::kMemory, Kind::kRocksDb),
                         [](const auto& kind) { return kind.param == Kind::kMemory ? "Memory" : "RocksDb"; });

class EraseTest : public ::testing::Test {
 protected:
  EraseTest() { Open(); }
  void Open() {
    store_.reset();
    auto opened = OpenRocksDbEntryStore({.path = directory_ / "db", .resources = &resources_, .file_system = nullptr});
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (opened.ok()) store_ = *std::move(opened);
  }
  static std::string KeyOf(const PartitionKey& key, Row row) {
    return "key-of-" + std::to_string(key.partition) + "-" + std::to_string(row) + ";";
  }
  void Insert(const PartitionKey& key, Row first, Row end) {
    EntryColumns columns;
    for (Row row = first; row < end; ++row) {
      std::string stored = KeyOf(key, row);
      stored.resize(24, '.');  // all keys of a memory have one length
      columns.Append({row, stored, "value", {}});
    }
    StoreBatch batch;
    batch.sequence = store_->applied() + 1;
    batch.runs = {{key, first, &columns, 0, columns.count, true}};
    batch.heads = {{key, end, end}};
    ASSERT_TRUE(store_->Commit(batch).ok());
  }
  void Kill(const PartitionKey& key, Row row) {
    StoreBatch batch;
    batch.sequence = store_->applied() + 1;
    batch.deaths = {{key, row, row, true}};
    ASSERT_TRUE(store_->Commit(batch).ok());
  }
  bool IsInAFile(const std::string& bytes) const {
    for (const auto& file : std::filesystem::directory_iterator(directory_ / "db")) {
      if (ReadBytes(file.path()).find(bytes) != std::string::npos) return true;
    }
    return false;
  }
  bool BecomesGone() const {
    for (int i = 0; i < 500; ++i) {
      if (store_->OldFilesAreGone().value()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

  TemporaryDirectory directory_;
  StoreResources resources_{8 << 20, 64 << 20};
  std::unique_ptr<EntryStore> store_;
  std::atomic<bool> cancelled_{false};
};

TEST_F(EraseTest, WhatWasDeletedIsInNoFileWhereverItWas) {
  const PartitionKey low{7, 0};
  const PartitionKey high{7, 9};
  Insert(low, 0, 1000);
  Insert(high, 0, 10);
  ASSERT_TRUE(store_->Compact().ok());  // in the last level
  Insert(low, 1000, 1100);
  ASSERT_TRUE(store_->Flush().ok());  // in the first
  Insert(low, 1100, 1110);            // in the log
  for (const Row row : {Row{5}, Row{1050}, Row{1105}}) Kill(low, row);
  Kill(high, 3);
  for (const Row row : {Row{5}, Row{1050}, Row{1105}}) EXPECT_TRUE(IsInAFile(KeyOf(low, row))) << row;
  EXPECT_TRUE(IsInAFile(KeyOf(high, 3)));
  DeletionReceipt receipt;
  receipt.memory = 7;
  receipt.rows = {{0, 5, 6}, {0, 1050, 1106}, {9, 3, 4}};
  ASSERT_TRUE(store_->Erase({receipt}, cancelled_).ok());
  ASSERT_TRUE(BecomesGone());
  for (const Row row : {Row{5}, Row{1050}, Row{1105}}) EXPECT_FALSE(IsInAFile(KeyOf(low, row))) << row;
  EXPECT_FALSE(IsInAFile(KeyOf(high, 3)));
  for (const Row row : {Row{4}, Row{1051}, Row{1109}}) EXPECT_TRUE(IsInAFile(KeyOf(low, row))) << row;
  EntryColumns read;
  EXPECT_TRUE(store_->ReadRow(low, 1109, read).value());
  EXPECT_FALSE(store_->ReadRow(low, 5, read).value());
}

TEST_F(EraseTest, AWholePartitionAndAllOfAMemory) {
  const PartitionKey one{7, 1};
  const PartitionKey two{7, 2};
  Insert(one, 0, 10);
  Insert(two, 0, 10);
  ASSERT_TRUE(store_->Compact().ok());
  StoreBatch drop;
  drop.sequence = store_->applied() + 1;
  drop.dropped_partitions = {one};
  ASSERT_TRUE(store_->Commit(drop).ok());
  EXPECT_TRUE(IsInAFile(KeyOf(one, 5)));
  DeletionReceipt receipt;
  receipt.memory = 7;
  receipt.rows = {{1, 0, 10}};
  ASSERT_TRUE(store_->Erase({receipt}, cancelled_).ok());
  ASSERT_TRUE(BecomesGone());
  EXPECT_FALSE(IsInAFile(KeyOf(one, 5)));
  EXPECT_TRUE(IsInAFile(KeyOf(two, 5)));
  Kill(two, 5);
  receipt.rows.clear();
  receipt.many_partitions = true;
  ASSERT_TRUE(store_->Erase({receipt}, cancelled_).ok());
  ASSERT_TRUE(BecomesGone());
  EXPECT_FALSE(IsInAFile(KeyOf(two, 5)));
  EXPECT_TRUE(IsInAFile(KeyOf(two, 6)));
}

// RocksDB keeps the empty log of each start for as long as nothing is written.
TEST_F(EraseTest, ItIsDoneAfterStartsThatWroteNothing) {
  const PartitionKey key{7, 0};
  Insert(key, 0, 10);
  Kill(key, 5);
  ASSERT_TRUE(store_->Flush().ok());
  for (int i = 0; i < 3; ++i) Open();
  DeletionReceipt receipt;
  receipt.memory = 7;
  receipt.rows = {{0, 5, 6}};
  ASSERT_TRUE(store_->Erase({receipt}, cancelled_).ok());
  ASSERT_TRUE(BecomesGone());
  EXPECT_FALSE(IsInAFile(KeyOf(key, 5)));
}

TEST_F(EraseTest, ACancelledOneSaysSo) {
  Insert({7, 0}, 0, 10);
  Kill({7, 0}, 5);
  cancelled_ = true;
  DeletionReceipt receipt;
  receipt.memory = 7;
  receipt.rows = {{0, 5, 6}};
  EXPECT_EQ(store_->Erase({receipt}, cancelled_).code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace mneme
