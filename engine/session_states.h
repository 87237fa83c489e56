// SessionStates: the states of one session by name, through the frozen spaces of its forks.
#ifndef MNEME_ENGINE_SESSION_STATES_H_
#define MNEME_ENGINE_SESSION_STATES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/state_overlay.h"

namespace mneme {

// Gives the numbers of spaces: unique on a shard, since no two operations of it have the same sequence.
class SpaceNumbers {
 public:
  explicit SpaceNumbers(uint64_t sequence) : next_(sequence << kBits) {}
  uint64_t Take() { return next_++; }

 private:
  // More than the spaces that any operation needs (limits::kMaxStateOperations, and two of each fork).
  static constexpr int kBits = 16;
  uint64_t next_;
};

// True for the errors that an operation is answered with; all others are the store's, and end the whole request.
bool IsOfTheOperation(const absl::Status& status);

// Borrows the overlay, into which it plans. Not thread-safe.
class SessionStates {
 public:
  // What expires at or before `stamp_ms` is as if it were not there.
  SessionStates(StateOverlay& overlay, SpaceNumbers& numbers, SessionKey key, int64_t stamp_ms)
      : overlay_(overlay), numbers_(numbers), key_(std::move(key)), stamp_ms_(stamp_ms) {}

  // Reads the session's record; before anything else. Store errors.
  absl::Status Open();
  bool exists() const { return record_.has_value(); }
  const SessionRecord& record() const { return *record_; }

  // Null when there is none, or it expired.
  absl::StatusOr<StatePtr> Find(const std::string& name) const;
  // Makes the session when there is none. RESOURCE_EXHAUSTED beyond the limits of a session; store errors.
  absl::Status Put(const std::string& name, StateRecord state);
  // Does nothing when there is none.
  absl::Status Remove(const std::string& name);
  // Everything that Find() finds, by name.
  absl::StatusOr<std::map<std::string, StatePtr>> All() const;
  // Makes a session without states; there must be none.
  void Make() { SetRecord({.number = numbers_.Take()}); }
  // From when on the session is as if it were not there. It must exist.
  void SetExpiry(int64_t expiry_ms);
  // Makes `child`, which must not exist, a session with the same states: nothing of them is copied, but where more
  // frozen spaces lie below than limits::kMaxSessionBases. Both must be of one memory and overlay.
  absl::Status ForkTo(SessionStates& child);
  // The session goes, with the spaces that no other one needs.
  absl::Status RemoveSession();

 private:
  // Gathers all states in one fresh space, without bases.
  absl::Status Flatten();
  absl::Status ReleaseSpaces();
  // As stored, expired ones too.
  absl::StatusOr<StatePtr> FindStored(const std::string& name) const;
  absl::StatusOr<StatePtr> FindInBases(const std::string& name) const;
  StateKey KeyOf(uint64_t number, const std::string& name) const { return {{key_.memory, number}, name}; }
  void SetRecord(SessionRecord record);

  StateOverlay& overlay_;
  SpaceNumbers& numbers_;
  const SessionKey key_;
  const int64_t stamp_ms_;
  std::optional<SessionRecord> record_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SESSION_STATES_H_
