// RemoteLeases: leases of several shards as one. The id that a client holds names the leases that the shards gave,
// which of their replicas did, and what they cover, so that it means the same to every front end.
#ifndef MNEME_CLUSTER_REMOTE_LEASES_H_
#define MNEME_CLUSTER_REMOTE_LEASES_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "cluster/shard_fan.h"
#include "engine/lease.h"

namespace mneme {

struct RemoteLease final : Lease {
  std::map<uint32_t, std::pair<uint32_t, std::string>> holders;  // by shard: the replica, and the id of its lease
};

// The id of the lease on `shard`; empty without a lease, and none that a shard knows where it does not cover the shard.
std::string LeaseOn(const LeaseHandle& lease, uint32_t shard);
// The replica that has it: no other can read it. Any without a lease.
uint32_t HolderOf(const LeaseHandle& lease, uint32_t shard);

// Thread-safe; its calls block, but for ReleaseThen(). Borrows the shards.
class RemoteLeases final : public Leases {
 public:
  explicit RemoteLeases(const ShardFan* shards) : shards_(shards) {}

  // As Deployment::AcquireLease. When one shard refuses, what others gave is given back.
  absl::StatusOr<Granted> Acquire(const MemoryRecord& memory, const VisitCommand& command, int64_t lease_ms);

  absl::StatusOr<int64_t> Renew(std::string_view id, int64_t lease_ms) override;
  absl::Status Release(std::string_view id) override;
  void ReleaseThen(std::string_view id, std::function<void(absl::Status)> done) override;
  // That a lease has ended is found when a shard is asked to read it.
  absl::StatusOr<LeaseHandle> Find(std::string_view id, const MemoryRecord& memory) const override;

 private:
  const ShardFan* const shards_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_LEASES_H_
