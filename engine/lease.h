// Lease: a handle of a version that is held for reads far apart, and what can be done with its id.
#ifndef MNEME_ENGINE_LEASE_H_
#define MNEME_ENGINE_LEASE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/commands.h"

namespace mneme {

// Immutable; who has a handle reads on though the lease ends. Each deployment gives leases of a class of its own, and
// takes no others.
struct Lease {
  virtual ~Lease() = default;

  MemoryNumber memory = 0;
  PartitionSelection partitions;  // ascending, and named unless they are all
  int64_t stamp_ms = 0;           // of its taking

  // True when every partition of `selection` was covered.
  bool Covers(const PartitionSelection& selection) const;
};

// What a read that began at `now_ms` judges expiry by.
inline int64_t StampOf(const LeaseHandle& lease, int64_t now_ms) { return lease == nullptr ? now_ms : lease->stamp_ms; }

// The partitions of a selection that is not `all`.
absl::Span<const PartitionId> NamedBy(const PartitionSelection& selection);
// The selection as a lease covers it.
PartitionSelection Ascending(const PartitionSelection& selection);

// Thread-safe.
class Leases {
 public:
  virtual ~Leases() = default;

  struct Granted {
    std::string id;  // opaque
    Version version;
    int64_t expires_ms = 0;
  };

  // Ends it in `lease_ms` from now, whenever it would have ended; returns when that is. For this and what follows:
  // INVALID_ARGUMENT when `id` is none that a deployment gives; FAILED_PRECONDITION (LEASE_EXPIRED) when the lease has
  // ended.
  virtual absl::StatusOr<int64_t> Renew(std::string_view id, int64_t lease_ms) = 0;
  virtual absl::Status Release(std::string_view id) = 0;
  // The same for who may not block; `done` is called once, before it returns or later, on any thread.
  virtual void ReleaseThen(std::string_view id, std::function<void(absl::Status)> done) { done(Release(id)); }
  // LEASE_EXPIRED, too, when it is of another memory.
  virtual absl::StatusOr<LeaseHandle> Find(std::string_view id, const MemoryRecord& memory) const = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LEASE_H_
