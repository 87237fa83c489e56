// What a replica appends by itself.
#include "cluster/replica_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "engine/log_record.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using testing::MemoryLog;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const LogRecord kExpiry{7, 258, ExpireRowsCommand{3, {{7, 1}}}, 9};
const LogRecord kPrune{7, 258, MergeRowsCommand{3, {{{300, 5}}, {1}, {{301, 6}}}}, 9};

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
  ReplicaLog log(std::move(owned), [&](int64_t stamp_ms) {
    EXPECT_EQ(stamp_ms, kExpiry.stamp_ms);
    return clock;
  }, hear);
  const auto append = [&log](const LogRecord& record = kExpiry) {
    std::promise<absl::StatusOr<LogOffset>> told;
    log.Append(EncodeLogRecord(record), [&](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get();
  };
  const auto heard = [&] {
    MutexLock lock(&mutex);
    return events;
  };
  EXPECT_EQ(append().value(), 0U);
  memory_log.FailAppends(absl::UnavailableError("away"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(heard(), IsEmpty()) << "who reads the log tells";
  memory_log.FailAppends(absl::FailedPreconditionError("may not"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(heard(), ElementsAre("expiry_failed"));
  memory_log.FailAppends(absl::FailedPreconditionError("may not"), 1, MemoryLog::Fate::kLost);
  EXPECT_EQ(append(kPrune).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(heard(), ElementsAre("expiry_failed", "prune_failed"));
  clock = absl::FailedPreconditionError("the clock is wrong");
  EXPECT_EQ(append().status(), clock);
  EXPECT_EQ(append(kPrune).status(), clock);
  EXPECT_THAT(heard(), ElementsAre("expiry_failed", "prune_failed", "expiry_failed", "prune_failed"));
  EXPECT_EQ(log.End({}).value(), 1U);
}

}  // namespace
}  // namespace mneme
