// Catalogue: the memories of a deployment by name, and the aliases that point to them. Both share one space of names:
// the first to take a name keeps it; a dropped one is free at once.
#ifndef MNEME_ENGINE_CATALOGUE_H_
#define MNEME_ENGINE_CATALOGUE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/catalogue_names.h"
#include "engine/commands.h"
#include "storage/catalogue_store.h"

namespace mneme {

// Thread-safe. Changes are in one order under a mutex of their own, which is held during I/O; finding a memory never
// waits for it.
class Catalogue {
 public:
  // DATA_LOSS when an alias has the name of a memory, or points to none.
  static absl::StatusOr<std::unique_ptr<Catalogue>> Open(std::unique_ptr<CatalogueStore> store);

  // ALREADY_EXISTS when the name is taken; RESOURCE_EXHAUSTED beyond kMaxMemories.
  absl::StatusOr<MemoryHandle> Create(const MemorySpec& spec, int64_t now_ms);
  // What is there now.
  const CatalogueNames& names() const { return names_; }
  // Durable when it returns: the name is NOT_FOUND from now on. Returns what was dropped. FAILED_PRECONDITION while an
  // alias points to it.
  absl::StatusOr<MemoryHandle> Drop(std::string_view name);

  // Points an alias to a memory (`change.memory` may be an alias: then to the memory of that one); made when there is
  // none of this name. Durable when it returns, in one record. Returns the memory that it pointed to before, null when
  // it was made. ALREADY_EXISTS when a memory has the name; NOT_FOUND when there is no such memory; ABORTED when the
  // alias is not as expected; RESOURCE_EXHAUSTED beyond kMaxAliases.
  struct Swing {
    MemoryNumber number = 0;  // of the alias
    MemoryHandle before;      // null when it was made
  };
  absl::StatusOr<Swing> SetAlias(const AliasChange& change);
  // Returns the number that it had. NOT_FOUND.
  absl::StatusOr<MemoryNumber> DropAlias(std::string_view name);

  // Calls `call` with the store while nothing changes it.
  absl::Status WhileUnchanged(const std::function<absl::Status(const CatalogueStore&)>& call) const;

  // No memory has or had this number or a higher one.
  absl::StatusOr<MemoryNumber> NextNumber() const;
  // Numbers of dropped memories whose data may still be there.
  std::vector<MemoryNumber> Dropped() const;
  // Its data is gone from every shard.
  absl::Status Forget(MemoryNumber number);

 private:
  explicit Catalogue(std::unique_ptr<CatalogueStore> store) : store_(std::move(store)) {}

  // The record that makes `change` true, and what the alias points to now.
  absl::StatusOr<std::pair<AliasRecord, MemoryHandle>> PlanAlias(const AliasChange& change) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  // What was stored is found from now on.
  absl::Status Publish(CatalogueChanges changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);

  mutable Mutex store_mutex_;
  std::unique_ptr<CatalogueStore> store_ ABSL_GUARDED_BY(store_mutex_);
  CatalogueNames names_;

  mutable Mutex mutex_;
  std::vector<MemoryNumber> dropped_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_H_
