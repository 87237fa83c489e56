// Catalogue: the memories of a deployment by name. The first create of a name wins; a dropped name is free at once.
#ifndef MNEME_ENGINE_CATALOGUE_H_
#define MNEME_ENGINE_CATALOGUE_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "storage/catalogue_store.h"

namespace mneme {

// Thread-safe. Changes are in one order under a mutex of their own, which is held during I/O; finding a memory never
// waits for it.
class Catalogue {
 public:
  static absl::StatusOr<std::unique_ptr<Catalogue>> Open(std::unique_ptr<CatalogueStore> store);

  // ALREADY_EXISTS when the name is taken; RESOURCE_EXHAUSTED beyond kMaxMemories.
  absl::StatusOr<MemoryHandle> Create(const MemorySpec& spec, int64_t now_ms);
  // NOT_FOUND.
  absl::StatusOr<MemoryHandle> Find(std::string_view name) const;
  MemoryHandle FindByNumber(MemoryNumber number) const;  // null when it was dropped or never was
  std::vector<MemoryHandle> List() const;                // by name
  // Durable when it returns: the name is NOT_FOUND from now on. Returns what was dropped.
  absl::StatusOr<MemoryHandle> Drop(std::string_view name);
  // No memory has or had this number or a higher one.
  absl::StatusOr<MemoryNumber> NextNumber() const;
  // Numbers of dropped memories whose data may still be there.
  std::vector<MemoryNumber> Dropped() const;
  // Its data is gone from every shard.
  absl::Status Forget(MemoryNumber number);

 private:
  explicit Catalogue(std::unique_ptr<CatalogueStore> store) : store_(std::move(store)) {}

  mutable Mutex store_mutex_;  // taken before mutex_
  std::unique_ptr<CatalogueStore> store_ ABSL_GUARDED_BY(store_mutex_);

  mutable Mutex mutex_;  // held for look-ups in the maps only
  std::map<std::string, MemoryHandle, std::less<>> by_name_ ABSL_GUARDED_BY(mutex_);
  std::map<MemoryNumber, MemoryHandle> by_number_ ABSL_GUARDED_BY(mutex_);
  std::vector<MemoryNumber> dropped_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_H_
