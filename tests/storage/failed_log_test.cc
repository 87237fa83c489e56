// What a store does once its log has failed: it refuses everything that would touch the log, and ends in order. RocksDB
// as Debian builds it ends the process when it touches a file that has failed, so that a mistake here ends the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/fault_file_system.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using rocksdb::IOStatus;
using ::testing::HasSubstr;

bool IsLog(const std::string& path) { return absl::EndsWith(path, ".log"); }
bool IsTable(const std::string& path) { return absl::EndsWith(path, ".sst"); }
IOStatus Full() {
  IOStatus status = IOStatus::NoSpace("injected");
  status.SetRetryable(true);  // as the machine's
  return status;
}
IOStatus Broken() { return IOStatus::IOError("injected"); }

// A fault, and what is asked of the store when it begins.
struct Fault {
  const char* name;
  std::function<IOStatus(FileOperation, const std::string& path)> strike;
  bool at_sync = false;   // a commit does not meet it
  bool at_flush = false;  // nor does a sync
};

const Fault kFaults[] = {
    {"nothing can be appended to the log",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kAppend && IsLog(path) ? Full() : IOStatus::OK();
     }},
    {"nothing can be appended to anything",
     [](FileOperation operation, const std::string&) {
       return operation == FileOperation::kAppend ? Full() : IOStatus::OK();
     }},
    {"nothing can be appended and no file created",
     [](FileOperation operation, const std::string&) {
       return operation == FileOperation::kAppend || operation == FileOperation::kCreate ? Full() : IOStatus::OK();
     }},
    {"the device takes no bytes of the log",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kAppend && IsLog(path) ? Broken() : IOStatus::OK();
     }},
    {"the log cannot be synced",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kSync && IsLog(path) ? Broken() : IOStatus::OK();
     },
     true},
    {"nothing can be synced",
     [](FileOperation operation, const std::string&) {
       return operation == FileOperation::kSync || operation == FileOperation::kSyncDirectory ? Broken()
                                                                                               : IOStatus::OK();
     },
     true},
    {"a flush cannot sync the log that it ends",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kSync && IsLog(path) ? Full() : IOStatus::OK();
     },
     true, true},
    {"a flush cannot begin a log",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kCreate && IsLog(path) ? Full() : IOStatus::OK();
     },
     true, true},
    {"a flush cannot write its tables",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kAppend && IsTable(path) ? Full() : IOStatus::OK();
     },
     true, true},
    {"a flush cannot sync its tables",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kSync && IsTable(path) ? Broken() : IOStatus::OK();
     },
     true, true},
    {"a flush cannot write the manifest",
     [](FileOperation operation, const std::string& path) {
       return operation == FileOperation::kAppend && absl::StrContains(path, "MANIFEST") ? Full() : IOStatus::OK();
     },
     true, true},
};

class FailedLogTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<EntryStore>> Open(std::shared_ptr<rocksdb::FileSystem> system = nullptr) {
    return OpenRocksDbEntryStore({path_, &resources_, std::move(system), false});
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "db";
  StoreResources resources_{4 << 20, 64 << 20};
};

// Whatever fails, while writes wait to be synced or not, and whether it lasts until the end or passes: the store takes
// nothing more, leaves its log alone, is closed, and has what was acknowledged when it is opened again.
TEST_F(FailedLogTest, AStoreThatFailedEndsInOrder) {
  for (const Fault& fault : kFaults) {
    for (const bool pending : {false, true}) {
      for (const bool passes : {false, true}) {
        SCOPED_TRACE(absl::StrCat(fault.name, pending ? ", writes are pending" : "", passes ? ", and passes" : ""));
        std::filesystem::remove_all(path_);
        std::atomic<bool> on{false};
        std::atomic<bool> failed{false};
        std::atomic<int> touched{0};
        auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
          if (failed && (IsTable(path) || IsLog(path)) && operation != FileOperation::kClose) ++touched;
          return on ? fault.strike(operation, path) : IOStatus::OK();
        });
        {
          const auto store = Open(system).value();
          for (Sequence sequence = 1; sequence < 4; ++sequence) ASSERT_TRUE(store->Commit({.sequence = sequence}).ok());
          ASSERT_TRUE(store->Sync().ok());
          if (pending || fault.at_sync) {
            ASSERT_TRUE(store->Commit({.sequence = 4}).ok());
          }
          on = true;
          absl::Status failure;
          if (fault.at_flush) {
            failure = store->Flush();
          } else if (fault.at_sync) {
            failure = store->Sync().status();
          } else {
            failure = store->Commit({.sequence = 5});
          }
          ASSERT_FALSE(failure.ok());
          EXPECT_THAT(std::string(failure.message()), HasSubstr("injected"));
          failed = true;
          on = !passes;
          for (int i = 0; i < 2; ++i) {
            EXPECT_EQ(store->Flush(), failure);
            EXPECT_EQ(store->Commit({.sequence = 6}), failure);
            EXPECT_EQ(store->Sync().status(), failure);
            EXPECT_EQ(store->Compact(), failure);
          }
          EXPECT_TRUE(store->ReadHeads().ok());
          // Time for what RocksDB might begin by itself.
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          EXPECT_EQ(touched.load(), 0);
        }
        const auto store = Open();
        ASSERT_TRUE(store.ok()) << store.status();
        EXPECT_GE((*store)->applied(), 3U);
        EXPECT_LE((*store)->applied(), pending || fault.at_sync ? 4U : 3U);
        EXPECT_TRUE((*store)->Commit({.sequence = 7}).ok());
        EXPECT_TRUE((*store)->Sync().ok());
      }
    }
  }
}

// A commit fails while another thread syncs: the sync stands, for what it covers is written.
TEST_F(FailedLogTest, ACommitThatFailsWaitsForASyncUnderWay) {
  std::atomic<bool> armed{false};
  std::atomic<bool> syncing{false};
  std::atomic<bool> tried{false};
  std::atomic<bool> synced{false};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
    if (!armed || !IsLog(path)) return IOStatus::OK();
    if (operation == FileOperation::kSync) {
      syncing = true;
      while (!tried) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      synced = true;
    }
    if (operation != FileOperation::kAppend) return IOStatus::OK();
    tried = true;
    return Full();
  });
  {
    const auto store = Open(system).value();
    ASSERT_TRUE(store->Commit({.sequence = 1}).ok());
    armed = true;
    absl::StatusOr<Sequence> reached = absl::UnknownError("not asked");
    std::thread syncer([&] { reached = store->Sync(); });
    while (!syncing) std::this_thread::yield();
    const absl::Status failure = store->Commit({.sequence = 2});
    EXPECT_TRUE(synced);
    EXPECT_TRUE(absl::IsResourceExhausted(failure)) << failure;
    syncer.join();
    ASSERT_TRUE(reached.ok()) << reached.status();
    EXPECT_EQ(*reached, 1U);
    EXPECT_EQ(store->Sync().status(), failure);
  }
  EXPECT_EQ(Open().value()->applied(), 1U);
}

// A flush cannot sync the log that it has ended, while a sync waits for it to do that.
TEST_F(FailedLogTest, ASyncThatWaitsForAFlushThatFailsIsRefused) {
  std::atomic<bool> armed{false};
  std::atomic<bool> flushing{false};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
    if (!armed || operation != FileOperation::kSync || !IsLog(path)) return IOStatus::OK();
    flushing = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // until the other waits
    return Broken();
  });
  {
    const auto store = Open(system).value();
    ASSERT_TRUE(store->Commit({.sequence = 1}).ok());
    ASSERT_TRUE(store->Sync().ok());
    ASSERT_TRUE(store->Commit({.sequence = 2}).ok());
    armed = true;
    absl::Status flushed;
    std::thread flush([&] { flushed = store->Flush(); });
    while (!flushing) std::this_thread::yield();
    const absl::Status failure = store->Sync().status();
    flush.join();
    EXPECT_TRUE(absl::IsUnavailable(failure)) << failure;
    EXPECT_THAT(std::string(failure.message()), HasSubstr("injected"));
    EXPECT_FALSE(flushed.ok());
    EXPECT_FALSE(store->Commit({.sequence = 3}).ok());
  }
  EXPECT_GE(Open().value()->applied(), 1U);
}

// RocksDB's text log alone finds no room: nobody has asked for it.
TEST_F(FailedLogTest, ATextLogThatCannotBeWrittenIsDoneWithout) {
  std::atomic<int> struck{0};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
    const bool hit = absl::StrContains(path, "/LOG") &&
                     (operation == FileOperation::kAppend || operation == FileOperation::kCreate) && ++struck % 3 != 0;
    return hit ? Full() : IOStatus::OK();
  });
  for (Sequence sequence = 1; sequence < 20; ++sequence) {
    const auto store = Open(system);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Commit({.sequence = sequence}).ok());
    ASSERT_TRUE((*store)->Compact().ok());
    ASSERT_EQ((*store)->Sync().value(), sequence);
  }
  EXPECT_GT(struck, 20);
}

}  // namespace
}  // namespace mneme
