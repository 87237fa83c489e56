// Mutex: a mutex with thread-safety annotations and conditions, on the standard library's primitives.
//
// absl::Mutex would do, but Debian's Abseil is built without ThreadSanitizer's annotations, and TSan then sees a race at
// every lock. std::mutex is intercepted by it.
#ifndef MNEME_COMMON_MUTEX_H_
#define MNEME_COMMON_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace mneme {

// Thread-safe. Conditions are looked at again whenever the mutex is unlocked while somebody waits.
class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    const bool somebody_waits = waiting_ != 0;
    // Notified before unlocking: whoever wakes may destroy this mutex.
    if (somebody_waits) changed_.notify_all();
    mutex_.unlock();
  }

  // Blocks until `condition()`, which is called with the mutex held, is true.
  template <typename Condition>
  void Await(const Condition& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    while (!condition()) {
      Waiting waiting(*this);
      changed_.wait(waiting.lock);
    }
  }

  // The same, for at most `timeout`; returns the condition's last value.
  template <typename Condition>
  bool AwaitFor(std::chrono::nanoseconds timeout, const Condition& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (!condition()) {
      Waiting waiting(*this);
      if (changed_.wait_until(waiting.lock, deadline) == std::cv_status::timeout) return condition();
    }
    return true;
  }

 private:
  // Lends the held mutex to a condition variable.
  struct Waiting {
    explicit Waiting(Mutex& owner) : mutex(owner), lock(owner.mutex_, std::adopt_lock) { ++mutex.waiting_; }
    ~Waiting() {
      --mutex.waiting_;
      lock.release();
    }
    Mutex& mutex;
    std::unique_lock<std::mutex> lock;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;  // guarded by mutex_
};

// Holds a Mutex for its scope.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

}  // namespace mneme

#endif  // MNEME_COMMON_MUTEX_H_
