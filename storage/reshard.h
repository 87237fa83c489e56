// Reshard: writes what the shards of a backup hold into the stores of another number of shards.
//
// - Entries go where the placement says, with every column as it is. The rows of a partition begin, on each shard,
//   above all that were given in it before: so an id that the server gave before names no row that is or will be given,
//   is mapped to the row that its entry has now, and is given to no other.
// - Their order is that of their partition; where rows of several shards come together, each shard's stay in order, and
//   of the shards' next ones the one that was created first comes first, of those at one time that of the lower shard.
// - Every shard remembers every request that one shard must, with what each shard of before did of it.
// - Sessions go with their root. Their spaces, which were numbered by the sequences of a shard, are numbered anew: by
//   its sequence, raised by the last sequences of the shards before it.
#ifndef MNEME_STORAGE_RESHARD_H_
#define MNEME_STORAGE_RESHARD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/db_cursor.h"
#include "storage/placement.h"
#include "storage/read_only_db.h"
#include "storage/request_ages.h"
#include "storage/reshard_target.h"

namespace mneme {

struct ReshardSource {
  const ReadOnlyDb* db = nullptr;
  Sequence applied = 0;
};

// Everything is borrowed. Shards are by number.
struct ReshardOptions {
  std::vector<ReshardSource> from;
  std::vector<EntryStore*> to;  // new, and mapping server-given ids
  const Placement* placement = nullptr;
  const CatalogueRecords* names = nullptr;
  MemoryNumber next_number = 0;
  std::function<bool(uint64_t bytes)> moved;  // now and then: so much more was read; false: give it up
};

// One restore. What of a memory is left that was dropped stays behind. Holds some 64 MiB, beside what the stores do, 32
// bytes for each request and ten for each frozen space. Not thread-safe.
class Reshard {
 public:
  // DATA_LOSS of what is damaged or not what it was counted to be, or of a memory that the catalogue never had;
  // CANCELLED; errors of the stores.
  static absl::Status Run(const ReshardOptions& options) { return Reshard(options).Move(); }

 private:
  explicit Reshard(const ReshardOptions& options);
  absl::Status Move();

  absl::Status MoveEntries();
  struct Rows {
    PartitionKey key;
    std::string prefix;              // of their keys
    const MemoryRecord* memory = nullptr;
    std::vector<DbCursor*> cursors;  // at the first of each shard that has some, by shard
    Row first_row = 0;               // that they get; all were below
    uint64_t live_rows = 0;          // as their heads count them
    bool indexed = false;
  };
  absl::Status MovePartition(const Rows& rows);
  // The ages of all requests.
  absl::StatusOr<RequestAges> ReadAges();
  // What all shards have of the request at `key`, which they go past.
  absl::StatusOr<RememberedRequest> ReadRequest(const std::string& key, std::vector<DbCursor>& cursors);
  absl::Status MoveRequests();
  absl::Status MoveStates();
  // A space of shard `from`, whose states `records` reads, goes to `to`, with its pieces.
  absl::Status MoveSpace(size_t from, const StateSpace& space, DbCursor& records, ReshardTarget& to);
  absl::Status MoveSessions(size_t from, const MemoryRecord& memory);
  absl::Status MoveExpiries(size_t from);

  // Null for one that was dropped.
  absl::StatusOr<const MemoryRecord*> FindMemory(MemoryNumber number) const;
  // The least key among the cursors that are at one with `prefix`; nullopt when none is. Errors of those that ended.
  static absl::StatusOr<std::optional<std::string>> LeastKey(const std::vector<DbCursor>& cursors,
                                                             std::string_view prefix);
  // A cursor over a family of each shard of the backup, to go through it in order.
  std::vector<DbCursor> CursorsOver(std::string_view family) const;
  absl::Status Moved(uint64_t bytes);
  // The number that a space of shard `from` has from now on.
  uint64_t SpaceOf(size_t from, uint64_t number) const { return number + (sequences_before_[from] << 16); }

  const ReshardOptions& options_;
  std::map<MemoryNumber, const MemoryRecord*> memories_;
  std::vector<Sequence> sequences_before_;  // of the shards before each
  Sequence sequence_ = 0;                   // of all: at which everything is written
  std::vector<ReshardTarget> targets_;
  uint64_t untold_ = 0;  // bytes that were read
};

}  // namespace mneme

#endif  // MNEME_STORAGE_RESHARD_H_
