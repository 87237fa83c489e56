#include "cluster/call_timer.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace mneme {
namespace {

constexpr std::chrono::nanoseconds kShortestRest = std::chrono::milliseconds(1);

}  // namespace

CallTimer::CallTimer() : thread_([this] { Run(); }) {}

CallTimer::~CallTimer() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void CallTimer::At(Time when, std::function<void()> work) {
  bool first = false;
  {
    MutexLock lock(&mutex_);
    first = waiting_.empty() || when < waiting_.begin()->first;
    waiting_.emplace(when, std::move(work));
  }
  if (first) changed_.NotifyAll();
}

void CallTimer::Run() {
  while (true) {
    std::vector<std::function<void()>> due;
    {
      MutexLock lock(&mutex_);
      changed_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !waiting_.empty();
      });
      if (stopping_) return;
      const Time next = waiting_.begin()->first;
      const Time now = std::chrono::steady_clock::now();
      if (next > now) {
        const auto sooner = [this, next]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return stopping_ || waiting_.begin()->first < next;
        };
        (void)changed_.AwaitFor(&mutex_, std::max<std::chrono::nanoseconds>(next - now, kShortestRest), sooner);
        continue;
      }
      const auto end = waiting_.upper_bound(now);
      for (auto at = waiting_.begin(); at != end; ++at) due.push_back(std::move(at->second));
      waiting_.erase(waiting_.begin(), end);
    }
    for (const auto& work : due) work();
  }
}

}  // namespace mneme
