// Threads that work in the background yield to those that search and write.
#ifndef MNEME_COMMON_NICER_THREAD_H_
#define MNEME_COMMON_NICER_THREAD_H_

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mneme {

// Whose thread calls it is so much nicer than the others from now on, or as it was where the system does not let it.
inline void MakeThreadNicer() {
  constexpr int kNicer = 10;
  // Per-thread on Linux: only this thread becomes nicer.
  const id_t thread = static_cast<id_t>(syscall(SYS_gettid));
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kNicer);
}

}  // namespace mneme

#endif  // MNEME_COMMON_NICER_THREAD_H_
