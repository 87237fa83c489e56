// What a front end holds of a query that it has no ram to begin, whichever allocation it is that fails. A program of
// its own: it takes the place of operator new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "cluster/remote_query.h"
#include "tests/engine/deployment_fixture.h"

namespace {

// Of this thread, until one fails; below 0: none does.
thread_local int allocations_left = -1;

}  // namespace

void* operator new(size_t bytes) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* const made = std::malloc(bytes == 0 ? 1 : bytes)) return made;
  throw std::bad_alloc();
}
void operator delete(void* made) noexcept { std::free(made); }
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

}  // namespace
}  // namespace mneme
