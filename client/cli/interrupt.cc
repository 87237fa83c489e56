#include "client/cli/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <utility>

namespace mneme::cli {

Interrupt::Interrupt() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  waiter_ = std::thread([this] { Wait(); });
}

Interrupt::~Interrupt() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  pthread_kill(waiter_.native_handle(), SIGTERM);  // ends the wait; blocked everywhere, so it kills nothing
  waiter_.join();
}

void Interrupt::OnInterrupt(std::function<void()> hook) {
  absl::MutexLock lock(&mutex_);
  hook_ = std::move(hook);
}

void Interrupt::Wait() {
  int signal = 0;
  sigwait(&signals_, &signal);
  absl::MutexLock lock(&mutex_);
  if (stopped_) return;
  if (hook_) hook_();
  // No destructors: other threads are in the middle of calls.
  _exit(128 + signal);
}

}  // namespace mneme::cli
