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

}  // namespace

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Open(std::unique_ptr<CatalogueStore> store) {
  ASSIGN_OR_RETURN(std::vector<MemoryRecord> records, store->Read());
  std::unique_ptr<Catalogue> catalogue(new Catalogue(std::move(store)));
  MutexLock lock(&catalogue->mutex_);
  for (MemoryRecord& record : records) {
    if (record.dropped) {
      catalogue->dropped_.push_back(record.number);
    } else {
      const auto memory = std::make_shared<const MemoryRecord>(std::move(record));
      catalogue->by_name_[memory->spec.name] = memory;
      catalogue->by_number_[memory->number] = memory;
    }
  }
  return catalogue;
}

absl::StatusOr<MemoryHandle> Catalogue::Create(const MemorySpec& spec, int64_t now_ms) {
  MutexLock order(&store_mutex_);
  {
    MutexLock lock(&mutex_);
    if (by_name_.contains(spec.name)) {
      return WithReason(absl::AlreadyExistsError(absl::StrCat("memory \"", spec.name, "\" exists already")),
                        reason::kMemoryExists);
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
  if (at == by_name_.end()) return NotFound(name);
  return at->second;
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
  MemoryRecord record = *dropped;
  record.dropped = true;
  RETURN_IF_ERROR(store_->Put(record));
  MutexLock lock(&mutex_);
  by_name_.erase(record.spec.name);
  by_number_.erase(record.number);
  dropped_.push_back(record.number);
  return dropped;
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
