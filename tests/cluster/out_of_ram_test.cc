// What a front end holds of a query, or a write, that it has no ram to begin, whichever allocation it is that fails. A
// program of its own: it takes the place of operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <new>
#include <utility>

#include "cluster/remote_query.h"
#include "common/error_reason.h"
#include "engine/log_record.h"
#include "tests/cluster/logged_port_fixture.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace {

// Of this thread, until one fails; below 0: none does.
thread_local int allocations_left = -1;

}  // namespace

void* operator new(size_t bytes) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* const made = std::malloc(bytes == 0 ? 1 : bytes)) return made;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* made) noexcept { std::free(made); }
void operator delete(void* made, const std::nothrow_t&) noexcept { std::free(made); }
void operator delete(void* made, size_t) noexcept { std::free(made); }

namespace mneme {
namespace {

class OutOfRamTest : public ::testing::Test {
 protected:
  OutOfRamTest() {
    MemoryRecord record;
    record.number = 7;
    record.spec = testing::TokenMemory("wiki", 1);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  // Of a version that no shard has, so that no shard is asked.
  static QueryCommand Refused() {
    QueryCommand command;
    command.queries.Resize(sizeof(float));
    *command.queries.as<float>() = 0.0F;
    command.count = 1;
    command.k = 10;
    command.at_least = Version{7, {{9, 1}}};
    return command;
  }

  MemoryHandle memory_;
  const ShardFan fan_{1, {{"127.0.0.1:1"}}, nullptr};
  SearchPool pool_{1, /*max_batched_rows=*/1};
  QueryAdmission admission_;
  const RemoteQueryContext context_{&fan_, &pool_, &admission_};
};

TEST_F(OutOfRamTest, NothingStaysAdmittedOfAQueryThatCannotBeBegun) {
  int failed = 0;
  bool told = false;
  for (bool begun = false; !begun; ++failed) {
    ASSERT_LT(failed, 1'000);
    QueryCommand command = Refused();
    MemoryHandle memory = memory_;
    std::function<void(absl::StatusOr<QueryOutcome>)> done = [&](const absl::StatusOr<QueryOutcome>& outcome) {
      told = absl::IsInvalidArgument(outcome.status()) && admission_.queries() == 0;
    };
    allocations_left = failed;
    try {
      ExecuteRemoteQuery(context_, std::move(memory), std::move(command), std::move(done));
      begun = allocations_left >= 0;
    } catch (const std::bad_alloc&) {
      begun = false;
    }
    allocations_left = -1;
    EXPECT_EQ(admission_.queries(), 0U) << "after allocation " << failed;
    EXPECT_EQ(admission_.bytes(), 0U) << "after allocation " << failed;
  }
  EXPECT_TRUE(told);
  EXPECT_GT(failed, 3) << "so many allocations a query begins with";
}

class LoggedOutOfRamTest : public testing::LoggedPortFixture {
 protected:
  // Of a write of `entries`, over `log`. One that throws is not told, and any other once; how many others failed.
  int ExpectNothingStays(testing::MemoryLog& log, size_t entries) {
    std::atomic<int> told{0};
    int to_tell = 0;
    {
      LoggedShardPort port(Over(log));
      int failed = 0;
      for (bool written = false; !written && failed < 10'000; ++failed) {
        const auto promise = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
        InsertOperation insert = Insert(1, entries);
        insert.ticket.done = [&told, promise](absl::StatusOr<WriteResult> result) {
          ++told;
          promise->set_value(std::move(result));
        };
        bool thrown = false;
        absl::Status submitted;
        allocations_left = failed;
        try {
          submitted = port.Submit(std::move(insert));
        } catch (const std::bad_alloc&) {
          thrown = true;
        }
        allocations_left = -1;
        EXPECT_TRUE(submitted.ok()) << submitted;
        if (!thrown && submitted.ok()) {
          ++to_tell;
          const absl::StatusOr<WriteResult> result = promise->get_future().get();
          written = result.ok();
          EXPECT_TRUE(written || ReasonOf(result.status()) == reason::kMemoryLimit) << result.status();
        }
        EXPECT_EQ(port.bytes(), 0U) << "after allocation " << failed;
      }
      EXPECT_GT(failed, 5) << "so many allocations a write begins with";
      port.GiveUp();
    }
    EXPECT_EQ(told.load(), to_tell) << "who heard that there is no ram is told nothing more when the front end stops";
    return to_tell - 1;
  }
};

TEST_F(LoggedOutOfRamTest, NothingStaysOfAWriteThatTheLogCannotBeGiven) {
  testing::MemoryLog log;
  EXPECT_EQ(ExpectNothingStays(log, 1), 0);
}

TEST_F(LoggedOutOfRamTest, NothingStaysOfAWriteOfSeveralRecordsOfWhichOneCannotBeGiven) {
  testing::MemoryLog log(EncodeLogRecord(testing::kDeployment, Insert(1, 4)).value().size());
  EXPECT_GT(ExpectNothingStays(log, 8), 0) << "the log had some of it";
}

}  // namespace
}  // namespace mneme
