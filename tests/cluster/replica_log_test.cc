// What a replica appends by itself.
#include "cluster/replica_log.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using testing::MemoryLog;

TEST(ReplicaLogTest, AppendsByARightClockAndTellsWhatFails) {
  auto owned = std::make_unique<MemoryLog>();
  MemoryLog& memory_log = *owned;
  absl::Status clock;
  std::vector<std::string> events;
  Mutex mutex;
  const auto hear = [&](std::string_view event, std::string_view) {
    MutexLock lock(&mutex);
    events.emplace_back(event);
  };
  ReplicaLog log(std::move(owned), [&clock] { return clock; }, hear);
  const auto append = [&log] {
    std::promise<absl::StatusOr<LogOffset>> told;
    log.Append("record", [&](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get();
  };
  const auto heard = [&] {
    MutexLock lock(&mutex);
    return events.size();
  };
  EXPECT_EQ(append().value(), 0U);
  memory_log.FailAppends(absl::UnavailableError("away"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(heard(), 0U) << "who reads the log tells";
  memory_log.FailAppends(absl::FailedPreconditionError("may not"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(heard(), 1U);
  clock = absl::FailedPreconditionError("the clock is wrong");
  EXPECT_EQ(append().status(), clock);
  EXPECT_EQ(heard(), 2U);
  EXPECT_EQ(log.End({}).value(), 1U);
}

}  // namespace
}  // namespace mneme
