// StateOverlay: what is stored of sessions, with planned changes on top, of which the last can be taken back.
#ifndef MNEME_ENGINE_STATE_OVERLAY_H_
#define MNEME_ENGINE_STATE_OVERLAY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/states.h"

namespace mneme {

// Reads see the changes. Errors are the store's. Not thread-safe.
class StateOverlay {
 public:
  explicit StateOverlay(std::unique_ptr<StateReader> reader) : reader_(std::move(reader)) {}

  absl::StatusOr<std::optional<SessionRecord>> FindSession(const SessionKey& key) const;
  absl::StatusOr<StatePtr> FindState(const StateKey& key) const;
  absl::StatusOr<uint64_t> FindReferences(const StateSpace& space) const;
  // Every state of a space, by name.
  absl::StatusOr<std::map<std::string, StatePtr>> StatesOf(const StateSpace& space) const;
  // True when a space holds no record.
  absl::StatusOr<bool> IsEmpty(const StateSpace& space) const;

  void PutSession(const SessionKey& key, std::optional<SessionRecord> record);
  void PutState(const StateKey& key, StatePtr state);
  void PutReferences(const StateSpace& space, uint64_t count);
  void AddExpiry(const StateExpiry& expiry);
  void RemoveExpiry(const StateExpiry& expiry);
  // A space that is dropped is never written to again.
  void DropSpace(const StateSpace& space);

  // RollBack(Mark()) takes back what was planned in between.
  size_t Mark() const { return undo_.size(); }
  void RollBack(size_t mark);

  // Payloads of planned states.
  uint64_t bytes() const { return bytes_; }
  // What was planned, as a batch takes it; the overlay is of no use afterwards.
  StateWrites TakeWrites();

 private:
  enum class ExpiryIs { kAdded, kRemoved };

  template <typename Map>
  void Put(Map& map, const typename Map::key_type& key, typename Map::mapped_type value);

  const std::unique_ptr<StateReader> reader_;
  std::map<SessionKey, std::optional<SessionRecord>> sessions_;
  std::map<StateKey, StatePtr> states_;
  std::map<StateSpace, uint64_t> references_;
  std::map<StateExpiry, ExpiryIs> expiries_;
  std::set<StateSpace> dropped_;
  uint64_t bytes_ = 0;
  std::vector<std::function<void()>> undo_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_STATE_OVERLAY_H_
