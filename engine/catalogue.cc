#include "engine/catalogue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

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
  CatalogueChanges stored;
  {
    MutexLock lock(&catalogue->mutex_);
    for (MemoryRecord& record : records.memories) {
      if (record.dropped) {
        catalogue->dropped_.push_back(record.number);
      } else {
        stored.memories.push_back(std::move(record));
      }
    }
  }
  stored.aliases = std::move(records.aliases);
  MutexLock order(&catalogue->store_mutex_);
  RETURN_IF_ERROR(catalogue->Publish(std::move(stored)));
  return catalogue;
}

absl::Status Catalogue::Publish(CatalogueChanges changes) {
  ASSIGN_OR_RETURN(changes.next_number, store_->NextNumber());
  return names_.Apply(changes).status();
}

absl::StatusOr<MemoryHandle> Catalogue::Create(const MemorySpec& spec, int64_t now_ms) {
  MutexLock order(&store_mutex_);
  if (names_.HasMemory(spec.name)) return MemoryExists(spec.name);
  if (const auto alias = names_.FindAlias(spec.name); alias.has_value()) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat("\"", spec.name, "\" is an alias of memory \"",
                                                            alias->memory->spec.name, "\"")),
                      reason::kAliasExists);
  }
  if (names_.memory_count() >= limits::kMaxMemories) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", names_.memory_count(), " memories; the bound is ", limits::kMaxMemories));
  }
  MemoryRecord record;
  ASSIGN_OR_RETURN(record.number, store_->NextNumber());
  record.spec = spec;
  record.created_ms = now_ms;
  RETURN_IF_ERROR(store_->Put(record));
  CatalogueChanges made;
  made.memories.push_back(record);
  RETURN_IF_ERROR(Publish(std::move(made)));
  return names_.FindByNumber(record.number);
}

absl::StatusOr<MemoryNumber> Catalogue::NextNumber() const {
  MutexLock order(&store_mutex_);
  return store_->NextNumber();
}

absl::StatusOr<MemoryHandle> Catalogue::Drop(std::string_view name) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(MemoryHandle dropped, names_.Find(name));
  if (const std::string alias = names_.AnyAliasOf(dropped->number); !alias.empty()) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("alias \"", alias, "\" points to memory \"", dropped->spec.name,
                                                   "\"; drop it or point it elsewhere first")),
        reason::kMemoryAliased);
  }
  MemoryRecord record = *dropped;
  record.dropped = true;
  RETURN_IF_ERROR(store_->Put(record));
  CatalogueChanges gone;
  gone.removed.push_back(record.number);
  RETURN_IF_ERROR(Publish(std::move(gone)));
  MutexLock lock(&mutex_);
  dropped_.push_back(record.number);
  return dropped;
}

absl::StatusOr<std::pair<AliasRecord, MemoryHandle>> Catalogue::PlanAlias(const AliasChange& change) const {
  ASSIGN_OR_RETURN(const MemoryNumber next, store_->NextNumber());
  ASSIGN_OR_RETURN(const MemoryHandle memory, names_.Find(change.memory));
  if (names_.HasMemory(change.name)) return MemoryExists(change.name);
  const auto found = names_.FindAlias(change.name);
  const MemoryHandle now = found.has_value() ? found->memory : nullptr;
  RETURN_IF_ERROR(CheckExpected(change, now.get()));
  if (!found.has_value() && names_.alias_count() >= limits::kMaxAliases) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", names_.alias_count(), " aliases; the bound is ", limits::kMaxAliases));
  }
  return std::pair(AliasRecord{found.has_value() ? found->number : next, change.name, memory->number}, now);
}

absl::StatusOr<Catalogue::Swing> Catalogue::SetAlias(const AliasChange& change) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(const auto plan, PlanAlias(change));
  const auto& [record, before] = plan;
  RETURN_IF_ERROR(store_->Put(record));
  CatalogueChanges swung;
  swung.aliases.push_back(record);
  RETURN_IF_ERROR(Publish(std::move(swung)));
  return Swing{record.number, before};
}

absl::StatusOr<MemoryNumber> Catalogue::DropAlias(std::string_view name) {
  MutexLock order(&store_mutex_);
  const auto alias = names_.FindAlias(name);
  if (!alias.has_value()) return NoSuchAlias(name);
  RETURN_IF_ERROR(store_->Remove(alias->number));
  CatalogueChanges gone;
  gone.removed.push_back(alias->number);
  RETURN_IF_ERROR(Publish(std::move(gone)));
  return alias->number;
}

absl::Status Catalogue::WhileUnchanged(const std::function<absl::Status(const CatalogueStore&)>& call) const {
  MutexLock order(&store_mutex_);
  return call(*store_);
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
