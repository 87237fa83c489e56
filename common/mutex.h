// Mutex and CondVar: a mutex with thread-safety annotations, and conditions, on the standard library's primitives.
//
// absl::Mutex would do, but Debian's Abseil is built without ThreadSanitizer's annotations, and TSan then sees a race
// at every lock. std::mutex is intercepted by it.
#ifndef MNEME_COMMON_MUTEX_H_
#define MNEME_COMMON_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace mneme {

// Thread-safe.
class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Wakes threads that wait for a condition on what a Mutex guards. Notify after unlocking, so that whoever wakes finds
// the mutex free. Thread-safe.
class CondVar {
 public:
  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

  // Blocks until `condition()`, which is called with `mutex` held, is true.
  template <typename Condition>
  void Await(Mutex* mutex, const Condition& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    changed_.wait(lock, condition);
    lock.release();
  }

  // The same, for at most `timeout`; returns the condition's last value.
  template <typename Condition>
  bool AwaitFor(Mutex* mutex, std::chrono::nanoseconds timeout, const Condition& condition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    const bool met = changed_.wait_for(lock, timeout, condition);
    lock.release();
    return met;
  }

 private:
  std::condition_variable changed_;
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
