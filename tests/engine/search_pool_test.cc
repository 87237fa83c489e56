#include "engine/search_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "common/limits.h"

namespace mneme {
namespace {

using Tasks = std::vector<std::unique_ptr<SearchTask>>;

// Runs its function, given its name and those of the tasks that joined it.
class TestTask : public SearchTask {
 public:
  using Names = std::vector<int>;
  TestTask(int name, uint64_t affinity, size_t rows, std::function<void(Names)> run,
           std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max())
      : name_(name), affinity_(affinity), rows_(rows), run_(std::move(run)), deadline_(deadline) {}
  uint64_t affinity() const override { return affinity_; }
  size_t rows() const override { return rows_; }
  std::chrono::steady_clock::time_point deadline() const override { return deadline_; }
  void Run(std::vector<std::unique_ptr<SearchTask>> joined) override {
    Names names = {name_};
    for (const auto& task : joined) names.push_back(static_cast<const TestTask&>(*task).name_);
    run_(std::move(names));
  }

 private:
  const int name_;
  const uint64_t affinity_;
  const size_t rows_;
  const std::function<void(Names)> run_;
  const std::chrono::steady_clock::time_point deadline_;
};

std::unique_ptr<SearchTask> Alone(std::function<void()> run) {
  return std::make_unique<TestTask>(0, 0, 1, [run = std::move(run)](const TestTask::Names&) { run(); });
}

Tasks One(std::unique_ptr<SearchTask> task) {
  Tasks tasks;
  tasks.push_back(std::move(task));
  return tasks;
}

Tasks Repeat(size_t count, const std::function<void()>& run) {
  Tasks tasks;
  for (size_t i = 0; i < count; ++i) tasks.push_back(Alone(run));
  return tasks;
}

// A pool of one thread that is busy until Release().
class BusyPool {
 public:
  BusyPool() : pool_(std::make_unique<SearchPool>(1, /*max_batched_rows=*/8)) {
    EXPECT_TRUE(pool_->Submit(One(Alone([this] {
      busy_.count_down();
      released_.wait();
    }))).ok());
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
    for (int j = i; j < i + 3; ++j) tasks.push_back(Alone([&ran, j] { ran.push_back(j); }));
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
  const auto tasks = [&ran](size_t count) { return Repeat(count, [&ran] { ++ran; }); };
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

TEST(SearchPoolTest, RefusesWhatWouldNotBeDoneBeforeItsDeadline) {
  using std::chrono::milliseconds;
  const auto in = [](std::chrono::steady_clock::duration time, const std::function<void()>& run) {
    return One(std::make_unique<TestTask>(0, 0, 1, [run](const TestTask::Names&) { run(); },
                                          std::chrono::steady_clock::now() + time));
  };
  std::atomic<size_t> ran{0};
  const auto run = [&ran] { ++ran; };
  BusyPool pool;
  // Nothing has run yet: nobody knows.
  ASSERT_TRUE(pool->Submit(in(milliseconds(1), run)).ok());
  ASSERT_TRUE(pool->Submit(in(milliseconds(1), run)).ok());
  // A row takes 20 ms.
  std::latch again(1);
  std::latch released(1);
  ASSERT_TRUE(pool->Submit(Repeat(20, [] { std::this_thread::sleep_for(milliseconds(20)); })).ok());
  ASSERT_TRUE(pool->Submit(One(Alone([&] {
    again.count_down();
    released.wait();
  }))).ok());
  pool.Release();
  again.wait();
  EXPECT_TRUE(pool->Submit(in(milliseconds(1), run)).ok()) << "what comes to an idle pool is taken";
  for (int i = 0; i < 99; ++i) ASSERT_TRUE(pool->Submit(in(std::chrono::hours(1), run)).ok());
  const absl::Status refused = pool->Submit(in(milliseconds(1'000), run));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
  EXPECT_TRUE(pool->Submit(One(Alone(run))).ok()) << "whoever has no deadline waits";
  EXPECT_EQ(pool->queued(), 101U);
  released.count_down();
  pool.Destroy();
  EXPECT_EQ(ran, 103U);
}

TEST(SearchPoolTest, TakesTasksAgainOnceTheQueueIsShorter) {
  std::atomic<size_t> ran{0};
  BusyPool pool;
  ASSERT_TRUE(pool->Submit(Repeat(limits::kMaxQueuedSearches - 1, [&ran] { ++ran; })).ok());
  std::latch drained(1);
  ASSERT_TRUE(pool->Submit(One(Alone([&] { drained.count_down(); }))).ok());
  ASSERT_FALSE(pool->Submit(One(Alone([&ran] { ++ran; }))).ok());
  pool.Release();
  drained.wait();
  EXPECT_TRUE(pool->Submit(One(Alone([&ran] { ++ran; }))).ok());
  pool.Destroy();
  EXPECT_EQ(ran, limits::kMaxQueuedSearches);
}

TEST(SearchPoolTest, RunsAsManyTasksAtOnceAsItHasThreads) {
  SearchPool pool(4, 1);
  EXPECT_EQ(pool.threads(), 4U);
  // Each waits for all the others: they end only when they run at once.
  std::latch all(4);
  std::latch done(4);
  ASSERT_TRUE(pool.Submit(Repeat(4, [&] {
    all.arrive_and_wait();
    done.count_down();
  })).ok());
  done.wait();
  EXPECT_EQ(pool.queued(), 0U);
}

// Submits tasks 1, 2, ... of these (affinity, rows) to a busy pool, lets it go on and returns which ran together.
std::vector<TestTask::Names> RunsOf(const std::vector<std::pair<uint64_t, size_t>>& shapes) {
  std::vector<TestTask::Names> runs;
  BusyPool pool;
  int name = 0;
  for (const auto& [affinity, rows] : shapes) {
    EXPECT_TRUE(pool->Submit(One(std::make_unique<TestTask>(++name, affinity, rows, [&](TestTask::Names names) {
      runs.push_back(std::move(names));
    }))).ok());
  }
  pool.Release();
  pool.Destroy();
  return runs;
}

TEST(SearchPoolTest, TakesEverythingThatWaitsAndMayRunTogether) {
  using Runs = std::vector<TestTask::Names>;
  EXPECT_EQ(RunsOf({{7, 1}, {9, 1}, {7, 2}, {9, 1}, {7, 1}}), (Runs{{1, 3, 5}, {2, 4}}));
}

TEST(SearchPoolTest, LetsNothingJoinATaskWithoutAffinity) {
  using Runs = std::vector<TestTask::Names>;
  EXPECT_EQ(RunsOf({{0, 1}, {0, 1}, {7, 1}, {0, 1}, {7, 1}}), (Runs{{1}, {2}, {3, 5}, {4}}));
}

TEST(SearchPoolTest, BoundsTheRowsThatRunTogether) {
  using Runs = std::vector<TestTask::Names>;
  // Eight at most: the fourth is too much for the first batch, the fifth fits.
  EXPECT_EQ(RunsOf({{7, 3}, {7, 3}, {7, 1}, {7, 2}, {7, 1}}), (Runs{{1, 2, 3, 5}, {4}}));
  EXPECT_EQ(RunsOf({{7, 9}, {7, 1}, {7, 8}}), (Runs{{1}, {2}, {3}}));
}

TEST(SearchPoolTest, LeavesEachThreadItsShareOfWhatWaits) {
  SearchPool pool(2, 64);
  std::latch busy(2);
  std::latch released(1);
  ASSERT_TRUE(pool.Submit(Repeat(2, [&] {
    busy.count_down();
    released.wait();
  })).ok());
  busy.wait();
  std::atomic<size_t> longest{0};
  std::atomic<size_t> ran{0};
  for (int i = 0; i < 32; ++i) {
    ASSERT_TRUE(pool.Submit(One(std::make_unique<TestTask>(i, 7, 1, [&](const TestTask::Names& names) {
      size_t known = longest.load();
      while (known < names.size() && !longest.compare_exchange_weak(known, names.size())) {
      }
      ran += names.size();
    }))).ok());
  }
  released.count_down();
  pool.Stop();
  EXPECT_EQ(ran, 32U);
  EXPECT_EQ(longest, 16U);
}

}  // namespace
}  // namespace mneme
