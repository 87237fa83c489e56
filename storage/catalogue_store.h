// CatalogueStore: the durable list of memories of a deployment, and of the aliases that point to them.
#ifndef MNEME_STORAGE_CATALOGUE_STORE_H_
#define MNEME_STORAGE_CATALOGUE_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
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

// What became of a change that a log of the catalogue has, so that the same request is not done again.
struct RememberedChange {
  Sequence sequence = 0;  // its place in the log; its key
  Hash128 request = {};
  absl::Status status = {};
  // Of a success: the memory that was made, or that an alias pointed to before.
  std::optional<MemoryRecord> memory = {};

  friend bool operator==(const RememberedChange&, const RememberedChange&) = default;
};

// The replicas of a shard.
struct ReplicaList {
  std::vector<std::string> addresses = {};  // by their numbers, "" where there is none
  // An operator has set it: options of processes say nothing of this shard any more.
  bool fixed = false;

  friend bool operator==(const ReplicaList&, const ReplicaList&) = default;
};
using ReplicaLists = std::map<uint32_t, ReplicaList>;  // by shard

// The first two by number, the third by sequence.
struct CatalogueRecords {
  std::vector<MemoryRecord> memories;  // dropped ones included
  std::vector<AliasRecord> aliases;
  std::vector<RememberedChange> changes;
  ReplicaLists replicas;
};

// What is written at once: after a crash all of it is there, or nothing.
struct CatalogueBatch {
  bool whole = false;  // nothing stays that is not here
  std::vector<MemoryRecord> memories = {};  // written, or replaced
  std::vector<AliasRecord> aliases = {};
  std::vector<MemoryNumber> removed = {};   // dropped memories whose data is gone, or goes; aliases
  MemoryNumber next_number = 0;             // the next number to give is this one at least
  // Where the catalogue has a log: up to which it is applied then.
  std::optional<Sequence> applied = std::nullopt;
  std::vector<RememberedChange> remembered = {};
  std::vector<Sequence> forgotten = {};
  ReplicaLists replicas = {};  // written, or replaced
};

// Thread-compatible. Every write is synced before it returns.
class CatalogueStore {
 public:
  virtual ~CatalogueStore() = default;

  virtual absl::StatusOr<CatalogueRecords> Read() const = 0;
  // Where it has a log: up to which that is applied.
  virtual Sequence applied() const = 0;
  // The next number to give; every Put() of a higher number raises it, and it never falls.
  virtual absl::StatusOr<MemoryNumber> NextNumber() const = 0;
  virtual absl::Status Write(const CatalogueBatch& batch) = 0;
  // The same of one record.
  absl::Status Put(const MemoryRecord& record) { return Write({.memories = {record}}); }
  absl::Status Put(const AliasRecord& record) { return Write({.aliases = {record}}); }
  absl::Status Remove(MemoryNumber number) { return Write({.removed = {number}}); }
  // As those of EntryStore.
  virtual absl::Status Flush() const = 0;
  virtual absl::Status Checkpoint(const std::string& path) const = 0;
};

absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenCatalogueStore(
    const std::string& path, StoreResources* resources, std::shared_ptr<rocksdb::FileSystem> file_system = nullptr);
// One whose changes come from a log: what became of them is remembered beside it. A catalogue is of one kind for good:
// the other is FAILED_PRECONDITION.
absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenLoggedCatalogueStore(const std::string& path,
                                                                         StoreResources* resources);
// Makes of one with a log, as a backup has it, one without: what becomes of it no log has. One without stays as it is.
absl::Status DetachCatalogue(const std::string& path, StoreResources* resources);

}  // namespace mneme

#endif  // MNEME_STORAGE_CATALOGUE_STORE_H_
