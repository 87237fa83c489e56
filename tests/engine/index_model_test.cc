// Model-based, with RapidCheck: whatever codec a memory has chosen, after any sequence of inserts, upserts, deletes,
// seals, merges, retrains, restarts and kills its answers are those of a brute-force twin. A failing one is shrunk.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <new>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tests/engine/index_life.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::IndexLife;
using testing::kLifeCodecs;
using testing::LifeKind;
using testing::LifeOperation;
using testing::LifeStep;

// Lives that share a data directory, one after the other.
constexpr int kLivesOfDirectory = 50;

// What a killed process leaves to its parent: how many operations were done.
class SharedCount {
 public:
  SharedCount() {
    constexpr int kShared = MAP_SHARED | MAP_ANONYMOUS;
    void* page = ::mmap(nullptr, sizeof(std::atomic<size_t>), PROT_READ | PROT_WRITE, kShared, -1, 0);
    if (page == MAP_FAILED) std::abort();
    count_ = new (page) std::atomic<size_t>(0);
  }
  ~SharedCount() { ::munmap(count_, sizeof(std::atomic<size_t>)); }
  std::atomic<size_t>& operator*() { return *count_; }

 private:
  std::atomic<size_t>* count_;
};

std::string Show(const LifeKind& kind) {
  return absl::StrCat(kLifeCodecs[kind.codec].index, ", metric ", static_cast<int>(kind.metric), ", dtype ",
                      static_cast<int>(kind.dtype));
}

class Lives {
 public:
  // Runs a sequence in a memory of its own; every kill in it ends a process, and the next takes over.
  absl::Status Run(const LifeKind& kind, const std::vector<LifeOperation>& operations) {
    if (++lives_ % kLivesOfDirectory == 0) directory_.Clear();
    size_t begin = 0;
    while (true) {
      *done_ = begin;
      const absl::Status status = testing::RunInProcess([&] { return Live(kind, operations, begin); });
      const bool killed = absl::IsAborted(status) && *done_ > begin && operations[*done_ - 1].step == LifeStep::kKill;
      if (!killed) {
        if (!status.ok()) directory_.Clear();
        return status;
      }
      begin = *done_;
    }
  }

 private:
  // What a process does: operations from `begin` on, up to the next kill.
  absl::Status Live(const LifeKind& kind, const std::vector<LifeOperation>& operations, size_t begin) {
    IndexLife life(directory_ / "data", absl::StrCat("life-", lives_), kind);
    for (size_t i = 0; i < begin; ++i) life.Learn(operations[i]);
    RETURN_IF_ERROR(life.Open());
    if (begin > 0) RETURN_IF_ERROR(At(begin, "after the kill", life.Check(static_cast<uint32_t>(begin))));
    for (size_t i = begin; i < operations.size(); ++i) {
      *done_ = i + 1;
      if (operations[i].step == LifeStep::kKill) testing::KillThisProcess();
      RETURN_IF_ERROR(At(i, NameOf(operations[i].step), life.Do(operations[i])));
    }
    RETURN_IF_ERROR(At(operations.size(), "at the end", life.Check(0)));
    RETURN_IF_ERROR(At(operations.size(), Show(kind).c_str(), life.CheckAgreement()));
    return life.Drop();
  }

  static absl::Status At(size_t i, const char* what, const absl::Status& status) {
    if (status.ok()) return status;
    return absl::InternalError(absl::StrCat("operation ", i, ", ", what, ": ", status.message()));
  }

  TemporaryDirectory directory_;
  int lives_ = 0;
  SharedCount done_;
};

rc::Gen<LifeOperation> AnyOperation() {
  const auto step = rc::gen::weightedElement<LifeStep>({{90, LifeStep::kInsert},
                                                        {30, LifeStep::kDeleteIds},
                                                        {6, LifeStep::kDeleteSource},
                                                        {2, LifeStep::kDropPartition},
                                                        {6, LifeStep::kSeal},
                                                        {3, LifeStep::kRetrain},
                                                        {1, LifeStep::kRestart},
                                                        {1, LifeStep::kKill},
                                                        {24, LifeStep::kCheck}});
  return rc::gen::map(rc::gen::pair(step, rc::gen::inRange<uint32_t>(0, 1U << 30)), [](const auto& drawn) {
    return LifeOperation{drawn.first, drawn.second};
  });
}

struct Scale {
  int sequences;
  size_t operations;
};

Scale ScaleOfThisBuild() {
  if (kSanitized) return FullTests() ? Scale{500, 200} : Scale{40, 100};
  return FullTests() ? Scale{20'000, 200} : Scale{2'000, 200};
}

// Halves of the sequences, each from a seed of its own: ctest runs them side by side.
constexpr int kHalves = 2;

class IndexModelTest : public ::testing::TestWithParam<int> {};

TEST_P(IndexModelTest, AnswersAgreeWithABruteForceTwinAfterAnyLife) {
  const Scale scale = ScaleOfThisBuild();
  rc::detail::TestParams params;
  params.seed = TestSeed() + GetParam();
  params.maxSuccess = scale.sequences / kHalves;
  Lives lives;
  const auto property = [&] {
    LifeKind kind;
    kind.codec = *rc::gen::inRange<size_t>(0, std::size(kLifeCodecs));
    kind.metric = *rc::gen::element(Metric::kL2, Metric::kInnerProduct, Metric::kCosine);
    kind.dtype = *rc::gen::element(Dtype::kF32, Dtype::kF16);
    const auto sequences = rc::gen::shrink(
        rc::gen::noShrink(rc::gen::container<std::vector<LifeOperation>>(scale.operations, AnyOperation())),
        [](std::vector<LifeOperation> operations) { return rc::shrink::removeChunks(std::move(operations)); });
    const std::vector<LifeOperation> operations = *sequences.as("operations");
    const absl::Status status = lives.Run(kind, operations);
    if (!status.ok()) RC_FAIL(absl::StrCat(Show(kind), ": ", status.ToString()));
  };
  const rc::detail::TestResult result = rc::detail::checkTestable(property, rc::detail::TestMetadata(), params);
  std::ostringstream message;
  rc::detail::printResultMessage(result, message);
  std::cout << message.str() << std::endl;
  EXPECT_TRUE(result.is<rc::detail::SuccessResult>());
}

INSTANTIATE_TEST_SUITE_P(Halves, IndexModelTest, ::testing::Range(0, kHalves));

}  // namespace
}  // namespace mneme
