// Catalogue: the memories of a deployment by name, and the aliases that point to them. Both share one space of names:
// the first to take a name keeps it; a dropped one is free at once.
//
// Where its changes come from a log (engine/catalogue_applier.h), it is the state machine of that: Apply() alone
// changes it, and by the record and what came before it alone, so that it is the same wherever the log is applied.
#ifndef MNEME_ENGINE_CATALOGUE_H_
#define MNEME_ENGINE_CATALOGUE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/catalogue_names.h"
#include "engine/commands.h"
#include "engine/log_record.h"
#include "engine/shard_log.h"
#include "storage/catalogue_store.h"

namespace mneme {

// What a record of a catalogue's log came to.
struct AppliedChange {
  // Of a success: the memory that was made, or that an alias pointed to before.
  absl::StatusOr<MemoryHandle> outcome = MemoryHandle();
  CatalogueChanges changes = {};  // nothing, of one that was refused, or had been there before
};

// All that a catalogue with a log is.
struct CatalogueSnapshot {
  Sequence applied = 0;
  CatalogueChanges names;  // whole
  std::vector<RememberedChange> remembered;  // ascending by sequence
};

// Thread-safe. Changes are in one order under a mutex of their own, which is held during I/O; finding a memory never
// waits for it.
class Catalogue {
 public:
  // DATA_LOSS when an alias has the name of a memory, or points to none.
  static absl::StatusOr<std::unique_ptr<Catalogue>> Open(std::unique_ptr<CatalogueStore> store);
  // The same with a log: `store` is one of OpenLoggedCatalogueStore(). `most_remembered` must be the same wherever the
  // log is applied.
  static absl::StatusOr<std::unique_ptr<Catalogue>> OpenLogged(std::unique_ptr<CatalogueStore> store,
                                                               size_t most_remembered = limits::kRememberedChanges);

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

  // --- With a log ---
  // The sequence up to which it is applied.
  Sequence applied() const;
  // Does what the record at `offset`, beyond all that is applied, asks, as the calls above do; refused alike wherever
  // it is applied. One whose request is remembered does nothing, and has the outcome of the first. Errors are of the
  // store. Who opens a shard removes what the catalogue does not know: nothing is kept of what was dropped.
  absl::StatusOr<AppliedChange> Apply(LogOffset offset, const LogRecord& record);
  // What became of the change with this request; nullopt when it is not remembered (any more).
  std::optional<absl::StatusOr<MemoryHandle>> OutcomeOf(const Hash128& request) const;
  CatalogueSnapshot Snapshot() const;
  // Becomes what another was, which had applied more. FAILED_PRECONDITION when that had not.
  absl::Status Take(const CatalogueSnapshot& snapshot);

 private:
  // A change that may be made: what is stored, and what becomes known.
  struct Plan {
    CatalogueBatch batch;
    CatalogueChanges changes;
    MemoryHandle memory;      // that is dropped, or was pointed to before
    MemoryNumber number = 0;  // of what is made, set or removed
  };
  using RequestKey = std::pair<uint64_t, uint64_t>;

  explicit Catalogue(std::unique_ptr<CatalogueStore> store) : store_(std::move(store)) {}

  absl::StatusOr<Plan> PlanCreate(const MemorySpec& spec, int64_t now_ms) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  // `keeps_number`: until its data has gone.
  absl::StatusOr<Plan> PlanDrop(std::string_view name, bool keeps_number) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  absl::StatusOr<Plan> PlanAlias(const AliasChange& change) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  absl::StatusOr<Plan> PlanDropAlias(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  absl::StatusOr<Plan> PlanReplicas(const SetReplicasCommand& set) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  // What a record asks; nothing, of one that changes nothing.
  absl::StatusOr<Plan> PlanRecord(const LogRecord& record) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  // Stored, and found from now on.
  absl::Status Make(const Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  // What was stored is found from now on.
  absl::Status Publish(CatalogueChanges changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  absl::Status PublishAt(Sequence sequence, CatalogueChanges& changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_mutex_);
  const RememberedChange* FindChange(const Hash128& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(RememberedChange change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex store_mutex_;
  std::unique_ptr<CatalogueStore> store_ ABSL_GUARDED_BY(store_mutex_);
  CatalogueNames names_;
  size_t most_remembered_ = 0;  // constant once open

  mutable Mutex mutex_;
  std::vector<MemoryNumber> dropped_ ABSL_GUARDED_BY(mutex_);
  std::deque<RememberedChange> remembered_ ABSL_GUARDED_BY(mutex_);  // ascending by sequence
  std::map<RequestKey, Sequence> by_request_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CATALOGUE_H_
