#include "engine/state_overlay.h"

#include <utility>

#include "common/status_macros.h"

namespace mneme {
namespace {

uint64_t BytesOf(const StatePtr& state) { return state == nullptr ? 0 : state->payload.size(); }

}  // namespace

absl::StatusOr<std::optional<SessionRecord>> StateOverlay::FindSession(const SessionKey& key) const {
  const auto planned = sessions_.find(key);
  if (planned != sessions_.end()) return planned->second;
  return reader_->FindSession(key);
}

absl::StatusOr<StatePtr> StateOverlay::FindState(const StateKey& key) const {
  const auto planned = states_.find(key);
  if (planned != states_.end()) return planned->second;
  if (dropped_.contains(key.space)) return nullptr;
  ASSIGN_OR_RETURN(std::optional<StateRecord> stored, reader_->FindState(key));
  return stored.has_value() ? std::make_shared<const StateRecord>(*std::move(stored)) : nullptr;
}

absl::StatusOr<uint64_t> StateOverlay::FindReferences(const StateSpace& space) const {
  const auto planned = references_.find(space);
  if (planned != references_.end()) return planned->second;
  return reader_->FindReferences(space);
}

absl::StatusOr<std::map<std::string, StatePtr>> StateOverlay::StatesOf(const StateSpace& space) const {
  std::map<std::string, StatePtr> states;
  if (!dropped_.contains(space)) {
    RETURN_IF_ERROR(reader_->ScanStates(space, [&](std::string_view name, StateRecord state) {
      states[std::string(name)] = std::make_shared<const StateRecord>(std::move(state));
      return true;
    }));
  }
  for (auto at = states_.lower_bound({space, ""}); at != states_.end() && at->first.space == space; ++at) {
    if (at->first.piece != 0) continue;
    at->second != nullptr ? void(states[at->first.name] = at->second) : void(states.erase(at->first.name));
  }
  return states;
}

absl::StatusOr<bool> StateOverlay::IsEmpty(const StateSpace& space) const {
  bool found = false;
  std::set<std::string> removed;
  for (auto at = states_.lower_bound({space, ""}); at != states_.end() && at->first.space == space; ++at) {
    if (at->first.piece != 0) continue;
    found |= at->second != nullptr;
    if (at->second == nullptr) removed.insert(at->first.name);
  }
  if (found || dropped_.contains(space)) return !found;
  RETURN_IF_ERROR(reader_->ScanStates(space, [&](std::string_view name, const StateRecord&) {
    found = !removed.contains(std::string(name));
    return !found;
  }));
  return !found;
}

template <typename Map>
void StateOverlay::Put(Map& map, const typename Map::key_type& key, typename Map::mapped_type value) {
  const auto at = map.find(key);
  if (at == map.end()) {
    undo_.push_back([&map, key] { map.erase(key); });
    map.emplace(key, std::move(value));
    return;
  }
  undo_.push_back([&map, key, before = std::move(at->second)] { map.at(key) = before; });
  at->second = std::move(value);
}

void StateOverlay::PutSession(const SessionKey& key, std::optional<SessionRecord> record) {
  Put(sessions_, key, std::move(record));
}

void StateOverlay::PutState(const StateKey& key, StatePtr state) {
  const auto planned = states_.find(key);
  undo_.push_back([this, before = bytes_] { bytes_ = before; });
  bytes_ += BytesOf(state) - (planned != states_.end() ? BytesOf(planned->second) : 0);
  Put(states_, key, std::move(state));
}

void StateOverlay::PutReferences(const StateSpace& space, uint64_t count) { Put(references_, space, count); }

void StateOverlay::AddExpiry(const StateExpiry& expiry) { Put(expiries_, expiry, ExpiryIs::kAdded); }

void StateOverlay::RemoveExpiry(const StateExpiry& expiry) { Put(expiries_, expiry, ExpiryIs::kRemoved); }

void StateOverlay::DropSpace(const StateSpace& space) {
  const auto begin = states_.lower_bound({space, ""});
  auto end = begin;
  uint64_t gone = 0;
  for (; end != states_.end() && end->first.space == space; ++end) gone += BytesOf(end->second);
  undo_.push_back([this, space, before = bytes_, states = std::map<StateKey, StatePtr>(begin, end)] {
    states_.insert(states.begin(), states.end());
    dropped_.erase(space);
    bytes_ = before;
  });
  states_.erase(begin, end);
  dropped_.insert(space);
  bytes_ -= gone;
}

void StateOverlay::RollBack(size_t mark) {
  while (undo_.size() > mark) {
    undo_.back()();
    undo_.pop_back();
  }
}

StateWrites StateOverlay::TakeWrites() {
  StateWrites writes;
  writes.dropped_spaces.assign(dropped_.begin(), dropped_.end());
  for (auto& [key, record] : sessions_) writes.sessions.emplace_back(key, std::move(record));
  writes.states.assign(states_.begin(), states_.end());
  for (const auto& [expiry, is] : expiries_) {
    (is == ExpiryIs::kAdded ? writes.added_expiries : writes.removed_expiries).push_back(expiry);
  }
  for (const auto& [space, count] : references_) writes.references.emplace_back(space, count);
  return writes;
}

}  // namespace mneme
