#include "storage/memory_states.h"

#include <set>
#include <utility>

namespace mneme {

class MemoryStateReader final : public StateReader {
 public:
  explicit MemoryStateReader(MemoryStates states) : states_(std::move(states)) {}

  absl::StatusOr<std::optional<SessionRecord>> FindSession(const SessionKey& key) const override {
    return Find(states_.sessions_, key);
  }
  absl::StatusOr<std::optional<StateRecord>> FindState(const StateKey& key) const override {
    return Find(states_.states_, key);
  }
  absl::StatusOr<uint64_t> FindReferences(const StateSpace& space) const override {
    return Find(states_.references_, space).value_or(0);
  }
  absl::Status ScanStates(const StateSpace& space,
                          const std::function<bool(std::string_view, StateRecord)>& visit) const override {
    for (auto at = states_.states_.lower_bound({space, ""}); at != states_.states_.end() && at->first.space == space;
         ++at) {
      if (at->first.piece == 0 && !visit(at->first.name, at->second)) break;
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<NamedSession>> ScanSessions(MemoryNumber memory, std::string_view prefix,
                                                         std::string_view after, size_t limit) const override {
    std::vector<NamedSession> found;
    for (const auto& [key, record] : states_.sessions_) {
      if (key.memory != memory || key.session.substr(0, prefix.size()) != prefix || key.session <= after) continue;
      if (found.size() == limit) break;
      found.push_back({key.session, record});
    }
    return found;
  }
  absl::StatusOr<std::vector<StateExpiry>> ScanExpiries(int64_t from_ms, size_t limit) const override {
    std::vector<StateExpiry> found;
    for (auto at = states_.expiries_.lower_bound({.expiry_ms = from_ms});
         at != states_.expiries_.end() && found.size() < limit; ++at) {
      found.push_back(*at);
    }
    return found;
  }
  absl::StatusOr<std::vector<MemoryNumber>> Memories() const override {
    std::set<MemoryNumber> memories;
    for (const auto& [key, record] : states_.sessions_) memories.insert(key.memory);
    for (const auto& [key, record] : states_.states_) memories.insert(key.space.memory);
    for (const auto& [space, count] : states_.references_) memories.insert(space.memory);
    return std::vector<MemoryNumber>(memories.begin(), memories.end());
  }

 private:
  template <typename Key, typename Record>
  static std::optional<Record> Find(const std::map<Key, Record>& records, const Key& key) {
    const auto at = records.find(key);
    return at == records.end() ? std::nullopt : std::optional<Record>(at->second);
  }

  const MemoryStates states_;
};

void MemoryStates::Apply(const StateWrites& writes) {
  for (const StateSpace& space : writes.dropped_spaces) {
    std::erase_if(states_, [&](const auto& state) { return state.first.space == space; });
  }
  for (const auto& [key, session] : writes.sessions) {
    session.has_value() ? void(sessions_[key] = *session) : void(sessions_.erase(key));
  }
  for (const auto& [key, state] : writes.states) {
    state != nullptr ? void(states_[key] = *state) : void(states_.erase(key));
  }
  for (const auto& [space, count] : writes.references) {
    count != 0 ? void(references_[space] = count) : void(references_.erase(space));
  }
  for (const StateExpiry& expiry : writes.removed_expiries) expiries_.erase(expiry);
  expiries_.insert(writes.added_expiries.begin(), writes.added_expiries.end());
}

void MemoryStates::DropMemory(MemoryNumber memory) {
  std::erase_if(sessions_, [&](const auto& each) { return each.first.memory == memory; });
  std::erase_if(states_, [&](const auto& each) { return each.first.space.memory == memory; });
  std::erase_if(references_, [&](const auto& each) { return each.first.memory == memory; });
}

std::unique_ptr<StateReader> MemoryStates::Read() const { return std::make_unique<MemoryStateReader>(*this); }

}  // namespace mneme
