#include "engine/search_pool.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Rows that share one pass over the keys: a smaller share would leave the pass half empty.
constexpr size_t kMinShareRows = 8;
// Of what a row takes, the last run counts so much.
constexpr double kNewest = 0.125;

size_t RowsOf(const std::vector<std::unique_ptr<SearchTask>>& tasks) {
  size_t rows = 0;
  for (const auto& task : tasks) rows += task->rows();
  return rows;
}

}  // namespace

SearchPool::SearchPool(size_t threads, size_t max_batched_rows) : max_batched_rows_(max_batched_rows) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

SearchPool::~SearchPool() { Stop(); }

void SearchPool::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  arrived_.NotifyAll();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

absl::Status SearchPool::Submit(Tasks tasks) {
  const size_t count = tasks.size();
  {
    MutexLock lock(&mutex_);
    RETURN_IF_ERROR(Enqueue(tasks));
  }
  for (size_t i = 0; i < count; ++i) arrived_.NotifyOne();
  return absl::OkStatus();
}

absl::Status SearchPool::Enqueue(Tasks& tasks) {
  if (stopping_) return absl::UnavailableError("the server is shutting down");
  // What comes to an idle pool is taken whole, however many shards it has.
  if (!tasks_.empty() && tasks_.size() + tasks.size() > limits::kMaxQueuedSearches) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(tasks_.size(), " searches are waiting; the bound is ",
                                                                limits::kMaxQueuedSearches)),
                      reason::kQueueFull);
  }
  RETURN_IF_ERROR(CheckDeadline(tasks));
  queued_rows_ += RowsOf(tasks);
  for (auto& task : tasks) tasks_.push_back(std::move(task));
  return absl::OkStatus();
}

// What runs now, what waits, and the batch that these will be in.
absl::Status SearchPool::CheckDeadline(const Tasks& tasks) const {
  if (tasks_.empty() || tasks.empty() || row_time_.count() == 0) return absl::OkStatus();
  auto deadline = std::chrono::steady_clock::time_point::max();
  for (const auto& task : tasks) deadline = std::min(deadline, task->deadline());
  if (deadline == std::chrono::steady_clock::time_point::max()) return absl::OkStatus();
  const double rows = static_cast<double>(queued_rows_ + RowsOf(tasks)) / static_cast<double>(threads_.size());
  const double batch = std::min(rows, static_cast<double>(max_batched_rows_));
  const auto takes = (rows + 2 * batch) * row_time_;
  const std::chrono::duration<double> left = deadline - std::chrono::steady_clock::now();
  if (takes <= left) return absl::OkStatus();
  const auto ms = [](std::chrono::duration<double> time) { return static_cast<int64_t>(1000 * time.count()); };
  const std::string text = absl::StrCat(tasks_.size(), " searches are waiting: this one would be done in some ",
                                        ms(takes), " ms, and its deadline is in ", ms(left), " ms");
  return WithReason(absl::ResourceExhaustedError(text), reason::kQueueFull);
}

// Everything that waits is shared with the other threads, which are soon free as well: one long batch would leave them
// with what little comes meanwhile.
SearchPool::Tasks SearchPool::TakeJoining(const SearchTask& first) {
  Tasks joined;
  if (first.affinity() == 0 || first.rows() >= max_batched_rows_) return joined;
  size_t waiting = first.rows();
  for (const auto& task : tasks_) {
    if (task->affinity() == first.affinity()) waiting += task->rows();
  }
  if (waiting == first.rows()) return joined;
  const size_t share = std::max((waiting + threads_.size() - 1) / threads_.size(), kMinShareRows);
  const size_t bound = std::min(share, max_batched_rows_);
  size_t rows = first.rows();
  for (auto& task : tasks_) {
    if (task->affinity() != first.affinity() || rows + task->rows() > bound) continue;
    rows += task->rows();
    joined.push_back(std::move(task));
  }
  std::erase(tasks_, nullptr);
  queued_rows_ -= rows - first.rows();
  return joined;
}

size_t SearchPool::queued() const {
  MutexLock lock(&mutex_);
  return tasks_.size();
}

void SearchPool::Run() {
  while (true) {
    std::unique_ptr<SearchTask> first;
    Tasks joined;
    {
      MutexLock lock(&mutex_);
      arrived_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !tasks_.empty() || stopping_; });
      if (tasks_.empty()) return;
      first = std::move(tasks_.front());
      tasks_.pop_front();
      queued_rows_ -= first->rows();
      joined = TakeJoining(*first);
    }
    const size_t rows = first->rows() + RowsOf(joined);
    const auto begin = std::chrono::steady_clock::now();
    first->Run(std::move(joined));
    if (rows == 0) continue;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto row_time = took / static_cast<double>(rows);
    MutexLock lock(&mutex_);
    row_time_ += (row_time_.count() == 0 ? 1.0 : kNewest) * (row_time - row_time_);
  }
}

}  // namespace mneme
