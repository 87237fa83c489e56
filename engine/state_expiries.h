// StateExpiries: when a shard is next to be looked at for sessions and states past their expiry, and from where on.
#ifndef MNEME_ENGINE_STATE_EXPIRIES_H_
#define MNEME_ENGINE_STATE_EXPIRIES_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "engine/expiry_queue.h"
#include "engine/state_commands.h"

namespace mneme {

// What expires is stored in the order of its times (StateReader::ScanExpiries): here is only how far a look has come,
// so that none reads again what those before it removed. Thread-safe.
class StateExpiries {
 public:
  // Something expires at `expiry_ms`. Called after it is committed.
  void Note(int64_t expiry_ms) ABSL_LOCKS_EXCLUDED(mutex_) { NoteFrom(expiry_ms, expiry_ms); }
  // The same for a look that is to be taken from `from_ms` on, but not before `due_ms`, unless the clock is set back.
  void NoteFrom(int64_t from_ms, int64_t due_ms) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    from_ms_ = std::min(from_ms_, from_ms);
    due_ms_ = std::min(due_ms_, due_ms);
  }
  // When something expires at or before `until_ms`: from when on to look. It is forgotten: who takes it notes what
  // stays.
  std::optional<int64_t> Take(int64_t until_ms) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (until_ms < last_ms_) due_ms_ = std::min(due_ms_, std::max(from_ms_, until_ms));
    last_ms_ = until_ms;
    if (due_ms_ > until_ms) return std::nullopt;
    const int64_t from_ms = from_ms_;
    from_ms_ = due_ms_ = kNeverExpires;
    return from_ms;
  }

  // What was removed since the server started.
  void Count(const ExpiredStates& removed) {
    sessions_ += removed.sessions;
    states_ += removed.states;
  }
  ExpiredStates counts() const { return {sessions_.load(), states_.load()}; }

 private:
  Mutex mutex_;
  // At first whatever is stored.
  int64_t from_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t due_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_ms_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last Take()
  std::atomic<uint64_t> sessions_{0};
  std::atomic<uint64_t> states_{0};
};

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_EXPIRIES_H_
