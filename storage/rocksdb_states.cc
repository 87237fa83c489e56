#include "storage/rocksdb_states.h"

#include <rocksdb/snapshot.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// A space of more states goes as one range: a tombstone of a range costs every later read of the family a little, and
// a state that goes by itself only those near it.
constexpr size_t kStatesGoneOneByOne = 1024;
constexpr size_t kOverheadPerRecord = 64;

absl::Status EncodeDroppedRange(const std::string& prefix, rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family,
                                rocksdb::WriteBatch& out) {
  const std::string end = format::PrefixEnd(prefix);
  const rocksdb::Slice upper(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options, family));
  std::vector<std::string> keys;
  for (it->Seek(prefix); it->Valid() && keys.size() <= kStatesGoneOneByOne; it->Next()) {
    keys.push_back(it->key().ToString());
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "drop a space of states"));
  if (keys.size() > kStatesGoneOneByOne) {
    return FromRocksDb(out.DeleteRange(family, prefix, end), "drop a space of states");
  }
  for (const std::string& key : keys) RETURN_IF_ERROR(FromRocksDb(out.Delete(family, key), "drop a state"));
  return absl::OkStatus();
}

class RocksDbStateReader final : public StateReader {
 public:
  RocksDbStateReader(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family)
      : db_(db), family_(family), snapshot_(&db), taken_(snapshot_.snapshot()) {}

  absl::StatusOr<std::optional<SessionRecord>> FindSession(const SessionKey& key) const override {
    rocksdb::PinnableSlice record;
    ASSIGN_OR_RETURN(const bool found, Get(format::SessionKeyOf(key), record));
    if (!found) return std::nullopt;
    ASSIGN_OR_RETURN(SessionRecord session, format::DecodeSession(ToView(record)));
    return session;
  }

  absl::StatusOr<std::optional<StateRecord>> FindState(const StateKey& key) const override {
    rocksdb::PinnableSlice record;
    ASSIGN_OR_RETURN(const bool found, Get(format::StateKeyOf(key), record));
    if (!found) return std::nullopt;
    ASSIGN_OR_RETURN(StateRecord state, format::DecodeSessionState(ToView(record)));
    return state;
  }

  absl::StatusOr<uint64_t> FindReferences(const StateSpace& space) const override {
    rocksdb::PinnableSlice record;
    ASSIGN_OR_RETURN(const bool found, Get(format::ReferenceKeyOf(space), record));
    if (!found) return 0;
    return format::DecodeNumber(ToView(record));
  }

  absl::Status ScanStates(const StateSpace& space,
                          const std::function<bool(std::string_view, StateRecord)>& visit) const override {
    const std::string prefix = format::StateSpacePrefix(space);
    const std::string end = format::PrefixEnd(prefix);
    const rocksdb::Slice upper(end);
    const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(Options(&upper), family_));
    for (it->Seek(prefix); it->Valid(); it->Next()) {
      ASSIGN_OR_RETURN(const StateKey key, format::ParseStateKey(ToView(it->key())));
      ASSIGN_OR_RETURN(StateRecord state, format::DecodeSessionState(ToView(it->value())));
      if (!visit(key.name, std::move(state))) return absl::OkStatus();
    }
    return FromRocksDb(it->status(), "scan states");
  }

  absl::StatusOr<std::vector<NamedSession>> ScanSessions(MemoryNumber memory, std::string_view prefix,
                                                         std::string_view after, size_t limit) const override {
    const std::string begin = format::SessionKeyOf({memory, std::string(prefix)});
    const std::string end = format::PrefixEnd(begin);
    const std::string from = format::SessionKeyOf({memory, std::string(after)});
    const rocksdb::Slice upper(end);
    const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(Options(&upper), family_));
    std::vector<NamedSession> sessions;
    for (it->Seek(std::max(begin, from)); it->Valid() && sessions.size() < limit; it->Next()) {
      ASSIGN_OR_RETURN(SessionKey key, format::ParseSessionKey(ToView(it->key())));
      if (key.session <= after) continue;  // at most `after` itself
      ASSIGN_OR_RETURN(SessionRecord record, format::DecodeSession(ToView(it->value())));
      sessions.push_back({std::move(key.session), std::move(record)});
    }
    RETURN_IF_ERROR(FromRocksDb(it->status(), "scan sessions"));
    return sessions;
  }

  absl::StatusOr<std::vector<StateExpiry>> ScanExpiries(int64_t from_ms, size_t limit) const override {
    const std::string end = format::PrefixEnd(format::ExpiryPrefix());
    const rocksdb::Slice upper(end);
    const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(Options(&upper), family_));
    std::vector<StateExpiry> expiries;
    for (it->Seek(format::ExpiryKeyFrom(from_ms)); it->Valid() && expiries.size() < limit; it->Next()) {
      ASSIGN_OR_RETURN(StateExpiry expiry, format::ParseExpiryKey(ToView(it->key())));
      expiries.push_back(std::move(expiry));
    }
    RETURN_IF_ERROR(FromRocksDb(it->status(), "scan expiries of sessions"));
    return expiries;
  }

  absl::StatusOr<std::vector<MemoryNumber>> Memories() const override {
    const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(Options(nullptr), family_));
    std::vector<MemoryNumber> memories;
    for (it->Seek(format::PrefixEnd(format::ExpiryPrefix())); it->Valid();
         it->Seek(format::PrefixEnd(format::MemoryPrefix(memories.back())))) {
      ASSIGN_OR_RETURN(const MemoryNumber memory, format::ParseMemoryPrefix(ToView(it->key())));
      memories.push_back(memory);
    }
    RETURN_IF_ERROR(FromRocksDb(it->status(), "scan states"));
    return memories;
  }

 private:
  rocksdb::ReadOptions Options(const rocksdb::Slice* upper) const {
    rocksdb::ReadOptions options;
    options.snapshot = taken_;
    options.iterate_upper_bound = upper;
    return options;
  }
  absl::StatusOr<bool> Get(const std::string& key, rocksdb::PinnableSlice& record) const {
    const rocksdb::Status status = db_.Get(Options(nullptr), family_, key, &record);
    if (status.IsNotFound()) return false;
    RETURN_IF_ERROR(FromRocksDb(status, "read a state"));
    return true;
  }

  rocksdb::DB& db_;
  rocksdb::ColumnFamilyHandle* const family_;
  rocksdb::ManagedSnapshot snapshot_;
  const rocksdb::Snapshot* const taken_;
};

}  // namespace

absl::Status EncodeStates(const StateWrites& writes, rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family,
                          rocksdb::WriteBatch& out) {
  constexpr char kWhat[] = "write a state";
  for (const StateSpace& space : writes.dropped_spaces) {
    RETURN_IF_ERROR(EncodeDroppedRange(format::StateSpacePrefix(space), db, family, out));
    RETURN_IF_ERROR(EncodeDroppedRange(format::PieceSpacePrefix(space), db, family, out));
  }
  for (const auto& [key, session] : writes.sessions) {
    const std::string bytes = format::SessionKeyOf(key);
    RETURN_IF_ERROR(FromRocksDb(session.has_value() ? out.Put(family, bytes, format::EncodeSession(*session))
                                                    : out.Delete(family, bytes),
                                kWhat));
  }
  for (const auto& [key, state] : writes.states) {
    const std::string bytes = format::StateKeyOf(key);
    if (state == nullptr) {
      RETURN_IF_ERROR(FromRocksDb(out.Delete(family, bytes), kWhat));
      continue;
    }
    const std::string start = format::EncodeStateStart(*state);
    const rocksdb::Slice key_part = bytes;
    const rocksdb::Slice parts[] = {start, state->payload};  // a large payload is copied once
    RETURN_IF_ERROR(
        FromRocksDb(out.Put(family, rocksdb::SliceParts(&key_part, 1), rocksdb::SliceParts(parts, 2)), kWhat));
  }
  for (const auto& [space, count] : writes.references) {
    const std::string bytes = format::ReferenceKeyOf(space);
    RETURN_IF_ERROR(FromRocksDb(
        count != 0 ? out.Put(family, bytes, format::EncodeNumber(count)) : out.Delete(family, bytes), kWhat));
  }
  for (const StateExpiry& expiry : writes.removed_expiries) {
    RETURN_IF_ERROR(FromRocksDb(out.Delete(family, format::ExpiryKeyOf(expiry)), kWhat));
  }
  for (const StateExpiry& expiry : writes.added_expiries) {
    RETURN_IF_ERROR(FromRocksDb(out.Put(family, format::ExpiryKeyOf(expiry), rocksdb::Slice()), kWhat));
  }
  return absl::OkStatus();
}

size_t EncodedBytes(const StateWrites& writes) {
  size_t bytes = 0;
  for (const auto& [key, session] : writes.sessions) bytes += key.session.size() + 2 * kOverheadPerRecord;
  for (const auto& [key, state] : writes.states) {
    bytes += key.name.size() + kOverheadPerRecord + (state != nullptr ? state->payload.size() : 0);
  }
  for (const auto* expiries : {&writes.removed_expiries, &writes.added_expiries}) {
    for (const StateExpiry& each : *expiries) bytes += each.session.size() + each.name.size() + kOverheadPerRecord;
  }
  return bytes + writes.references.size() * kOverheadPerRecord;
}

std::unique_ptr<StateReader> NewRocksDbStateReader(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) {
  return std::make_unique<RocksDbStateReader>(db, family);
}

}  // namespace mneme
