// Leases: versions of memories that are held for a while, so that reads far apart see the same rows.
//
// A lease holds the immutable versions (I3) of every shard that owns a part of what it covers. They stay whole whatever
// is written, sealed, merged or trained anew since: tails by reference, segment files by their mapping, which outlives
// their names. What expires is judged at the stamp of the lease. Nothing is stored: a lease ends with the process.
#ifndef MNEME_ENGINE_LEASES_H_
#define MNEME_ENGINE_LEASES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/lease.h"
#include "engine/routing.h"
#include "engine/shard.h"

namespace mneme {

// A lease of shards of this process, and what it holds.
struct HeldLease final : Lease {
  std::map<uint32_t, Shard::Snapshot> snapshots;  // by shard; versions ascending by partition

  // What it holds of a selection that it covers, on one shard.
  Shard::Snapshot Select(uint32_t shard, const PartitionSelection& selection) const;
  Version version() const;
};

inline const HeldLease& Held(const Lease& lease) { return static_cast<const HeldLease&>(lease); }

// Of a read on one shard. `lease` may be null.
struct SnapshotRequest {
  MemoryNumber memory = 0;
  const PartitionSelection& partitions;
  const Lease* lease = nullptr;
  const CallLimits& limits;
};

// The versions that the lease holds, or those of this moment. Errors as of Shard::TakeSnapshot().
absl::StatusOr<Shard::Snapshot> TakeSnapshot(Shard& shard, const SnapshotRequest& request);

struct LeaseOptions {
  std::vector<Shard*> shards;        // borrowed; must outlive the leases
  const Routing* routing = nullptr;  // borrowed
  const Clock* clock = nullptr;      // borrowed: says what has expired when a lease is taken
  const Clock* timer = nullptr;      // borrowed: says when a lease is over, whoever sets the wall clock
  uint64_t ram_bytes = 0;            // of tails that leases may hold together
};

// Thread-safe. Blocks: sleeping partitions are read when a lease is taken.
class HeldLeases final : public Leases {
 public:
  explicit HeldLeases(LeaseOptions options);

  // Holds the partitions of `command` for `lease_ms`; its filter is ignored, and its version was waited for.
  // RESOURCE_EXHAUSTED beyond kMaxLeases, or when the tails that it would hold do not fit in the ram of all.
  absl::StatusOr<Granted> Acquire(const MemoryRecord& memory, const VisitCommand& command, int64_t lease_ms)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<int64_t> Renew(std::string_view id, int64_t lease_ms) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Release(std::string_view id) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<LeaseHandle> Find(std::string_view id, const MemoryRecord& memory) const override
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends the leases of a memory that was dropped.
  void EndAllOf(MemoryNumber memory) ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets go of what the leases hold whose time is over. Called now and then; they have ended before.
  void LetGo() ABSL_LOCKS_EXCLUDED(mutex_);

  struct Counts {
    uint64_t live = 0;
    uint64_t ram_bytes = 0;  // of the tails that they hold, each once
  };
  Counts counts() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    LeaseHandle lease;
    int64_t ends_ms = 0;  // by the timer
  };
  struct HeldChunk {
    uint64_t bytes = 0;
    size_t leases = 0;
  };
  using Chunks = std::vector<std::pair<const TailChunk*, uint64_t>>;
  using HeldById = std::map<std::string, Entry, std::less<>>;

  // The chunks of tails that a lease holds.
  static Chunks ChunksOf(const HeldLease& lease);
  absl::Status Admit(const Chunks& chunks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<HeldById::const_iterator> FindLive(std::string_view id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets a lease; what it held goes when `ended` does, with no lock held.
  HeldById::iterator End(HeldById::iterator at, std::vector<LeaseHandle>& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LeaseOptions options_;
  mutable Mutex mutex_;
  HeldById held_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<const TailChunk*, HeldChunk> chunks_ ABSL_GUARDED_BY(mutex_);
  uint64_t ram_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LEASES_H_
