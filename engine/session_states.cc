#include "engine/session_states.h"

#include <memory>
#include <vector>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

StatePtr HideRemoved(StatePtr state) {
  return state != nullptr && state->kind == StateKind::kRemoved ? nullptr : std::move(state);
}

uint64_t BytesOf(const std::string& name, const StateRecord& state) { return name.size() + state.payload.size(); }

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

absl::StatusOr<StatePtr> SessionStates::FindStored(const std::string& name) const {
  if (!exists()) return nullptr;
  ASSIGN_OR_RETURN(StatePtr state, overlay_.FindState(KeyOf(record_->number, name)));
  if (state != nullptr) return HideRemoved(std::move(state));
  return FindInBases(name);
}

absl::StatusOr<StatePtr> SessionStates::Find(const std::string& name) const {
  ASSIGN_OR_RETURN(StatePtr state, FindStored(name));
  const bool expired = state != nullptr && state->expiry_ms != 0 && state->expiry_ms <= stamp_ms_;
  return expired ? nullptr : std::move(state);
}

absl::Status SessionStates::Put(const std::string& name, StateRecord state) {
  if (state.payload.size() > limits::kMaxStateBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the state would have ", state.payload.size(),
                                                     " bytes; the bound is ", limits::kMaxStateBytes));
  }
  ASSIGN_OR_RETURN(const StatePtr before, FindStored(name));
  SessionRecord record = exists() ? *record_ : SessionRecord{.number = numbers_.Take()};
  record.states += before == nullptr ? 1 : 0;
  record.bytes += BytesOf(name, state) - (before == nullptr ? 0 : BytesOf(name, *before));
  if (record.states > limits::kMaxSessionStates) {
    return absl::ResourceExhaustedError(absl::StrCat("the session has ", record.states - 1, " states; the bound is ",
                                                     limits::kMaxSessionStates));
  }
  if (record.bytes > limits::kMaxSessionBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the session would have ", record.bytes,
                                                     " bytes; the bound is ", limits::kMaxSessionBytes));
  }
  overlay_.PutState(KeyOf(record.number, name), std::make_shared<const StateRecord>(std::move(state)));
  SetRecord(std::move(record));
  return absl::OkStatus();
}

absl::Status SessionStates::Remove(const std::string& name) {
  ASSIGN_OR_RETURN(const StatePtr before, FindStored(name));
  if (before == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const StatePtr below, FindInBases(name));
  StatePtr mark;
  if (below != nullptr) mark = std::make_shared<const StateRecord>(StateRecord{.kind = StateKind::kRemoved});
  overlay_.PutState(KeyOf(record_->number, name), std::move(mark));
  SessionRecord record = *record_;
  --record.states;
  record.bytes -= BytesOf(name, *before);
  SetRecord(std::move(record));
  return absl::OkStatus();
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
    const StateRecord& state = *each.second;
    return state.kind == StateKind::kRemoved || (state.expiry_ms != 0 && state.expiry_ms <= stamp_ms_);
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
  RETURN_IF_ERROR(ReleaseSpaces());
  SessionRecord record{.number = numbers_.Take(), .states = all.size(), .expiry_ms = record_->expiry_ms};
  for (const auto& [name, state] : all) {
    record.bytes += BytesOf(name, *state);
    overlay_.PutState(KeyOf(record.number, name), state);
  }
  SetRecord(std::move(record));
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
  overlay_.PutSession(key_, std::nullopt);
  record_.reset();
  return absl::OkStatus();
}

void SessionStates::SetRecord(SessionRecord record) {
  if (record_ == record) return;
  record_ = std::move(record);
  overlay_.PutSession(key_, record_);
}

}  // namespace mneme
