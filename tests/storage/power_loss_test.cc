// What a power cut leaves: every acknowledged batch, and of the others a prefix without holes.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "storage/format.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/fault_file_system.h"
#include "tests/storage/store_model.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

// The watermark is written beside RocksDB and never synced after its creation: any mixture of what it ever was.
std::string WatermarkAfterCut(const std::string& path, std::mt19937_64& random) {
  std::string bytes = ReadBytes(path);
  const std::string created = format::EncodeWatermarkSlot(0);
  for (size_t slot = 0; slot < 2; ++slot) {
    if (random() % 2 == 0) bytes.replace(slot * format::kWatermarkSlotStride, created.size(), created);
  }
  return bytes;
}

class PowerLossTest : public ::testing::Test {
 protected:
  // One life of a store that ends in a power cut after about `operations` operations of the file system, and its next
  // life. Returns how many batches had been committed before the cut.
  void Trial(uint64_t seed, PowerLossFileSystem::Survival survival);

  uint64_t acknowledged_total_ = 0;
  uint64_t kept_total_ = 0;
  uint64_t unacknowledged_total_ = 0;
};

void PowerLossTest::Trial(uint64_t seed, PowerLossFileSystem::Survival survival) {
  SCOPED_TRACE(absl::StrCat("trial seed ", seed, ", survival ", static_cast<int>(survival)));
  std::mt19937_64 random(seed);
  TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "attic");
  auto system = std::make_shared<PowerLossFileSystem>(directory / "attic");
  // A small bound, so that tables are flushed while batches come in.
  StoreResources resources(4 << 20, 4 << 20);
  std::atomic<Sequence> acknowledged{0};
  std::atomic<Sequence> committed{0};
  Sequence acknowledged_at_cut = 0;
  Sequence committed_at_cut = 0;
  std::atomic<bool> was_cut{false};
  std::mt19937_64 cut_random(seed + 1);
  const auto cut = [&] {
    was_cut = true;
    acknowledged_at_cut = acknowledged;
    committed_at_cut = committed;
    system->Image(directory / "db", directory / "image", survival, cut_random);
    WriteBytes(directory / "image/WATERMARK", WatermarkAfterCut(directory / "db/WATERMARK", cut_random));
  };

  std::map<Sequence, std::string> history;
  StoreModel model;
  history[0] = model.Dump();
  {
    auto store = OpenRocksDbEntryStore({directory / "db", &resources, system});
    ASSERT_TRUE(store.ok()) << store.status();
    system->CutAfter(1 + random() % 300, cut);
    const size_t value_bytes = random() % 2 == 0 ? 40 : 4000;
    for (int i = 0; i < 400 && !was_cut; ++i) {
      const OwnedBatch next = model.RandomBatch(random, 40, value_bytes);
      model.Apply(next.batch);
      history[model.applied()] = model.Dump();
      ASSERT_TRUE((*store)->Commit(next.batch).ok());
      committed = model.applied();
      if (random() % 4 == 0) {
        ASSERT_EQ((*store)->Sync().value(), model.applied());
        acknowledged = model.applied();
      }
      if (random() % 50 == 0) {
        ASSERT_TRUE((*store)->Compact().ok());
      }
    }
  }
  ASSERT_TRUE(was_cut) << "the trial ended before the cut";
  StoreResources fresh(4 << 20, 64 << 20);
  auto store = OpenRocksDbEntryStore({directory / "image", &fresh, nullptr});
  ASSERT_TRUE(store.ok()) << store.status();
  const Sequence applied = (*store)->applied();
  EXPECT_GE(applied, acknowledged_at_cut);
  EXPECT_LE(applied, committed_at_cut + 1);  // the batch being written may have arrived
  ASSERT_EQ(DumpStore(**store).value(), history.at(applied));
  acknowledged_total_ += acknowledged_at_cut;
  unacknowledged_total_ += committed_at_cut - acknowledged_at_cut;
  kept_total_ += applied - acknowledged_at_cut;
}

TEST_F(PowerLossTest, KeepsEveryAcknowledgedBatchAndAPrefixOfTheRest) {
  using Survival = PowerLossFileSystem::Survival;
  const uint64_t seed = TestSeed();
  const uint64_t trials = Repetitions(200, 2000);
  for (uint64_t i = 0; i < trials; ++i) {
    const Survival survival = i % 3 == 0 ? Survival::kNone : i % 3 == 1 ? Survival::kBytes : Survival::kNames;
    Trial(seed + 1000 * i, survival);
    if (HasFailure()) break;
  }
  std::cout << trials << " cuts; acknowledged batches " << acknowledged_total_ << ", all present; of "
            << unacknowledged_total_ << " written ones " << kept_total_ << " present" << std::endl;
  // The trials mean something: batches were acknowledged, and batches were really lost.
  EXPECT_GT(acknowledged_total_, trials);
  EXPECT_LT(kept_total_, unacknowledged_total_);
}

}  // namespace
}  // namespace mneme
