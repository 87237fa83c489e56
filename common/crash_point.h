// CrashPoint: a named moment at which a test may end the process, to see that what it leaves behind is made good.
// Builds without tests have none: a call is nothing.
#ifndef MNEME_COMMON_CRASH_POINT_H_
#define MNEME_COMMON_CRASH_POINT_H_

#ifdef MNEME_CRASH_POINTS
#include <atomic>
#endif

namespace mneme {

#ifdef MNEME_CRASH_POINTS

// Set by a test in a process of its own; called with the name of every point that is passed, on any thread.
inline std::atomic<void (*)(const char* name)> crash_hook{nullptr};

inline void CrashPoint(const char* name) {
  if (auto* const hook = crash_hook.load(std::memory_order_acquire)) hook(name);
}

#else

inline void CrashPoint(const char*) {}

#endif

}  // namespace mneme

#endif  // MNEME_COMMON_CRASH_POINT_H_
