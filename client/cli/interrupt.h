// Interrupt: Ctrl-C and SIGTERM as an ordinary call on an ordinary thread.
#ifndef MNEME_CLIENT_CLI_INTERRUPT_H_
#define MNEME_CLIENT_CLI_INTERRUPT_H_

#include <csignal>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace mneme::cli {

// Waits for SIGINT and SIGTERM on a thread of its own; when one comes, calls the hook that is set (remove a partial
// file, print how to go on) and ends the process with 128 + the signal's number (130 for Ctrl-C). Create it before any
// other thread: they inherit the blocked signals. Thread-safe.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();

  // Replaces the hook; it must not use what may be gone when it runs. Pass {} to clear it.
  void OnInterrupt(std::function<void()> hook) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Wait() ABSL_LOCKS_EXCLUDED(mutex_);

  sigset_t signals_;
  absl::Mutex mutex_;
  std::function<void()> hook_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread waiter_;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_INTERRUPT_H_
