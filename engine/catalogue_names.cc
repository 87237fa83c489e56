#include "engine/catalogue_names.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Changes that are remembered one by one: who missed more is told everything.
constexpr size_t kMaxChanges = 4'096;

}  // namespace

absl::StatusOr<MemoryHandle> CatalogueNames::Find(std::string_view name) const {
  MutexLock lock(&mutex_);
  const auto at = by_name_.find(name);
  if (at != by_name_.end()) return at->second;
  const auto alias = aliases_.find(name);
  if (alias != aliases_.end()) return alias->second.memory;
  return WithReason(absl::NotFoundError(absl::StrCat("memory \"", std::string(name), "\" does not exist")),
                    reason::kMemoryNotFound);
}

MemoryHandle CatalogueNames::FindByNumber(MemoryNumber number) const {
  MutexLock lock(&mutex_);
  const auto at = by_number_.find(number);
  return at == by_number_.end() ? nullptr : at->second;
}

std::vector<MemoryHandle> CatalogueNames::List() const {
  MutexLock lock(&mutex_);
  std::vector<MemoryHandle> memories;
  memories.reserve(by_name_.size());
  for (const auto& [name, memory] : by_name_) memories.push_back(memory);
  return memories;
}

std::vector<Alias> CatalogueNames::ListAliases() const {
  MutexLock lock(&mutex_);
  std::vector<Alias> aliases;
  aliases.reserve(aliases_.size());
  for (const auto& [name, alias] : aliases_) aliases.push_back({name, alias.memory});
  return aliases;
}

MemoryNumber CatalogueNames::next_number() const {
  MutexLock lock(&mutex_);
  return next_number_;
}

bool CatalogueNames::HasMemory(std::string_view name) const {
  MutexLock lock(&mutex_);
  return by_name_.contains(name);
}

size_t CatalogueNames::memory_count() const {
  MutexLock lock(&mutex_);
  return by_name_.size();
}

size_t CatalogueNames::alias_count() const {
  MutexLock lock(&mutex_);
  return aliases_.size();
}

std::optional<CatalogueNames::StoredAlias> CatalogueNames::FindAlias(std::string_view name) const {
  MutexLock lock(&mutex_);
  const auto at = aliases_.find(name);
  if (at == aliases_.end()) return std::nullopt;
  return at->second;
}

std::string CatalogueNames::AnyAliasOf(MemoryNumber memory) const {
  MutexLock lock(&mutex_);
  for (const auto& [alias, stored] : aliases_) {
    if (stored.memory->number == memory) return alias;
  }
  return "";
}

ReplicaList CatalogueNames::ReplicasOf(uint32_t shard) const {
  MutexLock lock(&mutex_);
  const auto at = replicas_.find(shard);
  return at == replicas_.end() ? ReplicaList() : at->second.second;
}

void CatalogueNames::Remove(MemoryNumber number, std::vector<MemoryHandle>& gone) {
  if (const auto alias = alias_names_.find(number); alias != alias_names_.end()) {
    aliases_.erase(alias->second);
    alias_names_.erase(alias);
    Note(number);
  }
  const auto memory = by_number_.find(number);
  if (memory == by_number_.end()) return;
  by_name_.erase(memory->second->spec.name);
  gone.push_back(std::move(memory->second));
  by_number_.erase(memory);
  Note(number);
}

void CatalogueNames::Put(const MemoryRecord& record) {
  if (by_number_.contains(record.number)) return;  // what a memory is does not change
  const auto memory = std::make_shared<const MemoryRecord>(record);
  by_name_[record.spec.name] = memory;
  by_number_[record.number] = memory;
  Note(record.number);
}

absl::Status CatalogueNames::Put(const AliasRecord& alias) {
  const auto memory = by_number_.find(alias.memory);
  if (memory == by_number_.end() || by_name_.contains(alias.name)) {
    return absl::DataLossError(
        absl::StrCat("the stored alias \"", alias.name, "\" points to no memory, or has the name of one"));
  }
  aliases_[alias.name] = {alias.number, memory->second};
  alias_names_[alias.number] = alias.name;
  Note(alias.number);
  return absl::OkStatus();
}

void CatalogueNames::Put(const ReplicaLists& replicas, bool whole) {
  if (whole) replicas_.clear();
  for (const auto& [shard, list] : replicas) replicas_[shard] = {revision_, list};
}

void CatalogueNames::Note(MemoryNumber number) {
  if (!placed_) ++revision_;
  changes_.emplace_back(revision_, number);
  if (changes_.size() <= kMaxChanges) return;
  forgotten_ = changes_.front().first;
  changes_.pop_front();
}

absl::Status CatalogueNames::CheckFollows(const CatalogueChanges& changes) const {
  if (changes.whole && changes.next_number < next_number_) {
    return absl::DataLossError(absl::StrCat("the catalogue of shard 0 ends before memory ", changes.next_number,
                                            ", though it has had ", next_number_ - 1,
                                            ": it was put back from an older copy; nothing is removed"));
  }
  for (const MemoryRecord& memory : changes.memories) {
    const auto known = by_number_.find(memory.number);
    if (known == by_number_.end() || *known->second == memory) continue;
    return absl::DataLossError(absl::StrCat("memory ", memory.number, " of the catalogue of shard 0 is \"",
                                            memory.spec.name, "\" and not the \"", known->second->spec.name,
                                            "\" that it was: it was put back from an older copy; nothing is removed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MemoryHandle>> CatalogueNames::Apply(const CatalogueChanges& changes) {
  MutexLock lock(&mutex_);
  return ApplyLocked(changes);
}

absl::StatusOr<std::vector<MemoryHandle>> CatalogueNames::ApplyAt(uint64_t revision, const CatalogueChanges& changes) {
  MutexLock lock(&mutex_);
  placed_ = true;
  revision_ = revision;
  absl::StatusOr<std::vector<MemoryHandle>> gone = ApplyLocked(changes);
  if (!changes.whole) return gone;
  // What led here one by one is not known.
  forgotten_ = revision;
  changes_.clear();
  return gone;
}

absl::StatusOr<std::vector<MemoryHandle>> CatalogueNames::ApplyLocked(const CatalogueChanges& changes) {
  std::vector<MemoryHandle> gone;
  RETURN_IF_ERROR(CheckFollows(changes));
  if (changes.whole) {
    std::set<MemoryNumber> kept;
    for (const MemoryRecord& memory : changes.memories) kept.insert(memory.number);
    for (const AliasRecord& alias : changes.aliases) kept.insert(alias.number);
    std::vector<MemoryNumber> removed;
    for (const auto& [number, memory] : by_number_) removed.push_back(number);
    for (const auto& [number, name] : alias_names_) removed.push_back(number);
    std::erase_if(removed, [&](MemoryNumber number) { return kept.contains(number); });
    for (const MemoryNumber number : removed) Remove(number, gone);
  }
  for (const MemoryNumber number : changes.removed) Remove(number, gone);
  for (const MemoryRecord& memory : changes.memories) Put(memory);
  for (const AliasRecord& alias : changes.aliases) RETURN_IF_ERROR(Put(alias));
  Put(changes.replicas, changes.whole);
  next_number_ = std::max(next_number_, changes.next_number);
  return gone;
}

uint64_t CatalogueNames::revision() const {
  MutexLock lock(&mutex_);
  return revision_;
}

AliasRecord CatalogueNames::AliasOf(MemoryNumber number, const std::string& name) const {
  return {number, name, aliases_.find(name)->second.memory->number};
}

CatalogueChanges CatalogueNames::Whole() const {
  CatalogueChanges changes;
  changes.whole = true;
  changes.revision = revision_;
  changes.next_number = next_number_;
  for (const auto& [number, memory] : by_number_) changes.memories.push_back(*memory);
  for (const auto& [number, name] : alias_names_) changes.aliases.push_back(AliasOf(number, name));
  for (const auto& [shard, since] : replicas_) changes.replicas[shard] = since.second;
  return changes;
}

CatalogueChanges CatalogueNames::Everything() const {
  MutexLock lock(&mutex_);
  return Whole();
}

CatalogueChanges CatalogueNames::ChangesSince(uint64_t revision) const {
  MutexLock lock(&mutex_);
  if (revision < forgotten_ || (revision > revision_ && !placed_)) return Whole();
  std::set<MemoryNumber> numbers;
  for (auto at = changes_.rbegin(); at != changes_.rend() && at->first > revision; ++at) numbers.insert(at->second);
  CatalogueChanges changes;
  changes.revision = revision_;
  changes.next_number = next_number_;
  for (const MemoryNumber number : numbers) {
    if (const auto memory = by_number_.find(number); memory != by_number_.end()) {
      changes.memories.push_back(*memory->second);
    } else if (const auto alias = alias_names_.find(number); alias != alias_names_.end()) {
      changes.aliases.push_back(AliasOf(number, alias->second));
    } else {
      changes.removed.push_back(number);
    }
  }
  for (const auto& [shard, since] : replicas_) {
    if (since.first > revision) changes.replicas[shard] = since.second;
  }
  return changes;
}

}  // namespace mneme
