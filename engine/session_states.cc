#include "engine/session_states.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/counter_matrix.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

StatePtr HideRemoved(StatePtr state) {
  return state != nullptr && state->kind == StateKind::kRemoved ? nullptr : std::move(state);
}

uint64_t PayloadBytesOf(const StateRecord& state) {
  if (state.kind == StateKind::kCounterMatrix) return state.payload.size() + PieceBytes(state);
  if (state.kind == StateKind::kExpired) return format::ByteReader(state.payload).Varint();
  return state.payload.size();
}

uint64_t BytesOf(const std::string& name, const StateRecord& state) { return name.size() + PayloadBytesOf(state); }

// What stays in a base of an expired state: sessions above it go on to count it.
StatePtr WhatIsLeftOf(const StateRecord& state) {
  StateRecord left{.kind = StateKind::kExpired, .version = state.version, .expiry_ms = state.expiry_ms};
  format::ByteWriter(left.payload).Varint(state.payload.size());
  return std::make_shared<const StateRecord>(std::move(left));
}

}  // namespace

bool IsOfTheOperation(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) ||
         absl::IsResourceExhausted(status);
}

absl::Status SessionStates::Open() {
  ASSIGN_OR_RETURN(record_, overlay_.FindSession(key_));
  if (!record_.has_value() || record_->expiry_ms == 0 || record_->expiry_ms > stamp_ms_) return absl::OkStatus();
  return RemoveSession();
}

absl::StatusOr<StatePtr> SessionStates::FindInBases(const std::string& name) const {
  for (const uint64_t base : record_->bases) {
    ASSIGN_OR_RETURN(StatePtr state, overlay_.FindState(KeyOf(base, name)));
    if (state != nullptr) return HideRemoved(std::move(state));
  }
  return nullptr;
}

absl::StatusOr<SessionStates::Stored> SessionStates::FindStored(const std::string& name) const {
  if (!exists()) return Stored{};
  if (last_found_.has_value() && last_found_->first == name) return last_found_->second;
  Stored found;
  ASSIGN_OR_RETURN(found.own, overlay_.FindState(KeyOf(record_->number, name)));
  found.shown = HideRemoved(found.own);
  if (found.own == nullptr) {
    ASSIGN_OR_RETURN(found.shown, FindInBases(name));
  }
  last_found_ = {name, found};
  return found;
}

bool SessionStates::IsExpired(const StateRecord& state) const {
  return state.kind == StateKind::kExpired || (state.expiry_ms != 0 && state.expiry_ms <= stamp_ms_);
}

absl::StatusOr<StatePtr> SessionStates::Find(const std::string& name) const {
  ASSIGN_OR_RETURN(const Stored found, FindStored(name));
  return found.shown != nullptr && IsExpired(*found.shown) ? nullptr : found.shown;
}

absl::StatusOr<StatePtr> SessionStates::FindPiece(const std::string& name, uint32_t number) const {
  StateKey key = KeyOf(record_->number, name);
  key.piece = number;
  ASSIGN_OR_RETURN(StatePtr piece, overlay_.FindState(key));
  for (size_t i = 0; piece == nullptr && i < record_->bases.size(); ++i) {
    key.space.number = record_->bases[i];
    ASSIGN_OR_RETURN(piece, overlay_.FindState(key));
  }
  if (piece == nullptr) return absl::DataLossError("a piece of a state is not there");
  return piece;
}

absl::Status SessionStates::CheckSize(const SessionRecord& record, const StateRecord& state) {
  const uint64_t bytes = PayloadBytesOf(state);
  const uint64_t bound =
      state.kind == StateKind::kCounterMatrix ? limits::kMaxCounterBytes : limits::kMaxStateBytes;
  if (bytes > bound) {
    return absl::ResourceExhaustedError(absl::StrCat("the state would have ", bytes, " bytes; the bound is ", bound));
  }
  if (record.states > limits::kMaxSessionStates) {
    return absl::ResourceExhaustedError(absl::StrCat("the session has ", record.states - 1, " states; the bound is ",
                                                     limits::kMaxSessionStates));
  }
  if (record.bytes > limits::kMaxSessionBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the session would have ", record.bytes,
                                                     " bytes; the bound is ", limits::kMaxSessionBytes));
  }
  return absl::OkStatus();
}

absl::Status SessionStates::Put(const std::string& name, StatePtr state, StatePieces pieces) {
  ASSIGN_OR_RETURN(const Stored before, FindStored(name));
  SessionRecord record = exists() ? *record_ : SessionRecord{.number = numbers_.Take()};
  record.states += before.shown == nullptr ? 1 : 0;
  record.bytes += BytesOf(name, *state) - (before.shown == nullptr ? 0 : BytesOf(name, *before.shown));
  RETURN_IF_ERROR(CheckSize(record, *state));
  SetRecord(std::move(record));
  const bool follows = before.own != nullptr && state->version == before.own->version + 1;
  if (!follows) RETURN_IF_ERROR(RemovePieces(name, before.own));  // it expired: those are of no other
  for (auto& [number, payload] : pieces) {
    StateKey key = KeyOf(record_->number, name);
    key.piece = number;
    StatePtr piece;
    if (payload.has_value()) {
      piece = std::make_shared<const StateRecord>(
          StateRecord{.kind = StateKind::kPiece, .payload = *std::move(payload)});
    }
    overlay_.PutState(key, std::move(piece));
  }
  PutOwn(name, std::move(state), before.own);
  return absl::OkStatus();
}

absl::Status SessionStates::RemovePieces(const std::string& name, const StatePtr& own) {
  if (own == nullptr || own->kind != StateKind::kCounterMatrix) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<uint32_t> numbers, PieceNumbers(*own));
  StateKey key = KeyOf(record_->number, name);
  for (const uint32_t number : numbers) {
    key.piece = number;
    overlay_.PutState(key, nullptr);
  }
  return absl::OkStatus();
}

absl::Status SessionStates::Remove(const std::string& name) {
  ASSIGN_OR_RETURN(const Stored before, FindStored(name));
  if (before.shown == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const StatePtr below, FindInBases(name));
  StatePtr mark;
  if (below != nullptr) mark = std::make_shared<const StateRecord>(StateRecord{.kind = StateKind::kRemoved});
  SessionRecord record = *record_;
  --record.states;
  record.bytes -= BytesOf(name, *before.shown);
  SetRecord(std::move(record));
  RETURN_IF_ERROR(RemovePieces(name, before.own));
  PutOwn(name, std::move(mark), before.own);
  return absl::OkStatus();
}

void SessionStates::PutOwn(const std::string& name, StatePtr state, const StatePtr& before) {
  last_found_.reset();
  const auto expiry_of = [&](const StateRecord& record) {
    return StateExpiry{record.expiry_ms, key_.memory, record_->number, key_.session, name};
  };
  if (before != nullptr && before->expiry_ms != 0) overlay_.RemoveExpiry(expiry_of(*before));
  if (state != nullptr && state->expiry_ms != 0) overlay_.AddExpiry(expiry_of(*state));
  overlay_.PutState(KeyOf(record_->number, name), std::move(state));
}

absl::StatusOr<bool> SessionStates::RemoveExpired(const StateExpiry& due) {
  overlay_.RemoveExpiry(due);
  const StateKey key{{due.memory, due.space}, due.name};
  ASSIGN_OR_RETURN(const StatePtr state, overlay_.FindState(key));
  const bool is_it = state != nullptr && state->kind != StateKind::kExpired && state->expiry_ms == due.expiry_ms;
  if (!is_it || !IsExpired(*state)) return false;
  if (exists() && record_->number == due.space) {
    RETURN_IF_ERROR(Remove(due.name));
    return true;
  }
  // Pieces in a base may be those of a later state, too: they go with the base.
  if (state->kind == StateKind::kCounterMatrix) return false;
  overlay_.PutState(key, WhatIsLeftOf(*state));
  return true;
}

absl::StatusOr<std::map<std::string, StatePtr>> SessionStates::All() const {
  std::map<std::string, StatePtr> all;
  if (!exists()) return all;
  std::vector<uint64_t> spaces(record_->bases.rbegin(), record_->bases.rend());
  spaces.push_back(record_->number);
  for (const uint64_t number : spaces) {  // nearer ones last, so that they win
    ASSIGN_OR_RETURN(const auto states, overlay_.StatesOf({key_.memory, number}));
    for (const auto& [name, state] : states) all[name] = state;
  }
  std::erase_if(all, [&](const auto& each) {
    return each.second->kind == StateKind::kRemoved || IsExpired(*each.second);
  });
  return all;
}

void SessionStates::SetExpiry(int64_t expiry_ms) {
  SessionRecord record = *record_;
  record.expiry_ms = expiry_ms;
  SetRecord(std::move(record));
}

absl::Status SessionStates::Flatten() {
  ASSIGN_OR_RETURN(const auto all, All());
  std::vector<std::pair<StateKey, StatePtr>> pieces;
  for (const auto& [name, state] : all) {
    if (state->kind != StateKind::kCounterMatrix) continue;
    ASSIGN_OR_RETURN(const std::vector<uint32_t> numbers, PieceNumbers(*state));
    for (const uint32_t number : numbers) {
      ASSIGN_OR_RETURN(StatePtr piece, FindPiece(name, number));
      pieces.emplace_back(StateKey{{key_.memory, 0}, name, number}, std::move(piece));
    }
  }
  RETURN_IF_ERROR(ReleaseSpaces());
  SessionRecord record{.number = numbers_.Take(), .states = all.size(), .expiry_ms = record_->expiry_ms};
  for (const auto& [name, state] : all) record.bytes += BytesOf(name, *state);
  SetRecord(std::move(record));
  for (const auto& [name, state] : all) PutOwn(name, state, nullptr);
  for (auto& [key, piece] : pieces) {
    key.space.number = record_->number;
    overlay_.PutState(key, std::move(piece));
  }
  return absl::OkStatus();
}

absl::Status SessionStates::ForkTo(SessionStates& child) {
  ASSIGN_OR_RETURN(const bool unchanged, overlay_.IsEmpty({key_.memory, record_->number}));
  // What was not written to since the last fork shares its bases as they are.
  if (!unchanged) {
    if (record_->bases.size() == limits::kMaxSessionBases) RETURN_IF_ERROR(Flatten());
    SessionRecord frozen = *record_;
    overlay_.PutReferences({key_.memory, frozen.number}, 1);
    frozen.bases.insert(frozen.bases.begin(), frozen.number);
    frozen.number = numbers_.Take();
    SetRecord(std::move(frozen));
  }
  for (const uint64_t base : record_->bases) {
    const StateSpace space{key_.memory, base};
    ASSIGN_OR_RETURN(const uint64_t references, overlay_.FindReferences(space));
    overlay_.PutReferences(space, references + 1);
  }
  SessionRecord record = *record_;
  record.number = numbers_.Take();
  child.SetRecord(std::move(record));
  return absl::OkStatus();
}

absl::Status SessionStates::ReleaseSpaces() {
  overlay_.DropSpace({key_.memory, record_->number});
  for (const uint64_t base : record_->bases) {
    const StateSpace space{key_.memory, base};
    ASSIGN_OR_RETURN(const uint64_t references, overlay_.FindReferences(space));
    if (references <= 1) overlay_.DropSpace(space);
    overlay_.PutReferences(space, references <= 1 ? 0 : references - 1);
  }
  return absl::OkStatus();
}

absl::Status SessionStates::RemoveSession() {
  RETURN_IF_ERROR(ReleaseSpaces());
  SetRecord(std::nullopt);
  return absl::OkStatus();
}

void SessionStates::SetRecord(std::optional<SessionRecord> record) {
  if (record_ == record) return;
  const auto expiry_of = [&](const std::optional<SessionRecord>& of) {
    return StateExpiry{of.has_value() ? of->expiry_ms : 0, key_.memory, 0, key_.session, ""};
  };
  const StateExpiry before = expiry_of(record_);
  const StateExpiry after = expiry_of(record);
  if (before != after && before.expiry_ms != 0) overlay_.RemoveExpiry(before);
  if (before != after && after.expiry_ms != 0) overlay_.AddExpiry(after);
  if (record_.has_value() != record.has_value() || record_->number != record->number) last_found_.reset();
  record_ = std::move(record);
  overlay_.PutSession(key_, record_);
}

}  // namespace mneme
