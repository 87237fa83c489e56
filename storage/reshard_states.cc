// The working memory of a restore onto another number of shards: sessions name their spaces, and spaces no session, so
// that each session takes its own along, and those below it that no session before it took.
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/reshard.h"

namespace mneme {
namespace {

// Bytes that are read ahead: sessions lie by name and small, their spaces by age.
constexpr size_t kBySeeks = 0;
constexpr size_t kInOrder = size_t{64} << 10;

}  // namespace

absl::Status Reshard::MoveStates() {
  for (size_t from = 0; from < options_.from.size(); ++from) {
    RETURN_IF_ERROR(MoveExpiries(from));
    DbCursor memories(*options_.from[from].db, format::kStatesFamily, kBySeeks);
    for (memories.Seek(format::PrefixEnd(format::ExpiryPrefix())); memories.Valid();) {
      ASSIGN_OR_RETURN(const MemoryNumber number, format::ParseMemoryPrefix(memories.key()));
      ASSIGN_OR_RETURN(const MemoryRecord* const memory, FindMemory(number));
      if (memory != nullptr) RETURN_IF_ERROR(MoveSessions(from, *memory));
      memories.Seek(format::PrefixEnd(format::MemoryPrefix(number)));
    }
    RETURN_IF_ERROR(memories.status());
  }
  return absl::OkStatus();
}

absl::Status Reshard::MoveSessions(size_t from, const MemoryRecord& memory) {
  const ReadOnlyDb& db = *options_.from[from].db;
  absl::flat_hash_set<uint64_t> taken;  // of the spaces below sessions
  DbCursor sessions(db, format::kStatesFamily, kInOrder);
  DbCursor others(db, format::kStatesFamily, kBySeeks);
  const std::string prefix = format::SessionKeyOf({memory.number, ""});
  for (sessions.Seek(prefix); sessions.At(prefix); sessions.Next()) {
    ASSIGN_OR_RETURN(SessionKey key, format::ParseSessionKey(sessions.key()));
    ASSIGN_OR_RETURN(SessionRecord record, format::DecodeSession(sessions.value()));
    ReshardTarget& target = targets_[options_.placement->of_session(memory, key.session)];
    RETURN_IF_ERROR(MoveSpace(from, {memory.number, record.number}, others, target));
    record.number = SpaceOf(from, record.number);
    for (uint64_t& base : record.bases) {
      const StateSpace space{memory.number, base};
      base = SpaceOf(from, base);
      if (!taken.insert(space.number).second) continue;
      RETURN_IF_ERROR(MoveSpace(from, space, others, target));
      const std::string counted = format::ReferenceKeyOf(space);
      others.Seek(counted);
      if (!others.Valid()) RETURN_IF_ERROR(others.status());
      if (!others.Valid() || others.key() != counted) continue;
      ASSIGN_OR_RETURN(const uint64_t count, format::DecodeNumber(others.value()));
      target.states().references.emplace_back(StateSpace{memory.number, base}, count);
    }
    const size_t bytes = sessions.key().size() + sessions.value().size();
    target.states().sessions.emplace_back(std::move(key), std::move(record));
    RETURN_IF_ERROR(target.Added(bytes));
    RETURN_IF_ERROR(Moved(bytes));
  }
  return sessions.status();
}

absl::Status Reshard::MoveSpace(size_t from, const StateSpace& space, DbCursor& records, ReshardTarget& to) {
  const auto move = [&](const std::string& prefix,
                        absl::StatusOr<StateKey> (*parse)(std::string_view)) -> absl::Status {
    for (records.Seek(prefix); records.At(prefix); records.Next()) {
      ASSIGN_OR_RETURN(StateKey key, parse(records.key()));
      ASSIGN_OR_RETURN(StateRecord state, format::DecodeSessionState(records.value()));
      const size_t bytes = records.key().size() + records.value().size();
      key.space.number = SpaceOf(from, key.space.number);
      to.states().states.emplace_back(std::move(key), std::make_shared<const StateRecord>(std::move(state)));
      RETURN_IF_ERROR(to.Added(bytes));
      RETURN_IF_ERROR(Moved(bytes));
    }
    return records.status();
  };
  RETURN_IF_ERROR(move(format::StateSpacePrefix(space), &format::ParseStateKey));
  return move(format::PieceSpacePrefix(space), &format::ParsePieceKey);
}

// Those of what is gone mean nothing there either.
absl::Status Reshard::MoveExpiries(size_t from) {
  DbCursor expiries(*options_.from[from].db, format::kStatesFamily, kInOrder);
  const std::string prefix = format::ExpiryPrefix();
  for (expiries.Seek(prefix); expiries.At(prefix); expiries.Next()) {
    ASSIGN_OR_RETURN(StateExpiry expiry, format::ParseExpiryKey(expiries.key()));
    ASSIGN_OR_RETURN(const MemoryRecord* const memory, FindMemory(expiry.memory));
    if (memory == nullptr) continue;
    ReshardTarget& target = targets_[options_.placement->of_session(*memory, expiry.session)];
    if (expiry.space != 0) expiry.space = SpaceOf(from, expiry.space);
    const size_t bytes = expiries.key().size();
    target.states().added_expiries.push_back(std::move(expiry));
    RETURN_IF_ERROR(target.Added(bytes));
    RETURN_IF_ERROR(Moved(bytes));
  }
  return expiries.status();
}

}  // namespace mneme
