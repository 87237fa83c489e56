// A program whose libraries wait by the steady clock: no wait lasts longer, or shorter, for the wall clock being set.
// The wall clock here is this program's own, which the libraries that it has ask, too; the kernel's stays as it is.
#include <grpcpp/alarm.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace {
std::atomic<int64_t> shift_seconds{0};
}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  const auto asked = static_cast<int>(syscall(SYS_clock_gettime, clock, out));
  if (asked == 0 && clock == CLOCK_REALTIME) out->tv_sec += shift_seconds;
  return asked;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now;
  const int asked = clock_gettime(CLOCK_REALTIME, &now);
  *out = {now.tv_sec, now.tv_nsec / 1000};
  return asked;
}

}  // extern "C"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t kHour = 3'600;
constexpr int64_t kTenYears = 10 * 365 * 24 * kHour;
constexpr milliseconds kWait{200};
// A wait by the kernel's wall clock would take an hour; this much, a machine that is busy.
constexpr std::chrono::seconds kPatience{60};

struct Wait {
  std::string name;
  std::function<void()> wait;  // for kWait, in vain
};

void AwaitCondVar() {
  absl::Mutex mutex;
  absl::CondVar never;
  absl::MutexLock lock(&mutex);
  const absl::Time end = absl::Now() + absl::FromChrono(kWait);
  while (!never.WaitWithDeadline(&mutex, end)) {
  }
}

// What wakes those who wait, for nothing: each time they wait on for the same moment.
class Wakener {
 public:
  explicit Wakener(std::function<void()> wake) : thread_([this, wake = std::move(wake)] {
    while (!ended_) {
      std::this_thread::sleep_for(kWait / 10);
      wake();
    }
  }) {}
  ~Wakener() {
    ended_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

void AwaitCondVarInSpiteOfWakeups() {
  absl::Mutex mutex;
  absl::CondVar woken;
  const Wakener wakener([&woken] { woken.SignalAll(); });
  absl::MutexLock lock(&mutex);
  const absl::Time end = absl::Now() + absl::FromChrono(kWait);
  while (!woken.WaitWithDeadline(&mutex, end)) {
  }
}

void AwaitCondition() {
  absl::Mutex mutex;
  bool never = false;
  absl::MutexLock lock(&mutex);
  EXPECT_FALSE(mutex.AwaitWithTimeout(absl::Condition(&never), absl::FromChrono(kWait)));
}

void AwaitNotification() {
  const absl::Notification never;
  EXPECT_FALSE(never.WaitForNotificationWithTimeout(absl::FromChrono(kWait)));
}

void AwaitAlarm() {
  std::promise<bool> rang;
  grpc::Alarm alarm;
  alarm.Set(std::chrono::system_clock::now() + kWait, [&rang](bool by_itself) { rang.set_value(by_itself); });
  EXPECT_TRUE(rang.get_future().get());
}

void AwaitOfC11() {
  mtx_t mutex;
  cnd_t woken;
  ASSERT_EQ(mtx_init(&mutex, mtx_plain), thrd_success);
  ASSERT_EQ(cnd_init(&woken), thrd_success);
  std::optional<Wakener> wakener(std::in_place, [&woken] { cnd_signal(&woken); });
  timespec end;
  ASSERT_EQ(clock_gettime(CLOCK_REALTIME, &end), 0);
  end.tv_nsec += std::chrono::nanoseconds(kWait).count();
  end.tv_sec += end.tv_nsec / 1'000'000'000;
  end.tv_nsec %= 1'000'000'000;
  mtx_lock(&mutex);
  int ended = thrd_success;
  while (ended == thrd_success) ended = cnd_timedwait(&woken, &mutex, &end);
  EXPECT_EQ(ended, thrd_timedout);
  mtx_unlock(&mutex);
  wakener.reset();
  cnd_destroy(&woken);
  mtx_destroy(&mutex);
}

std::vector<Wait> AllWaits() {
  return {{"a condition variable of Abseil", AwaitCondVar},
          {"one that is signalled", AwaitCondVarInSpiteOfWakeups},
          {"a condition of Abseil", AwaitCondition},
          {"a notification of Abseil", AwaitNotification},
          {"an alarm of gRPC", AwaitAlarm},
          {"a condition of C11", AwaitOfC11}};
}

// Sets the clock while `wait` waits, and says how long that took.
Steady::duration SetUnder(const Wait& wait, int64_t seconds) {
  std::promise<Steady::duration> took;
  std::thread waiter([&] {
    const auto begin = Steady::now();
    wait.wait();
    took.set_value(Steady::now() - begin);
  });
  std::this_thread::sleep_for(kWait / 4);
  shift_seconds += seconds;
  auto told = took.get_future();
  if (told.wait_for(kPatience) != std::future_status::ready) {
    std::fprintf(stderr, "%s waits by the wall clock\n", wait.name.c_str());
    std::abort();  // the thread would be waited for
  }
  waiter.join();
  return told.get();
}

TEST(SteadyWaitsTest, AWaitLastsAsLongAsWasMeantWhateverTheClockIsSetTo) {
  for (const Wait& wait : AllWaits()) {
    for (const int64_t seconds : {kHour, -kHour, -kHour, kHour, kTenYears, -kTenYears, -kTenYears, kTenYears}) {
      const auto took = SetUnder(wait, seconds);
      EXPECT_GE(took, kWait - milliseconds(2)) << wait.name << ", the clock set by " << seconds;
    }
  }
  EXPECT_EQ(shift_seconds, 0);
}

TEST(SteadyWaitsTest, AWaitWhoseEndIsPastEndsAtOnce) {
  absl::Mutex mutex;
  absl::CondVar never;
  absl::MutexLock lock(&mutex);
  for (const absl::Time end : {absl::InfinitePast(), absl::UnixEpoch(), absl::Now() - absl::Hours(24 * 365 * 30)}) {
    const auto begin = Steady::now();
    while (!never.WaitWithDeadline(&mutex, end)) {
    }
    EXPECT_LT(Steady::now() - begin, kPatience);
  }
}

TEST(SteadyWaitsTest, WhoWaitsWithoutAnEndIsWoken) {
  absl::Notification first;
  absl::Notification second;
  std::thread waiter([&] {
    first.WaitForNotification();
    second.Notify();
  });
  std::this_thread::sleep_for(milliseconds(20));
  first.Notify();
  second.WaitForNotification();
  waiter.join();
}

// Locks that many want, and conditions that some wait for with an end that comes often: no wakeup is lost, none counts
// twice.
TEST(SteadyWaitsTest, WhatIsHandedOnUnderALockArrivesOnce) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 5'000;
  absl::Mutex mutex;
  absl::CondVar changed;
  int turn = 0;
  int64_t handed = 0;
  int64_t timeouts = 0;
  std::vector<std::thread> threads;
  for (int own = 0; own < kThreads; ++own) {
    threads.emplace_back([&, own] {
      for (int round = 0; round < kRounds; ++round) {
        absl::MutexLock lock(&mutex);
        while (turn != own) {
          if (changed.WaitWithTimeout(&mutex, absl::Microseconds(50 * (own + 1)))) ++timeouts;
        }
        turn = (turn + 1) % kThreads;
        ++handed;
        changed.SignalAll();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(handed, int64_t{kThreads} * kRounds);
  EXPECT_EQ(turn, 0);
  EXPECT_GT(timeouts, 0) << "else no wait ended by its time";
}

}  // namespace
}  // namespace mneme
