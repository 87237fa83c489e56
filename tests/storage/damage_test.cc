// Damaged stores: a log cut at any byte and a flipped bit anywhere give a clear refusal or a clean prefix, never a
// wrong answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/fault_file_system.h"
#include "tests/storage/store_model.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

namespace fs = std::filesystem;

// A store as a killed process leaves it, and everything it ever held.
struct Victim {
  std::string path;
  std::map<Sequence, std::string> history;
  Sequence acknowledged = 0;
  std::vector<std::string> logs;  // file names, oldest first
  size_t acknowledged_log_bytes = 0;  // of the newest log
};

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(directory_ / "trial"); }

  void Grow(EntryStore& store, int batches, Victim& victim) {
    for (int i = 0; i < batches; ++i) {
      const OwnedBatch next = model_.RandomBatch(random_);
      ASSERT_TRUE(store.Commit(next.batch).ok());
      model_.Apply(next.batch);
      victim.history[model_.applied()] = model_.Dump();
    }
  }
  void Acknowledge(EntryStore& store, Victim& victim) { victim.acknowledged = store.Sync().value(); }

  // Copies the directory of a running store: what a killed process leaves.
  void Kill(const std::string& path, Victim& victim) {
    victim.path = path + "-killed";
    fs::copy(path, victim.path);
    victim.logs = FilesOf(victim.path, ".log");
    std::sort(victim.logs.begin(), victim.logs.end());
  }

  static std::vector<std::string> FilesOf(const std::string& path, const std::string& part) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      if (absl::StrContains(name, part)) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // Tables, a manifest with history, and one log whose last batches were written but not acknowledged.
  Victim OneLog() {
    Victim victim;
    const std::string path = directory_ / "one";
    victim.history[0] = model_.Dump();
    std::unique_ptr<EntryStore> store = OpenRocksDbEntryStore({path, &resources_, nullptr}).value();
    Grow(*store, 60, victim);
    EXPECT_TRUE(store->Compact().ok());
    Grow(*store, 30, victim);
    Acknowledge(*store, victim);
    victim.acknowledged_log_bytes = fs::file_size(path + "/" + FilesOf(path, ".log").back());
    Grow(*store, 4, victim);
    Kill(path, victim);
    return victim;
  }

  enum class Acknowledged { kAll, kNothing };
  // A flush is under way: one log is full and a second one has begun. With kNothing it is about to sync the full log,
  // so that RocksDB has not noted its size.
  Victim TwoLogs(Acknowledged acknowledged = Acknowledged::kAll) {
    absl::Notification flushing;
    absl::Notification killed;
    std::atomic<bool> armed{false};
    const auto [stop_at, suffix] = acknowledged == Acknowledged::kAll ? std::pair(FileOperation::kCreate, ".sst")
                                                                      : std::pair(FileOperation::kSync, ".log");
    const auto stop = [&, stop_at = stop_at, suffix = suffix](FileOperation operation, const std::string& path) {
      if (operation == stop_at && absl::EndsWith(path, suffix) && armed.exchange(false)) {
        flushing.Notify();
        killed.WaitForNotification();
      }
      return rocksdb::IOStatus::OK();
    };
    auto system = std::make_shared<FaultFileSystem>(stop);
    Victim victim;
    const std::string path = directory_ / "two";
    victim.history[0] = model_.Dump();
    std::unique_ptr<EntryStore> store = OpenRocksDbEntryStore({path, &resources_, system}).value();
    Grow(*store, 25, victim);
    armed = true;
    std::thread flush([&] { EXPECT_TRUE(store->Compact().ok()); });
    flushing.WaitForNotification();
    Grow(*store, 10, victim);
    if (acknowledged == Acknowledged::kAll) Acknowledge(*store, victim);
    Kill(path, victim);
    killed.Notify();
    flush.join();
    EXPECT_EQ(victim.logs.size(), 2U);
    return victim;
  }

  // Opens a copy of `victim` that `damage` was done to. A refusal, or all that it holds.
  absl::StatusOr<std::string> OpenDamaged(const Victim& victim, const std::function<void(const std::string&)>& damage,
                                          Sequence& applied) {
    const std::string path = directory_ / "trial/db";
    fs::remove_all(path);
    fs::copy(victim.path, path);
    damage(path);
    ASSIGN_OR_RETURN(const std::unique_ptr<EntryStore> store, OpenRocksDbEntryStore({path, &resources_, nullptr}));
    applied = store->applied();
    return DumpStore(*store);
  }

  static std::string Watermark(Sequence sequence) {
    std::string bytes(format::kWatermarkFileBytes, '\0');
    for (const size_t at : {size_t{0}, format::kWatermarkSlotStride}) {
      bytes.replace(at, format::kWatermarkSlotBytes, format::EncodeWatermarkSlot(sequence));
    }
    return bytes;
  }
  static void Cut(const std::string& path, size_t size) { fs::resize_file(path, size); }
  static void Flip(const std::string& path, uint64_t bit) {
    std::string bytes = ReadBytes(path);
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    WriteBytes(path, bytes);
  }

  const uint64_t seed_ = TestSeed();
  std::mt19937_64 random_{seed_};
  StoreModel model_;
  TemporaryDirectory directory_;
  StoreResources resources_{8 << 20, 64 << 20};
};

TEST_F(DamageTest, OpensWhatAKilledProcessLeaves) {
  for (const Victim& victim : {OneLog()}) {
    Sequence applied = 0;
    const absl::StatusOr<std::string> dump = OpenDamaged(victim, [](const std::string&) {}, applied);
    ASSERT_TRUE(dump.ok()) << dump.status();
    EXPECT_EQ(applied, victim.history.rbegin()->first);
    EXPECT_EQ(*dump, victim.history.at(applied));
  }
}

TEST_F(DamageTest, ALogCutAnywhereIsRefusedOrAPrefix) {
  const Victim victim = OneLog();
  const std::string log = victim.logs.back();
  const size_t size = fs::file_size(victim.path + "/" + log);
  const size_t stride = FullTests() ? 1 : size / Repetitions(150, size) | 1;
  ASSERT_LT(victim.acknowledged_log_bytes, size);
  size_t refused = 0;
  size_t prefixes = 0;
  for (size_t cut = 0; cut < size; cut += stride) {
    SCOPED_TRACE(absl::StrCat("cut at byte ", cut, " of ", size, ", acknowledged ", victim.acknowledged_log_bytes));
    Sequence applied = 0;
    const auto dump = OpenDamaged(victim, [&](const std::string& path) { Cut(path + "/" + log, cut); }, applied);
    // Exactly: bytes of acknowledged batches missing is a refusal, anything less is a prefix.
    if (cut < victim.acknowledged_log_bytes) {
      ASSERT_TRUE(absl::IsDataLoss(dump.status())) << dump.status();
      ++refused;
    } else {
      ASSERT_TRUE(dump.ok()) << dump.status();
      ASSERT_GE(applied, victim.acknowledged);
      ASSERT_EQ(*dump, victim.history.at(applied));
      ++prefixes;
    }
  }
  std::cout << "cut at every " << stride << ". of " << size << " bytes: " << refused << " refused, " << prefixes
            << " clean prefixes" << (FullTests() ? "" : " (MNEME_TEST_FULL=1 cuts at every byte)") << std::endl;
  EXPECT_GT(refused, 0U);
  EXPECT_GT(prefixes, 0U);
}

TEST_F(DamageTest, ALogWithGarbageBehindItLosesNothingAcknowledged) {
  const Victim victim = OneLog();
  const std::string log = victim.logs.back();
  for (const std::string& tail : {std::string(100, '\0'), std::string(5000, '\0'), std::string(40, '\x5A')}) {
    Sequence applied = 0;
    const auto dump = OpenDamaged(victim, [&](const std::string& path) {
      WriteBytes(path + "/" + log, ReadBytes(path + "/" + log) + tail);
    }, applied);
    if (!dump.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(dump.status())) << dump.status();
      continue;
    }
    EXPECT_EQ(*dump, victim.history.at(applied));
    EXPECT_GE(applied, victim.acknowledged);
  }
}

TEST_F(DamageTest, ALogThatEndsBeforeTheNextOneBeginsIsRefused) {
  // With a sync RocksDB has noted the size of its finished log; without one only the chain of writes shows the hole.
  for (const Acknowledged acknowledged : {Acknowledged::kAll, Acknowledged::kNothing}) {
    model_ = StoreModel();
    directory_.Clear();
    fs::create_directories(directory_ / "trial");
    const Victim victim = TwoLogs(acknowledged);
    const std::string mark = victim.path + "/WATERMARK";
    WriteBytes(mark, Watermark(victim.history.rbegin()->first));
    const size_t size = fs::file_size(victim.path + "/" + victim.logs[0]);
    const size_t stride = kSanitized ? 1009 : FullTests() ? 7 : 211;
    for (size_t cut = 0; cut < size; cut += stride) {
      SCOPED_TRACE(absl::StrCat("cut at byte ", cut, " of ", size));
      Sequence applied = 0;
      const auto dump =
          OpenDamaged(victim, [&](const std::string& path) { Cut(path + "/" + victim.logs[0], cut); }, applied);
      ASSERT_TRUE(absl::IsDataLoss(dump.status())) << dump.status();
    }
  }
}

TEST_F(DamageTest, AHoleBehindAllThatWasAcknowledgedEndsTheLog) {
  const Victim victim = TwoLogs(Acknowledged::kNothing);
  const size_t size = fs::file_size(victim.path + "/" + victim.logs[0]);
  Sequence last = 0;
  for (size_t cut = 0; cut < size; cut += size / 12) {
    SCOPED_TRACE(absl::StrCat("cut at byte ", cut, " of ", size));
    Sequence applied = 0;
    const auto dump =
        OpenDamaged(victim, [&](const std::string& path) { Cut(path + "/" + victim.logs[0], cut); }, applied);
    ASSERT_TRUE(dump.ok()) << dump.status();
    ASSERT_EQ(*dump, victim.history.at(applied));
    ASSERT_GE(applied, last);
    ASSERT_LT(applied, 25U);
    last = applied;
    // What was given up stays given up, and the store goes on from there.
    auto store = OpenRocksDbEntryStore({directory_ / "trial/db", &resources_, nullptr});
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_EQ(DumpStore(**store).value(), victim.history.at(applied));
    ASSERT_TRUE((*store)->Commit({.sequence = applied + 1}).ok());
    store->reset();
    store = OpenRocksDbEntryStore({directory_ / "trial/db", &resources_, nullptr});
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_EQ((*store)->applied(), applied + 1);
  }
  EXPECT_GT(last, 0U);
}

TEST_F(DamageTest, AFlippedBitAnywhereNeverGivesAWrongAnswer) {
  const Victim victims[] = {OneLog(), (model_ = StoreModel(), TwoLogs())};
  // At least 500 in either form of a build without sanitizers.
  const uint64_t flips = Repetitions(500, 5000);
  // Where the flips go: every kind of file, most of them where most bytes are.
  const std::vector<std::string> kinds = {".log", ".log", ".log", ".sst", ".sst", ".sst", "MANIFEST", "MANIFEST",
                                          "CURRENT", "OPTIONS", "WATERMARK"};
  std::map<std::string, std::map<std::string, int>> outcomes;
  for (uint64_t hits = 0; hits < flips;) {
    const Victim& victim = victims[random_() % 2];
    const std::string& kind = kinds[random_() % kinds.size()];
    const std::vector<std::string> files = FilesOf(victim.path, kind);
    if (files.empty()) continue;  // the victim has no such file: another one is drawn
    ++hits;
    const std::string& file = files[random_() % files.size()];
    const uint64_t bit = random_() % (8 * fs::file_size(victim.path + "/" + file));
    SCOPED_TRACE(absl::StrCat("bit ", bit, " of ", file, " in ", victim.path));
    Sequence applied = 0;
    const auto dump = OpenDamaged(victim, [&](const std::string& path) { Flip(path + "/" + file, bit); }, applied);
    if (!dump.ok()) {
      ++outcomes[kind][absl::StatusCodeToString(dump.status().code())];
      ASSERT_FALSE(dump.status().message().empty());
      continue;
    }
    ASSERT_GE(applied, victim.acknowledged);
    ASSERT_EQ(*dump, victim.history.at(applied));
    ++outcomes[kind][applied == victim.history.rbegin()->first ? "right answer" : "clean prefix"];
  }
  int judged = 0;
  for (const auto& [kind, counts] : outcomes) {
    std::cout << kind << ":";
    for (const auto& [outcome, count] : counts) {
      std::cout << "  " << count << " " << outcome;
      judged += count;
    }
    std::cout << std::endl;
  }
  std::cout << judged << " flips that hit" << std::endl;
  EXPECT_EQ(judged, flips);
  // Damage of logs and tables that is read is seen as what it is.
  EXPECT_GT(outcomes[".log"]["DATA_LOSS"], 0);
  EXPECT_GT(outcomes[".sst"]["DATA_LOSS"], 0);
}

}  // namespace
}  // namespace mneme
