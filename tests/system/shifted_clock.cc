// A wall clock that a test sets under a running program (LD_PRELOAD): what the program asks of it is answered with a
// shift, and waits until a moment of it end when the shifted clock has come there, as the kernel has it where somebody
// sets the clock: earlier or later than was meant. Steady clocks and waits for a time are left alone.
//
// SHIFTED_CLOCK names a file of two i64: the shift in nanoseconds, and where the clock stands still, since 1970 (0: it
// goes). It is read with every call. libfaketime would do for the first half: what waits by futex(2) itself, as Abseil
// and so gRPC do, has the kernel's clock there.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace {

constexpr int64_t kSecond = 1'000'000'000;
// How often a wait looks whether the clock was set.
constexpr int64_t kLook = kSecond / 50;
// Of a condition that waits by the steady clock, in glibc's own words.
constexpr unsigned kSteadyCondition = 2;

struct Setting {
  std::atomic<int64_t> shift_ns;
  std::atomic<int64_t> stands_at_ns;
};

const Setting* OpenSetting() {
  const char* const path = std::getenv("SHIFTED_CLOCK");
  const int file = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  void* const mapped = file < 0 ? MAP_FAILED : mmap(nullptr, sizeof(Setting), PROT_READ, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) std::abort();
  close(file);
  return static_cast<const Setting*>(mapped);
}

// Libraries ask for the time before this one's variables are there.
const Setting& setting() {
  static const Setting* const opened = OpenSetting();
  return *opened;
}

timespec SpecOf(int64_t ns) { return {ns / kSecond, ns % kSecond}; }

int64_t NsOf(const timespec& time) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return time.tv_sec >= kMost / kSecond ? kMost : time.tv_sec * kSecond + time.tv_nsec;
}

using GetTime = int (*)(clockid_t, timespec*);
GetTime Original() {
  static const auto original = reinterpret_cast<GetTime>(dlsym(RTLD_NEXT, "clock_gettime"));
  return original;
}

int64_t SteadyNs() {
  timespec now;
  Original()(CLOCK_MONOTONIC, &now);
  return NsOf(now);
}

int64_t WallNs() {
  if (const int64_t stands_at = setting().stands_at_ns; stands_at != 0) return stands_at;
  timespec now;
  Original()(CLOCK_REALTIME, &now);
  return NsOf(now) + setting().shift_ns;
}

// The end of the next part of a wait that ends when the wall clock says `until_ns`, by the steady one.
timespec PartOf(int64_t until_ns) {
  const int64_t now_ns = WallNs();
  const int64_t left_ns = until_ns <= now_ns ? 0 : std::min(until_ns - now_ns, kLook);
  return SpecOf(SteadyNs() + left_ns);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return Original()(clock, out);
  *out = SpecOf(WallNs());
  return 0;
}

int gettimeofday(timeval* out, void*) noexcept {
  const int64_t now_ns = WallNs();
  *out = {now_ns / kSecond, now_ns % kSecond / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  const time_t now = WallNs() / kSecond;
  if (out != nullptr) *out = now;
  return now;
}

int timespec_get(timespec* out, int base) noexcept {
  if (base != TIME_UTC) return 0;
  *out = SpecOf(WallNs());
  return base;
}

// A part that ends without a word is a wakeup for nothing, which whoever waits must expect.
int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  if ((condition->__data.__wrefs & kSteadyCondition) != 0) {
    return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
  }
  const timespec part = PartOf(NsOf(*until));
  const int ended = pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &part);
  return ended == ETIMEDOUT && WallNs() < NsOf(*until) ? 0 : ended;
}

// glibc's are those of POSIX.
int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) {
  switch (pthread_cond_timedwait(reinterpret_cast<pthread_cond_t*>(condition),
                                 reinterpret_cast<pthread_mutex_t*>(mutex), until)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
  }
}

long syscall(long number, ...) noexcept {
  using Call = long (*)(long, ...);
  static const auto original = reinterpret_cast<Call>(dlsym(RTLD_NEXT, "syscall"));
  long given[6];
  va_list list;
  va_start(list, number);
  for (long& each : given) each = va_arg(list, long);
  va_end(list);
  const bool waits = number == SYS_futex && (given[1] & FUTEX_CLOCK_REALTIME) != 0 && given[3] != 0;
  if (!waits) return original(number, given[0], given[1], given[2], given[3], given[4], given[5]);
  const int64_t until_ns = NsOf(*reinterpret_cast<const timespec*>(given[3]));
  while (true) {
    const timespec part = PartOf(until_ns);
    const long ended = original(number, given[0], given[1] & ~long{FUTEX_CLOCK_REALTIME}, given[2],
                                reinterpret_cast<long>(&part), given[4], given[5]);
    if (ended == 0 || errno != ETIMEDOUT || WallNs() >= until_ns) return ended;
  }
}

}  // extern "C"
