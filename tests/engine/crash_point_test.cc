// A process that is killed at any named point of an index's life (common/crash_point.h) leaves a shard that opens,
// answers as its twin does, has no file that nothing refers to, and goes on building.
#include "common/crash_point.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tests/engine/index_life.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using testing::IndexLife;
using testing::KillThisProcess;
using testing::LifeKind;
using testing::LifeOperation;
using testing::LifeStep;
using testing::RunInProcess;

constexpr LifeKind kKind{.codec = 2, .metric = Metric::kL2, .dtype = Dtype::kF32};

// The point that kills this process, and how often it is passed before.
const char* armed_point = nullptr;
std::atomic<int> passes_left{0};

void Pass(const char* name) {
  if (std::strcmp(name, armed_point) == 0 && passes_left.fetch_sub(1) == 0) KillThisProcess();
}

void Arm(const char* point, int passes) {
  armed_point = point;
  passes_left = passes;
  crash_hook = Pass;
}

// What is on its way when the process is killed.
enum class Work { kFirstSeal, kMerge, kRetrain, kRepair };

struct Case {
  Work work;
  const char* point;
  int passes = 0;
};

// In the order of their passing. The first file of a training is its codebook, the second its segment.
const Case kCases[] = {
    {Work::kFirstSeal, "file_created"},
    {Work::kFirstSeal, "file_half_written"},
    {Work::kFirstSeal, "file_written"},
    {Work::kFirstSeal, "file_synced"},
    {Work::kFirstSeal, "file_renamed"},
    {Work::kFirstSeal, "codebook_saved"},
    {Work::kFirstSeal, "file_created", 1},
    {Work::kFirstSeal, "file_half_written", 1},
    {Work::kFirstSeal, "file_written", 1},
    {Work::kFirstSeal, "file_synced", 1},
    {Work::kFirstSeal, "file_renamed", 1},
    {Work::kFirstSeal, "segment_written"},
    {Work::kFirstSeal, "install_begun"},
    {Work::kFirstSeal, "install_committed"},
    {Work::kFirstSeal, "install_published"},
    {Work::kMerge, "file_half_written"},
    {Work::kMerge, "file_renamed"},
    {Work::kMerge, "install_begun"},
    {Work::kMerge, "install_committed"},
    {Work::kMerge, "install_published"},
    {Work::kMerge, "old_files_left"},
    {Work::kMerge, "old_segments_removed"},
    {Work::kRetrain, "file_half_written"},
    {Work::kRetrain, "codebook_saved"},
    {Work::kRetrain, "file_half_written", 1},
    {Work::kRetrain, "segment_written"},
    {Work::kRetrain, "install_begun"},
    {Work::kRetrain, "install_committed"},
    {Work::kRetrain, "install_published"},
    {Work::kRetrain, "old_files_left"},
    {Work::kRetrain, "old_segments_removed"},
    {Work::kRepair, "file_created"},
    {Work::kRepair, "file_half_written"},
    {Work::kRepair, "file_renamed"},
    {Work::kRepair, "segment_written"},
    {Work::kRepair, "repair_built"},
    {Work::kRepair, "repair_committed"},
};

std::string NameOf(const Case& one) {
  const char* const works[] = {"FirstSeal", "Merge", "Retrain", "Repair"};
  return absl::StrCat(works[static_cast<int>(one.work)], "_", one.point, "_", one.passes);
}

class CrashPointTest : public ::testing::TestWithParam<Case> {
 protected:
  // Partition, ids and keys follow from the number; both partitions grow.
  static std::vector<LifeOperation> Inserts(uint32_t first, uint32_t count) {
    std::vector<LifeOperation> operations;
    for (uint32_t i = first; i < first + count; ++i) operations.push_back({LifeStep::kInsert, i});
    operations.push_back({LifeStep::kDeleteIds, first});
    return operations;
  }

  // Everything up to the work that will be cut short.
  static std::vector<LifeOperation> Before(Work work) {
    std::vector<LifeOperation> operations = Inserts(1, 12);
    if (work == Work::kFirstSeal) return operations;
    operations.push_back({LifeStep::kSeal, 0});
    for (const LifeOperation& more : Inserts(100, 9)) operations.push_back(more);
    return operations;
  }

  absl::Status Prepare(Work work) const {
    IndexLife life = Life();
    RETURN_IF_ERROR(life.Open());
    for (const LifeOperation& operation : Before(work)) RETURN_IF_ERROR(life.Do(operation));
    RETURN_IF_ERROR(life.Check(1));
    life.Close();
    if (work == Work::kRepair) DamageSegments();
    return absl::OkStatus();
  }

  // Does not return when the point is passed.
  absl::Status BeKilled(const Case& one) const {
    IndexLife life = Life();
    for (const LifeOperation& operation : Before(one.work)) life.Learn(operation);
    if (one.work == Work::kRepair) Arm(one.point, one.passes);
    RETURN_IF_ERROR(life.Open());
    Arm(one.point, one.passes);
    RETURN_IF_ERROR(life.Do({one.work == Work::kRetrain ? LifeStep::kRetrain : LifeStep::kSeal, 0}));
    life.Close();  // old files are removed after a sync
    return absl::OkStatus();
  }

  absl::Status ComeBack(Work work) const {
    IndexLife life = Life();
    for (const LifeOperation& operation : Before(work)) life.Learn(operation);
    RETURN_IF_ERROR(life.Open());
    RETURN_IF_ERROR(CheckFiles(life));
    for (uint32_t i = 0; i < 5; ++i) RETURN_IF_ERROR(life.Check(i));
    // Life goes on.
    for (const LifeOperation& operation : Inserts(500, 4)) RETURN_IF_ERROR(life.Do(operation));
    for (const LifeStep step : {LifeStep::kSeal, LifeStep::kCheck, LifeStep::kRetrain, LifeStep::kCheck,
                                LifeStep::kRestart, LifeStep::kCheck}) {
      RETURN_IF_ERROR(life.Do({step, 3}));
    }
    return CheckFiles(life);
  }

  IndexLife Life() const { return IndexLife(directory_ / "data", "life", kKind); }

  std::vector<std::string> IndexFilesNow() const {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::recursive_directory_iterator(directory_ / "data")) {
      const std::string name = file.path().string();
      const bool of_index = name.find(".segment") != std::string::npos || name.find(".codebook") != std::string::npos;
      if (of_index) names.push_back(name);
    }
    return names;
  }

  // Nothing is left but the files of the segments and codebooks that are in use. Maintenance may just be at work, and
  // what it replaced goes after the next sync: asked again for a while.
  absl::Status CheckFiles(IndexLife& life) const {
    absl::Status status;
    for (int attempt = 0; attempt < 100; ++attempt) {
      status = CheckFilesNow(life);
      if (status.ok()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return status;
  }

  absl::Status CheckFilesNow(IndexLife& life) const {
    uint64_t used = 0;
    const std::vector<MemoryHandle> memories = life.deployment().ListMemories().value();
    for (const MemoryHandle& memory : memories) {
      const auto statistics = life.deployment().Statistics(memory);
      used += statistics->segments + statistics->codebooks;
    }
    const std::vector<std::string> names = IndexFilesNow();
    if (names.size() == used) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(names.size(), " index files are left, ", used, " are in use"));
  }

  void DamageSegments() const {
    for (const std::string& name : IndexFilesNow()) {
      if (!absl::EndsWith(name, ".segment")) continue;
      std::fstream file(name, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(5000);
      file.put('\x55');
    }
  }

  TemporaryDirectory directory_;
};

TEST_P(CrashPointTest, LeavesTheShardRight) {
  const Case& one = GetParam();
  const absl::Status prepared = RunInProcess([&] { return Prepare(one.work); });
  ASSERT_TRUE(prepared.ok()) << prepared;
  const absl::Status killed = RunInProcess([&] { return BeKilled(one); });
  ASSERT_TRUE(absl::IsAborted(killed)) << "the point was not passed: " << killed;
  ASSERT_EQ(killed.message(), "ended by signal 9");
  const absl::Status back = RunInProcess([&] { return ComeBack(one.work); });
  EXPECT_TRUE(back.ok()) << back;
}

INSTANTIATE_TEST_SUITE_P(Points, CrashPointTest, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return NameOf(one.param); });

}  // namespace
}  // namespace mneme
