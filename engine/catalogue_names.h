// CatalogueNames: the memories and aliases of a deployment as this process knows them, and the changes that bring them
// from process to process.
#ifndef MNEME_ENGINE_CATALOGUE_NAMES_H_
#define MNEME_ENGINE_CATALOGUE_NAMES_H_

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "storage/catalogue_store.h"

namespace mneme {

// What became of the numbers that changed, taken together: removals come before what takes their names.
struct CatalogueChanges {
  bool whole = false;  // everything that is not here is gone
  uint64_t revision = 0;  // of the names that told them
  MemoryNumber next_number = 0;  // no memory has or had this number or a higher one
  std::vector<MemoryRecord> memories;  // none is dropped
  std::vector<AliasRecord> aliases;
  std::vector<MemoryNumber> removed;  // dropped memories, and aliases
  ReplicaLists replicas = {};         // of shards, as they are now
};

// Thread-safe. The lock is held for look-ups in the maps only.
class CatalogueNames {
 public:
  struct StoredAlias {
    MemoryNumber number = 0;
    MemoryHandle memory;
  };

  // The memory of this name, or the one that the alias of this name points to now. NOT_FOUND.
  absl::StatusOr<MemoryHandle> Find(std::string_view name) const;
  MemoryHandle FindByNumber(MemoryNumber number) const;  // null when it was dropped or is not known
  std::vector<MemoryHandle> List() const;                // by name
  std::vector<Alias> ListAliases() const;                // by name
  // No memory with a number below it is yet to come.
  MemoryNumber next_number() const;

  bool HasMemory(std::string_view name) const;
  size_t memory_count() const;
  size_t alias_count() const;
  std::optional<StoredAlias> FindAlias(std::string_view name) const;
  // The name of one that points to the memory; empty when none does.
  std::string AnyAliasOf(MemoryNumber memory) const;
  // The replicas of a shard, as the log of names has them; none where it has not.
  ReplicaList ReplicasOf(uint32_t shard) const;

  // All of them in one step; a memory that stays keeps its handle. Returns the memories that went. DATA_LOSS, and
  // nothing is changed, when they come from a catalogue that is older than what is known, or another (shard 0 was put
  // back from a copy): what it lacks was not dropped. DATA_LOSS, too, when an alias has the name of a memory or points
  // to none: what is known then is of no use.
  absl::StatusOr<std::vector<MemoryHandle>> Apply(const CatalogueChanges& changes);
  // The same for names whose revisions are places in a log, so that they mean the same wherever that is applied: these
  // are of `revision` from now on, which must not be below what it was.
  absl::StatusOr<std::vector<MemoryHandle>> ApplyAt(uint64_t revision, const CatalogueChanges& changes);
  // Counts the steps that changed something; or a place in a log.
  uint64_t revision() const;
  // What changed after `revision`, with the revision that it leads to; everything, when that is too long ago. Of a
  // place in a log that is not reached here yet: nothing, with the place that is.
  CatalogueChanges ChangesSince(uint64_t revision) const;
  CatalogueChanges Everything() const;

 private:
  absl::StatusOr<std::vector<MemoryHandle>> ApplyLocked(const CatalogueChanges& changes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckFollows(const CatalogueChanges& changes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(MemoryNumber number, std::vector<MemoryHandle>& gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Put(const MemoryRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Put(const AliasRecord& alias) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Note(MemoryNumber number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Put(const ReplicaLists& replicas, bool whole) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  AliasRecord AliasOf(MemoryNumber number, const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  CatalogueChanges Whole() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::map<std::string, MemoryHandle, std::less<>> by_name_ ABSL_GUARDED_BY(mutex_);
  std::map<MemoryNumber, MemoryHandle> by_number_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, StoredAlias, std::less<>> aliases_ ABSL_GUARDED_BY(mutex_);
  std::map<MemoryNumber, std::string> alias_names_ ABSL_GUARDED_BY(mutex_);
  // With the revision that each has been since.
  std::map<uint32_t, std::pair<uint64_t, ReplicaList>> replicas_ ABSL_GUARDED_BY(mutex_);
  MemoryNumber next_number_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 1;
  bool placed_ ABSL_GUARDED_BY(mutex_) = false;  // the revision is a place in a log, which is given
  // The latest changes, by the revision that they led to; what changed up to `forgotten_` is not known one by one.
  std::deque<std::pair<uint64_t, MemoryNumber>> changes_ ABSL_GUARDED_BY(mutex_);
  uint64_t forgotten_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_NAMES_H_
