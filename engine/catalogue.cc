#include "engine/catalogue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

absl::Status NotFound(std::string_view name) {
  return WithReason(absl::NotFoundError(absl::StrCat("memory \"", std::string(name), "\" does not exist")),
                    reason::kMemoryNotFound);
}

absl::Status NoSuchAlias(std::string_view name) {
  return WithReason(absl::NotFoundError(absl::StrCat("alias \"", std::string(name), "\" does not exist")),
                    reason::kAliasNotFound);
}

absl::Status MemoryExists(const std::string& name) {
  return WithReason(absl::AlreadyExistsError(absl::StrCat("memory \"", name, "\" exists already")),
                    reason::kMemoryExists);
}

// ABORTED unless `now` (null: there is no such alias) is what was expected.
absl::Status CheckExpected(const AliasChange& change, const MemoryRecord* now) {
  if (!change.expected.has_value() || *change.expected == (now == nullptr ? "" : now->spec.name)) {
    return absl::OkStatus();
  }
  const std::string points = now == nullptr ? "does not exist" : absl::StrCat("points to \"", now->spec.name, "\"");
  const std::string wanted =
      change.expected->empty() ? "must not exist" : absl::StrCat("must point to \"", *change.expected, "\"");
  return WithReason(
      absl::AbortedError(absl::StrCat("alias \"", change.name, "\" ", points, "; expected_memory says it ", wanted)),
      reason::kAliasMoved);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Open(std::unique_ptr<CatalogueStore> store) {
  ASSIGN_OR_RETURN(CatalogueRecords records, store->Read());
  std::unique_ptr<Catalogue> catalogue(new Catalogue(std::move(store)));
  MutexLock lock(&catalogue->mutex_);
  RETURN_IF_ERROR(catalogue->Take(std::move(records)));
  return catalogue;
}

absl::Status Catalogue::Take(CatalogueRecords records) {
  for (MemoryRecord& record : records.memories) {
    if (record.dropped) {
      dropped_.push_back(record.number);
    } else {
      const auto memory = std::make_shared<const MemoryRecord>(std::move(record));
      by_name_[memory->spec.name] = memory;
      by_number_[memory->number] = memory;
    }
  }
  for (const AliasRecord& alias : records.aliases) {
    const auto memory = by_number_.find(alias.memory);
    if (memory == by_number_.end() || by_name_.contains(alias.name)) {
      return absl::DataLossError(
          absl::StrCat("the stored alias \"", alias.name, "\" points to no memory, or has the name of one"));
    }
    aliases_[alias.name] = {alias.number, memory->second};
  }
  return absl::OkStatus();
}

absl::StatusOr<MemoryHandle> Catalogue::Create(const MemorySpec& spec, int64_t now_ms) {
  MutexLock order(&store_mutex_);
  {
    MutexLock lock(&mutex_);
    if (by_name_.contains(spec.name)) return MemoryExists(spec.name);
    if (const auto alias = aliases_.find(spec.name); alias != aliases_.end()) {
      return WithReason(absl::AlreadyExistsError(absl::StrCat("\"", spec.name, "\" is an alias of memory \"",
                                                              alias->second.memory->spec.name, "\"")),
                        reason::kAliasExists);
    }
    if (by_name_.size() >= limits::kMaxMemories) {
      return absl::ResourceExhaustedError(
          absl::StrCat("there are ", by_name_.size(), " memories; the bound is ", limits::kMaxMemories));
    }
  }
  ASSIGN_OR_RETURN(const MemoryNumber number, store_->NextNumber());
  auto record = std::make_shared<MemoryRecord>();
  record->number = number;
  record->spec = spec;
  record->created_ms = now_ms;
  RETURN_IF_ERROR(store_->Put(*record));
  MutexLock lock(&mutex_);
  by_name_[spec.name] = record;
  by_number_[number] = record;
  return MemoryHandle(record);
}

absl::StatusOr<MemoryNumber> Catalogue::NextNumber() const {
  MutexLock order(&store_mutex_);
  return store_->NextNumber();
}

absl::StatusOr<MemoryHandle> Catalogue::Find(std::string_view name) const {
  MutexLock lock(&mutex_);
  const auto at = by_name_.find(name);
  if (at != by_name_.end()) return at->second;
  const auto alias = aliases_.find(name);
  if (alias != aliases_.end()) return alias->second.memory;
  return NotFound(name);
}

MemoryHandle Catalogue::FindByNumber(MemoryNumber number) const {
  MutexLock lock(&mutex_);
  const auto at = by_number_.find(number);
  return at == by_number_.end() ? nullptr : at->second;
}

std::vector<MemoryHandle> Catalogue::List() const {
  MutexLock lock(&mutex_);
  std::vector<MemoryHandle> memories;
  memories.reserve(by_name_.size());
  for (const auto& [name, memory] : by_name_) memories.push_back(memory);
  return memories;
}

absl::StatusOr<MemoryHandle> Catalogue::Drop(std::string_view name) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(MemoryHandle dropped, Find(name));
  {
    MutexLock lock(&mutex_);
    for (const auto& [alias, stored] : aliases_) {
      if (stored.memory != dropped) continue;
      return WithReason(
          absl::FailedPreconditionError(absl::StrCat("alias \"", alias, "\" points to memory \"", dropped->spec.name,
                                                     "\"; drop it or point it elsewhere first")),
          reason::kMemoryAliased);
    }
  }
  MemoryRecord record = *dropped;
  record.dropped = true;
  RETURN_IF_ERROR(store_->Put(record));
  MutexLock lock(&mutex_);
  by_name_.erase(record.spec.name);
  by_number_.erase(record.number);
  dropped_.push_back(record.number);
  return dropped;
}

absl::StatusOr<std::pair<AliasRecord, Catalogue::StoredAlias>> Catalogue::PlanAlias(const AliasChange& change) const {
  ASSIGN_OR_RETURN(const MemoryNumber next, store_->NextNumber());
  ASSIGN_OR_RETURN(const MemoryHandle memory, Find(change.memory));
  MutexLock lock(&mutex_);
  if (by_name_.contains(change.name)) return MemoryExists(change.name);
  const auto at = aliases_.find(change.name);
  const StoredAlias now = at == aliases_.end() ? StoredAlias() : at->second;
  RETURN_IF_ERROR(CheckExpected(change, now.memory.get()));
  if (at == aliases_.end() && aliases_.size() >= limits::kMaxAliases) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", aliases_.size(), " aliases; the bound is ", limits::kMaxAliases));
  }
  return std::pair(AliasRecord{at == aliases_.end() ? next : now.number, change.name, memory->number}, now);
}

absl::StatusOr<MemoryHandle> Catalogue::SetAlias(const AliasChange& change) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(const auto plan, PlanAlias(change));
  const auto& [record, before] = plan;
  RETURN_IF_ERROR(store_->Put(record));
  MutexLock lock(&mutex_);
  aliases_[record.name] = {record.number, by_number_.at(record.memory)};
  return before.memory;
}

absl::Status Catalogue::DropAlias(std::string_view name) {
  MutexLock order(&store_mutex_);
  MemoryNumber number = 0;
  {
    MutexLock lock(&mutex_);
    const auto at = aliases_.find(name);
    if (at == aliases_.end()) return NoSuchAlias(name);
    number = at->second.number;
  }
  RETURN_IF_ERROR(store_->Remove(number));
  MutexLock lock(&mutex_);
  aliases_.erase(aliases_.find(name));
  return absl::OkStatus();
}

std::vector<Alias> Catalogue::ListAliases() const {
  MutexLock lock(&mutex_);
  std::vector<Alias> aliases;
  aliases.reserve(aliases_.size());
  for (const auto& [name, alias] : aliases_) aliases.push_back({name, alias.memory});
  return aliases;
}

std::vector<MemoryNumber> Catalogue::Dropped() const {
  MutexLock lock(&mutex_);
  return dropped_;
}

absl::Status Catalogue::Forget(MemoryNumber number) {
  MutexLock order(&store_mutex_);
  RETURN_IF_ERROR(store_->Remove(number));
  MutexLock lock(&mutex_);
  std::erase(dropped_, number);
  return absl::OkStatus();
}

}  // namespace mneme
