// States: the working memory of sessions, as the store keeps it.
//
// A session's record names a space, a number of its own, under which its states lie by name, and the frozen spaces
// (bases) below it: a state is the first of its name in the space and then in the bases, nearest first. So a fork
// copies nothing: the parent's space is frozen, and parent and child go on in fresh ones.
#ifndef MNEME_STORAGE_STATES_H_
#define MNEME_STORAGE_STATES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types.h"

namespace mneme {

struct SessionKey {
  MemoryNumber memory = 0;
  std::string session;
  friend auto operator<=>(const SessionKey&, const SessionKey&) = default;
};

// Where states lie by name. Numbers are never given twice on a shard.
struct StateSpace {
  MemoryNumber memory = 0;
  uint64_t number = 0;
  friend auto operator<=>(const StateSpace&, const StateSpace&) = default;
};

struct StateKey {
  StateSpace space;
  std::string name;
  uint32_t piece = 0;  // 0: the state itself; else a piece of it that is stored beside it
  friend auto operator<=>(const StateKey&, const StateKey&) = default;
};

struct SessionRecord {
  uint64_t number = 0;          // of its own space; > 0
  std::vector<uint64_t> bases = {};  // frozen spaces, nearest first
  uint64_t states = 0;          // that it has, those of its bases included
  uint64_t bytes = 0;           // of their names and payloads
  int64_t expiry_ms = 0;        // from then on it is as if it were not there; 0: never
  friend bool operator==(const SessionRecord&, const SessionRecord&) = default;
};

// Stored on disk: do not renumber.
enum class StateKind : uint8_t {
  kRemoved = 0,  // hides a state of a base; version 0, no payload
  kRegister = 1,
  kLinear = 2,
  kFeedback = 3,
  kCounters = 4,
  kExpired = 5,  // what is left of a state of a base that expired: its payload says how long the payload was
  kCounterMatrix = 6,  // counters, in pieces that the payload lists
  kPiece = 7,          // a piece of a state; version 0
};

struct StateRecord {
  StateKind kind = StateKind::kRegister;
  uint64_t version = 0;   // its writes so far
  int64_t expiry_ms = 0;  // 0: never
  std::string payload = {};  // opaque to storage
  friend bool operator==(const StateRecord&, const StateRecord&) = default;
};

using StatePtr = std::shared_ptr<const StateRecord>;  // null: there is none

// Says when a session, or a state that lies in a space of it, expires. Those whose session or state is not there any
// more, or expires at another time, mean nothing.
struct StateExpiry {
  int64_t expiry_ms = 0;
  MemoryNumber memory = 0;
  uint64_t space = 0;   // in which the state lies; 0: the session itself expires
  std::string session = {};  // that wrote it
  std::string name = {};
  friend auto operator<=>(const StateExpiry&, const StateExpiry&) = default;
};

// What a batch does to sessions, in this order. Nothing stands of a key means: it is removed.
struct StateWrites {
  std::vector<StateSpace> dropped_spaces;  // every state of them goes
  std::vector<std::pair<SessionKey, std::optional<SessionRecord>>> sessions;
  std::vector<std::pair<StateKey, StatePtr>> states;
  // Sessions that have a space among their bases; 0: the count is removed.
  std::vector<std::pair<StateSpace, uint64_t>> references;
  std::vector<StateExpiry> removed_expiries;
  std::vector<StateExpiry> added_expiries;
};

struct NamedSession {
  std::string session;
  SessionRecord record;
};

// Reads of one moment: nothing that is committed later is seen. Thread-safe; must not outlive its store.
// DATA_LOSS from any of them when a record is damaged.
class StateReader {
 public:
  virtual ~StateReader() = default;

  virtual absl::StatusOr<std::optional<SessionRecord>> FindSession(const SessionKey& key) const = 0;
  virtual absl::StatusOr<std::optional<StateRecord>> FindState(const StateKey& key) const = 0;
  // 0 when nothing is counted.
  virtual absl::StatusOr<uint64_t> FindReferences(const StateSpace& space) const = 0;
  // Calls `visit` for each state of a space by name, those that hide others too, but no pieces, until it returns false.
  virtual absl::Status ScanStates(const StateSpace& space,
                                  const std::function<bool(std::string_view name, StateRecord)>& visit) const = 0;
  // At most `limit` sessions that begin with `prefix` and come after `after`, in the order of their bytes.
  virtual absl::StatusOr<std::vector<NamedSession>> ScanSessions(MemoryNumber memory, std::string_view prefix,
                                                                 std::string_view after, size_t limit) const = 0;
  // At most `limit` expiries of any memory that are not before `from_ms`, in the order of their times.
  virtual absl::StatusOr<std::vector<StateExpiry>> ScanExpiries(int64_t from_ms, size_t limit) const = 0;
  // The memories of which anything but expiries is stored, ascending.
  virtual absl::StatusOr<std::vector<MemoryNumber>> Memories() const = 0;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_STATES_H_
