// CatalogueStore: the durable list of memories of a deployment, and of the aliases that point to them.
#ifndef MNEME_STORAGE_CATALOGUE_STORE_H_
#define MNEME_STORAGE_CATALOGUE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types.h"
#include "storage/rocksdb_entry_store.h"

namespace mneme {

// A memory as the catalogue knows it. Its number is never reused.
struct MemoryRecord {
  MemoryNumber number = 0;
  MemorySpec spec;
  int64_t created_ms = 0;
  bool dropped = false;  // its name is free; its data is being removed

  friend bool operator==(const MemoryRecord&, const MemoryRecord&) = default;
};

// A name that points to a memory. It has a number of its own, which no memory has.
struct AliasRecord {
  MemoryNumber number = 0;
  std::string name;
  MemoryNumber memory = 0;

  friend bool operator==(const AliasRecord&, const AliasRecord&) = default;
};

// Both by number.
struct CatalogueRecords {
  std::vector<MemoryRecord> memories;  // dropped ones included
  std::vector<AliasRecord> aliases;
};

// Thread-compatible. Every write is synced before it returns.
class CatalogueStore {
 public:
  virtual ~CatalogueStore() = default;

  virtual absl::StatusOr<CatalogueRecords> Read() const = 0;
  // The next number to give; every Put() of a higher number raises it, and it never falls.
  virtual absl::StatusOr<MemoryNumber> NextNumber() const = 0;
  // Writes or replaces a record: after a crash it is the old one or the new one.
  virtual absl::Status Put(const MemoryRecord& record) = 0;
  virtual absl::Status Put(const AliasRecord& record) = 0;
  // Forgets a dropped memory whose data is gone, or an alias.
  virtual absl::Status Remove(MemoryNumber number) = 0;
  // As those of EntryStore.
  virtual absl::Status Flush() const = 0;
  virtual absl::Status Checkpoint(const std::string& path) const = 0;
};

absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenCatalogueStore(
    const std::string& path, StoreResources* resources, std::shared_ptr<rocksdb::FileSystem> file_system = nullptr);

}  // namespace mneme

#endif  // MNEME_STORAGE_CATALOGUE_STORE_H_
