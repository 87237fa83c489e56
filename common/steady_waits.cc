// How long the libraries of a program wait, whatever becomes of the wall clock meanwhile. Linked into programs alone
// (mneme_steady_waits): what a program defines comes before what its libraries do.
//
// Abseil 20220623 and C11's threads of glibc wait until a moment of the wall clock, of which the kernel knows the end:
// a wait that is under way when the clock is set back lasts longer by as much. So gRPC, which waits by Abseil for its
// next timer, would keep no deadline of a call, connect to nobody again and notice no silent connection for an hour
// when the clock is set back by one; and librdkafka, which waits by glibc, would neither time out nor end.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <optional>

#include "absl/base/config.h"
#include "absl/synchronization/internal/create_thread_identity.h"
#include "absl/synchronization/internal/kernel_timeout.h"
#include "absl/synchronization/internal/waiter.h"

static_assert(ABSL_LTS_RELEASE_VERSION == 20220623, "later ones wait by the steady clock themselves, since 20230802");
static_assert(ABSL_WAITER_MODE == ABSL_WAITER_MODE_FUTEX);

namespace {

constexpr int64_t kSecond = 1'000'000'000;

timespec Now(clockid_t clock) {
  timespec now;
  if (clock_gettime(clock, &now) != 0) std::abort();
  return now;
}

// A moment of the wall clock, and when that was to come.
struct Moment {
  timespec wall = {0, 0};
  timespec steady = {0, 0};  // long over
};

// When the wall clock will say `wall`, unless somebody sets it; or would have, when this thread waited for that moment
// just before: who is woken before it has come, and waits on, means no other.
timespec SteadyTimeOf(const timespec& wall) {
  thread_local Moment awaited;
  if (wall.tv_sec == awaited.wall.tv_sec && wall.tv_nsec == awaited.wall.tv_nsec) return awaited.steady;
  const timespec now = Now(CLOCK_REALTIME);
  const timespec steady = Now(CLOCK_MONOTONIC);
  const int64_t ns = steady.tv_nsec + wall.tv_nsec - now.tv_nsec;  // in (-1 s, 2 s)
  const int64_t carried = ns < 0 ? -1 : ns / kSecond;
  const int64_t seconds = steady.tv_sec + (wall.tv_sec - now.tv_sec) + carried;
  awaited.wall = wall;
  awaited.steady = seconds < 0 ? timespec{0, 0} : timespec{seconds, ns - carried * kSecond};
  return awaited.steady;
}

}  // namespace

extern "C" {

// Abseil's own, which it lets programs replace: takes one of the permits of this thread, which others post, or returns
// false at the end. What it does beside that is for who counts threads that are idle, and nobody does.
bool ABSL_INTERNAL_C_SYMBOL(AbslInternalPerThreadSemWait)(absl::synchronization_internal::KernelTimeout timeout) {
  auto* const identity = absl::synchronization_internal::GetOrCreateCurrentThreadIdentity();
  // What a Waiter consists of.
  static_assert(sizeof(absl::synchronization_internal::Waiter) == sizeof(std::atomic<int32_t>));
  auto* const permits = reinterpret_cast<std::atomic<int32_t>*>(
      absl::synchronization_internal::Waiter::GetWaiter(identity));
  std::optional<timespec> end;
  if (timeout.has_timeout()) end = SteadyTimeOf(timeout.MakeAbsTimespec());
  while (true) {
    int32_t left = permits->load(std::memory_order_relaxed);
    while (left != 0) {
      if (permits->compare_exchange_weak(left, left - 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
    const int64_t woken = syscall(SYS_futex, permits, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0,
                                  end.has_value() ? &*end : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
    if (woken == 0 || errno == EINTR || errno == EAGAIN) continue;
    if (errno != ETIMEDOUT) std::abort();
    return false;
  }
}

// glibc's conditions and mutexes of C11 are those of POSIX.
int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* wall) {
  static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t) && sizeof(mtx_t) <= sizeof(pthread_mutex_t));
  const timespec end = SteadyTimeOf(*wall);
  switch (pthread_cond_clockwait(reinterpret_cast<pthread_cond_t*>(condition),
                                 reinterpret_cast<pthread_mutex_t*>(mutex), CLOCK_MONOTONIC, &end)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
  }
}

}  // extern "C"
