// What a store promises about failures: the watermark refuses lost writes, and after a failed write or sync it takes no
// more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/format.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/fault_file_system.h"
#include "tests/storage/store_model.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class DurabilityTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<EntryStore>> Open(std::shared_ptr<rocksdb::FileSystem> system = nullptr,
                                                   bool accept_truncated_log = false) {
    return OpenRocksDbEntryStore({path_, &resources_, std::move(system), accept_truncated_log});
  }
  // Writes batches up to `last` and acknowledges them.
  void Fill(Sequence last) {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    for (Sequence s = (*store)->applied() + 1; s <= last; ++s) {
      ASSERT_TRUE((*store)->Commit({.sequence = s}).ok());
    }
    ASSERT_EQ((*store)->Sync().value(), last);
  }
  std::string MarkPath() const { return path_ + "/WATERMARK"; }
  void SetMark(size_t slot, const std::string& bytes) {
    std::string file = ReadBytes(MarkPath());
    file.replace(slot * format::kWatermarkSlotStride, bytes.size(), bytes);
    WriteBytes(MarkPath(), file);
  }
  void ExpectRefused(const std::string& text) {
    const auto store = Open();
    EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
    EXPECT_THAT(std::string(store.status().message()), HasSubstr(text));
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "db";
  StoreResources resources_{4 << 20, 64 << 20};
};

TEST_F(DurabilityTest, OpensAgainAndAgainAfterACleanEnd) {
  for (Sequence last = 3; last < 30; last += 3) Fill(last);
  EXPECT_EQ(Open().value()->applied(), 27U);
}

TEST_F(DurabilityTest, ACleanEndSyncsWhatWasOnlyWritten) {
  Fill(2);
  {
    const auto store = Open().value();
    ASSERT_TRUE(store->Commit({.sequence = 3}).ok());
  }
  std::string file = ReadBytes(MarkPath());
  const auto slot = [&](size_t i) {
    return format::DecodeWatermarkSlot(
        std::string_view(file).substr(i * format::kWatermarkSlotStride, format::kWatermarkSlotBytes));
  };
  EXPECT_EQ(std::max(slot(0), slot(1)), 3U);
}

TEST_F(DurabilityTest, RefusesALogThatEndsBeforeTheWatermark) {
  Fill(5);
  SetMark(0, format::EncodeWatermarkSlot(6));
  ExpectRefused("the log ends at sequence 5, but writes up to 6 were acknowledged as durable");
  // Being asked again changes nothing.
  ExpectRefused("the log ends at sequence 5");
}

TEST_F(DurabilityTest, OpensATruncatedLogWhenToldTo) {
  Fill(5);
  SetMark(0, format::EncodeWatermarkSlot(6));
  EXPECT_EQ(Open(nullptr, true).value()->applied(), 5U);
  EXPECT_EQ(Open().value()->applied(), 5U);
}

TEST_F(DurabilityTest, OneDamagedSlotIsNoLoss) {
  for (const size_t slot : {0, 1}) {
    Fill(5 + slot);
    SetMark(slot, std::string(format::kWatermarkSlotBytes, 'x'));
    EXPECT_EQ(Open().value()->applied(), 5 + slot);
  }
}

TEST_F(DurabilityTest, TwoDamagedSlotsAreRefused) {
  Fill(5);
  SetMark(0, "x");
  SetMark(1, "x");
  ExpectRefused("neither of its slots is whole");
  EXPECT_EQ(Open(nullptr, true).value()->applied(), 5U);
  EXPECT_EQ(Open().value()->applied(), 5U);
}

TEST_F(DurabilityTest, AMissingWatermarkIsRefusedOnceThereAreWrites) {
  Fill(0);
  fs::remove(MarkPath());
  Fill(5);  // an empty store gets a new one: nothing can be lost
  fs::remove(MarkPath());
  ExpectRefused("is missing");
  EXPECT_EQ(Open(nullptr, true).value()->applied(), 5U);
  EXPECT_TRUE(fs::exists(MarkPath()));
}

TEST_F(DurabilityTest, AWatermarkWithoutADatabaseIsRefusedAndNothingIsCreated) {
  Fill(5);
  for (const auto& file : fs::directory_iterator(path_)) {
    if (file.path() != MarkPath()) fs::remove_all(file.path());
  }
  ExpectRefused("holds no database");
  EXPECT_FALSE(fs::exists(path_ + "/CURRENT"));
}

TEST_F(DurabilityTest, RefusesAFamilyThatANewerProgramMade) {
  Fill(1);
  rocksdb::DB* db = nullptr;
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path_, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  families.emplace_back("dreams", rocksdb::ColumnFamilyOptions());
  rocksdb::DBOptions options;
  options.create_missing_column_families = true;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  ASSERT_TRUE(rocksdb::DB::Open(options, path_, families, &handles, &db).ok());
  for (rocksdb::ColumnFamilyHandle* handle : handles) ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
  delete db;
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("dreams"));
}

TEST_F(DurabilityTest, AfterAFailedSyncNothingIsAcknowledgedUntilOpenedAgain) {
  std::atomic<bool> fail{false};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
    const bool hit = operation == FileOperation::kSync && absl::EndsWith(path, ".log") && fail.exchange(false);
    return hit ? rocksdb::IOStatus::IOError("injected") : rocksdb::IOStatus::OK();
  });
  {
    const auto store = Open(system).value();
    ASSERT_TRUE(store->Commit({.sequence = 1}).ok());
    ASSERT_TRUE(store->Sync().ok());
    ASSERT_TRUE(store->Commit({.sequence = 2}).ok());
    fail = true;
    const absl::Status failed = store->Sync().status();
    EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("injected"));
    // The fault is gone, and yet: the kernel may have dropped the pages.
    EXPECT_EQ(store->Sync().status(), failed);
    EXPECT_EQ(store->Commit({.sequence = 3}), failed);
    EXPECT_EQ(store->applied(), 2U);
    EXPECT_TRUE(store->ReadHeads().ok());
  }
  const auto store = Open().value();
  EXPECT_GE(store->applied(), 1U);
  EXPECT_TRUE(store->Commit({.sequence = 3}).ok());
  EXPECT_TRUE(store->Sync().ok());
}

TEST_F(DurabilityTest, ASyncThatStallsHoldsUpNeitherReadsNorWhatIsOnlyWritten) {
  std::atomic<bool> stalls{false};
  std::atomic<bool> waits{false};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
    if (operation == FileOperation::kSync && absl::EndsWith(path, ".log")) {
      while (stalls) {
        waits = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    return rocksdb::IOStatus::OK();
  });
  {
    const auto store = Open(system).value();
    ASSERT_TRUE(store->Commit({.sequence = 1}).ok());
    ASSERT_EQ(store->Sync().value(), 1U);
    ASSERT_TRUE(store->Commit({.sequence = 2}).ok());
    stalls = true;
    auto synced = std::async(std::launch::async, [&] { return store->Sync(); });
    auto meanwhile = std::async(std::launch::async, [&] {
      while (!waits) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_TRUE(store->ReadHeads().ok());
      EXPECT_TRUE(store->Commit({.sequence = 3}).ok());
      EXPECT_EQ(store->applied(), 3U);
    });
    const auto went_on = meanwhile.wait_for(std::chrono::seconds(60));
    EXPECT_EQ(synced.wait_for(std::chrono::seconds(0)), std::future_status::timeout) << "nothing is durable yet";
    stalls = false;
    EXPECT_EQ(went_on, std::future_status::ready);
    EXPECT_EQ(synced.get().value(), 2U) << "what came while it stalled is not claimed";
    meanwhile.get();
    EXPECT_EQ(store->Sync().value(), 3U);
  }
  EXPECT_EQ(Open().value()->applied(), 3U);
}

TEST_F(DurabilityTest, AFullDiskIsSaidAndLosesNothingAcknowledged) {
  std::atomic<bool> full{false};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string&) {
    return operation == FileOperation::kAppend && full ? rocksdb::IOStatus::NoSpace("injected")
                                                       : rocksdb::IOStatus::OK();
  });
  {
    const auto store = Open(system).value();
    ASSERT_TRUE(store->Commit({.sequence = 1}).ok());
    ASSERT_TRUE(store->Sync().ok());
    full = true;
    const absl::Status failed = store->Commit({.sequence = 2});
    EXPECT_EQ(failed.code(), absl::StatusCode::kResourceExhausted) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("the disk is full"));
    full = false;
    EXPECT_EQ(store->Commit({.sequence = 2}), failed);
    EXPECT_EQ(store->Sync().status(), failed);
  }
  EXPECT_EQ(Open().value()->applied(), 1U);
}

// Takes the column family `name`, if there is one, out of a closed store; with `state` the store becomes one of format
// `version` before.
void TakeFamily(const std::string& path, const std::string& name, const std::optional<format::StoreState>& state,
                uint32_t version = 1) {
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& each : names) families.emplace_back(each, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  rocksdb::DBOptions options;
  options.avoid_flush_during_recovery = true;
  ASSERT_TRUE(rocksdb::DB::Open(options, path, families, &handles, &opened).ok());
  const std::unique_ptr<rocksdb::DB> raw(opened);
  if (state.has_value()) {
    rocksdb::WriteBatch other;
    ASSERT_TRUE(other.Put(format::kFormatKey, format::EncodeStoreFormat(version)).ok());
    ASSERT_TRUE(other.Put(format::kStateKey, format::EncodeState(*state)).ok());
    ASSERT_TRUE(raw->Write({}, &other).ok());
  }
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) {
      ASSERT_TRUE(raw->DropColumnFamily(handles[i]).ok());
    }
    ASSERT_TRUE(raw->DestroyColumnFamilyHandle(handles[i]).ok());
  }
}

TEST_F(DurabilityTest, RefusesAStoreFormatThatANewerProgramMade) {
  constexpr uint32_t kNewest = format::kReshardedStoreFormat;
  Fill(1);
  TakeFamily(path_, "", format::StoreState{.applied = 1, .writes = 3}, kNewest + 1);
  for (int i = 0; i < 2; ++i) {
    const auto refused = Open();
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
    const std::string told =
        absl::StrCat("has store format ", kNewest + 1, "; this program reads formats 1 to ", kNewest);
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(told));
  }
}

TEST_F(DurabilityTest, OpensAStoreThatWasWrittenBeforeIdsHadRuns) {
  EntryColumns columns;
  for (EntryId id = 0; id < 20; ++id) columns.Append({id, "key!", "value", {}});
  fs::remove_all(path_);
  ASSERT_TRUE(Open().value()->Commit({.sequence = 1, .runs = {{{1, 0}, 0, &columns, 0, 10, true}}}).ok());
  TakeFamily(path_, format::kIdRunsFamily, format::StoreState{.applied = 1, .writes = 3});
  for (Sequence sequence = 2; sequence < 4; ++sequence) {
    const auto opened = Open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ((*opened)->FindRow({1, 0}, 7).value(), std::optional<Row>(7));
    if (sequence == 2) {
      ASSERT_TRUE(
          (*opened)->Commit({.sequence = 2, .runs = {{{1, 0}, 10, &columns, 10, 20, true, /*new_ids=*/true}}}).ok());
    }
    EXPECT_EQ((*opened)->FindRow({1, 0}, 17).value(), std::optional<Row>(17));
  }
}

TEST_F(DurabilityTest, ALostColumnFamilyIsRefusedAgainAndAgain) {
  for (const char* name : {format::kIdsFamily, format::kHeadsFamily, format::kIdRunsFamily}) {
    SCOPED_TRACE(name);
    fs::remove_all(path_);
    Fill(3);
    TakeFamily(path_, name, std::nullopt);
    for (int i = 0; i < 2; ++i) ExpectRefused(absl::StrCat("has lost its column family ", name));
  }
}

TEST_F(DurabilityTest, TheNthFailedOperationNeverLosesAnAcknowledgedBatch) {
  const uint64_t seed = TestSeed();
  const uint64_t operations = FullTests() ? 600 : 300;
  const uint64_t stride = FullTests() ? 1 : 17;
  int failures = 0;
  for (uint64_t n = 1; n <= operations; n += stride) {
    SCOPED_TRACE(absl::StrCat("operation ", n, " fails"));
    fs::remove_all(path_);
    std::atomic<uint64_t> countdown{n};
    auto system = std::make_shared<FaultFileSystem>([&](FileOperation, const std::string&) {
      // One failure, then everything works again: the worst case for a program that tries once more.
      return --countdown == 0 ? rocksdb::IOStatus::IOError("injected") : rocksdb::IOStatus::OK();
    });
    std::mt19937_64 random(seed + n);
    StoreModel model;
    std::map<Sequence, std::string> history = {{0, model.Dump()}};
    Sequence acknowledged = 0;
    if (auto store = Open(system); store.ok()) {
      for (int i = 0; i < 60; ++i) {
        const OwnedBatch next = model.RandomBatch(random);
        model.Apply(next.batch);
        history[model.applied()] = model.Dump();
        if (!(*store)->Commit(next.batch).ok()) break;
        if (i % 3 == 0) {
          const auto synced = (*store)->Sync();
          if (!synced.ok()) break;
          acknowledged = *synced;
        }
        if (i % 20 == 10 && !(*store)->Compact().ok()) break;
      }
    }
    if (countdown.load() > n) ++failures;  // it went below zero: the failure was met
    const auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_GE((*store)->applied(), acknowledged);
    ASSERT_EQ(DumpStore(**store).value(), history.at((*store)->applied()));
  }
  EXPECT_GT(failures, 10);
}

}  // namespace
}  // namespace mneme
