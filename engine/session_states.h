// SessionStates: the states of one session by name, through the frozen spaces of its forks.
#ifndef MNEME_ENGINE_SESSION_STATES_H_
#define MNEME_ENGINE_SESSION_STATES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/state_change.h"
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
  // A piece of the state that Find() finds. DATA_LOSS when it is not there.
  absl::StatusOr<StatePtr> FindPiece(const std::string& name, uint32_t number) const;
  // Writes a state, with what becomes of its pieces. Makes the session when there is none. RESOURCE_EXHAUSTED beyond
  // the limits of a session; store errors.
  absl::Status Put(const std::string& name, StatePtr state, StatePieces pieces = {});
  // Does nothing when there is none.
  absl::Status Remove(const std::string& name);
  // Everything that Find() finds, by name.
  absl::StatusOr<std::map<std::string, StatePtr>> All() const;
  // Makes a session without states; there must be none.
  void Make() { SetRecord(SessionRecord{.number = numbers_.Take()}); }
  // From when on the session is as if it were not there. It must exist.
  void SetExpiry(int64_t expiry_ms);
  // Makes `child`, which must not exist, a session with the same states: nothing of them is copied, but where more
  // frozen spaces lie below than limits::kMaxSessionBases. Both must be of one memory and overlay.
  absl::Status ForkTo(SessionStates& child);
  // The session goes, with the spaces that no other one needs.
  absl::Status RemoveSession();
  // The state that `due` names goes, if it is still there and expires then: as by Remove(), or in a space that became a
  // base of others, where all but its length goes. False when there is no such state.
  absl::StatusOr<bool> RemoveExpired(const StateExpiry& due);

 private:
  // A state as stored, expired ones too.
  struct Stored {
    StatePtr own;    // as it lies in the session's own space
    StatePtr shown;  // what the session shows, which may lie in a base
  };

  // Gathers all states in one fresh space, without bases.
  absl::Status Flatten();
  absl::Status ReleaseSpaces();
  absl::StatusOr<Stored> FindStored(const std::string& name) const;
  bool IsExpired(const StateRecord& state) const;
  absl::StatusOr<StatePtr> FindInBases(const std::string& name) const;
  StateKey KeyOf(uint64_t number, const std::string& name) const { return {{key_.memory, number}, name}; }
  // The pieces of a state in the session's own space go.
  absl::Status RemovePieces(const std::string& name, const StatePtr& own);
  // RESOURCE_EXHAUSTED when a session of this record may not be, or the state that made it so.
  static absl::Status CheckSize(const SessionRecord& record, const StateRecord& state);
  // Puts `state`, which may be null, in the place of `before` in the session's own space.
  void PutOwn(const std::string& name, StatePtr state, const StatePtr& before);
  void SetRecord(std::optional<SessionRecord> record);

  StateOverlay& overlay_;
  SpaceNumbers& numbers_;
  const SessionKey key_;
  const int64_t stamp_ms_;
  std::optional<SessionRecord> record_;
  // The state that was last looked for, so that a write does not read it again.
  mutable std::optional<std::pair<std::string, Stored>> last_found_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SESSION_STATES_H_
