#include "engine/search_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <numeric>

#include "common/error_reason.h"
#include "common/limits.h"

namespace mneme {
namespace {

using Tasks = std::vector<std::function<void()>>;

// A pool of one thread that is busy until Release().
class BusyPool {
 public:
  BusyPool() : pool_(std::make_unique<SearchPool>(1)) {
    EXPECT_TRUE(pool_->Submit({[this] {
      busy_.count_down();
      released_.wait();
    }}).ok());
    busy_.wait();
  }
  ~BusyPool() {
    if (!released_.try_wait()) Release();
  }
  SearchPool* operator->() { return pool_.get(); }
  void Release() { released_.count_down(); }
  // Returns when everything that waited has run.
  void Destroy() { pool_.reset(); }

 private:
  std::latch busy_{1};
  std::latch released_{1};
  std::unique_ptr<SearchPool> pool_;
};

TEST(SearchPoolTest, RunsWhatWaitsInTheOrderOfArrival) {
  std::vector<int> ran;
  std::vector<int> expected(300);
  std::iota(expected.begin(), expected.end(), 0);
  BusyPool pool;
  for (int i = 0; i < 300; i += 3) {
    Tasks tasks;
    for (int j = i; j < i + 3; ++j) tasks.push_back([&ran, j] { ran.push_back(j); });
    ASSERT_TRUE(pool->Submit(std::move(tasks)).ok());
  }
  EXPECT_EQ(pool->queued(), 300U);
  EXPECT_TRUE(ran.empty());
  pool.Release();
  pool.Destroy();
  EXPECT_EQ(ran, expected);
}

TEST(SearchPoolTest, QueuesAllTasksOfACallOrNone) {
  std::atomic<size_t> ran{0};
  const auto tasks = [&ran](size_t count) { return Tasks(count, [&ran] { ++ran; }); };
  BusyPool pool;
  ASSERT_TRUE(pool->Submit(tasks(limits::kMaxQueuedSearches - 2)).ok());
  const absl::Status refused = pool->Submit(tasks(3));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
  EXPECT_EQ(pool->queued(), limits::kMaxQueuedSearches - 2);
  ASSERT_TRUE(pool->Submit(tasks(2)).ok());
  EXPECT_EQ(pool->Submit(tasks(1)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(pool->Submit({}).ok());
  pool.Release();
  pool.Destroy();
  EXPECT_EQ(ran, limits::kMaxQueuedSearches);
}

TEST(SearchPoolTest, TakesTasksAgainOnceTheQueueIsShorter) {
  std::atomic<size_t> ran{0};
  BusyPool pool;
  ASSERT_TRUE(pool->Submit(Tasks(limits::kMaxQueuedSearches - 1, [&ran] { ++ran; })).ok());
  std::latch drained(1);
  ASSERT_TRUE(pool->Submit({[&] { drained.count_down(); }}).ok());
  ASSERT_FALSE(pool->Submit({[&ran] { ++ran; }}).ok());
  pool.Release();
  drained.wait();
  EXPECT_TRUE(pool->Submit({[&ran] { ++ran; }}).ok());
  pool.Destroy();
  EXPECT_EQ(ran, limits::kMaxQueuedSearches);
}

TEST(SearchPoolTest, RunsAsManyTasksAtOnceAsItHasThreads) {
  SearchPool pool(4);
  EXPECT_EQ(pool.threads(), 4U);
  // Each waits for all the others: they end only when they run at once.
  std::latch all(4);
  std::latch done(4);
  ASSERT_TRUE(pool.Submit(Tasks(4, [&] {
    all.arrive_and_wait();
    done.count_down();
  })).ok());
  done.wait();
  EXPECT_EQ(pool.queued(), 0U);
}

}  // namespace
}  // namespace mneme
