// SessionStates: the states of one session by name, through the frozen spaces of its forks.
#ifndef MNEME_ENGINE_SESSION_STATES_H_
#define MNEME_ENGINE_SESSION_STATES_H_

#include <cstdint>
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
  // The session goes, with the spaces that no other one needs.
  absl::Status RemoveSession();

 private:
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
