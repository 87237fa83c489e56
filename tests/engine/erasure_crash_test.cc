// A process is killed between any two steps of an erasure; the next one goes on, and what its receipt says is so. Every
// process of this test is one of its own: threads of RocksDB do not survive a fork.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/crash_point.h"
#include "common/status_macros.h"
#include "engine/receipts.h"
#include "tests/engine/erasure_fixture.h"
#include "tests/engine/index_life.h"

namespace mneme {
namespace {

using testing::BytesOfKey;
using testing::CanaryKey;
using testing::ColumnsOf;
using testing::Entries;
using testing::ErasureOptionsFor;
using testing::FilesWith;
using testing::kCanary;
using testing::kDimension;
using testing::KillThisProcess;
using testing::RunInProcess;
using testing::TokenMemory;

const char* armed_point = nullptr;

void Pass(const char* name) {
  if (std::strcmp(name, armed_point) == 0) KillThisProcess();
}

struct Case {
  const char* point;
  bool erased;         // no file has the canary any more
  ErasureState least;  // what the receipt says at least when the next process looks
};

class ErasureCrashTest : public ::testing::TestWithParam<Case> {
 protected:
  absl::StatusOr<std::unique_ptr<LocalDeployment>> Open() const {
    DeploymentOptions options = ErasureOptionsFor(/*after_ms=*/0);
    options.data_dir = path_;
    return LocalDeployment::Open(std::move(options));
  }

  // Does not return when the point is passed.
  absl::Status BeKilled(const char* point) const {
    ASSIGN_OR_RETURN(const auto deployment, Open());
    ASSIGN_OR_RETURN(const MemoryHandle memory, deployment->CreateMemory(TokenMemory("wiki", kDimension)));
    std::promise<absl::Status> inserted;
    deployment->Insert(memory, {.entries = ColumnsOf(memory->spec, Entries(600))}, nullptr,
                       [&](const absl::StatusOr<InsertOutcome>& outcome) { inserted.set_value(outcome.status()); });
    RETURN_IF_ERROR(inserted.get_future().get());
    RETURN_IF_ERROR(deployment->BuildIndex(memory, false, [](const BuildProgress&) { return true; }));
    armed_point = point;
    crash_hook = Pass;
    DeleteCommand command;
    command.ids = {kCanary};
    std::promise<absl::Status> deleted;
    deployment->Delete(memory, std::move(command),
                       [&](const absl::StatusOr<DeleteOutcome>& outcome) { deleted.set_value(outcome.status()); });
    RETURN_IF_ERROR(deleted.get_future().get());
    std::this_thread::sleep_for(std::chrono::seconds(120));
    return absl::OkStatus();
  }

  absl::Status GoOn(ErasureState least) const {
    ASSIGN_OR_RETURN(const auto deployment, Open());
    ASSIGN_OR_RETURN(const MemoryHandle memory, deployment->FindMemory("wiki"));
    ASSIGN_OR_RETURN(const ReceiptPage page, deployment->ListReceipts(memory, std::nullopt, 10, {}));
    if (page.items.size() != 1) return absl::InternalError(absl::StrCat(page.items.size(), " receipts"));
    const Version& receipt = page.items[0].receipt;
    ReceiptStatus status = page.items[0].status;
    if (status.state < least) return absl::InternalError("it came less far than it was");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (status.state < ErasureState::kRocksDb && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ASSIGN_OR_RETURN(status, deployment->Receipt(memory, receipt, {}));
    }
    if (status.state != ErasureState::kRocksDb) return absl::InternalError("it did not go on");
    if (!FilesWith(path_, BytesOfKey(CanaryKey())).empty()) return absl::InternalError("the canary is left");
    ASSIGN_OR_RETURN(const uint64_t count, deployment->Count(memory, {}));
    return count == 601 ? absl::OkStatus() : absl::InternalError(absl::StrCat(count, " entries are left"));
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "data";
};

TEST_P(ErasureCrashTest, TheNextProcessGoesOn) {
  const absl::Status killed = RunInProcess([&] { return BeKilled(GetParam().point); });
  ASSERT_EQ(killed.code(), absl::StatusCode::kAborted) << killed;
  EXPECT_EQ(FilesWith(path_, BytesOfKey(CanaryKey())).empty(), GetParam().erased);
  const absl::Status gone_on = RunInProcess([&] { return GoOn(GetParam().least); });
  EXPECT_TRUE(gone_on.ok()) << gone_on;
}

// After "erasure_rewritten" old tables may be there or not: nothing is said of them.
INSTANTIATE_TEST_SUITE_P(Points, ErasureCrashTest,
                         ::testing::Values(Case{"erasure_begun", false, ErasureState::kHidden},
                                           Case{"install_committed", false, ErasureState::kHidden},
                                           Case{"erasure_indexed", false, ErasureState::kIndex},
                                           Case{"erasure_finished", true, ErasureState::kRocksDb}),
                         [](const auto& one) { return std::string(one.param.point); });

}  // namespace
}  // namespace mneme
