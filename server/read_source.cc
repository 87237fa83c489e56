#include "server/read_source.h"

namespace mneme {

absl::Status WithLeaseField(const absl::Status& status) {
  return absl::IsInvalidArgument(status) ? FieldError("lease", "is not one that AcquireLease gave") : status;
}

absl::StatusOr<LeaseHandle> FindLease(const Deployment& deployment, const MemoryHandle& memory, const std::string& id) {
  if (id.empty()) return LeaseHandle();
  absl::StatusOr<LeaseHandle> lease = deployment.leases().Find(id, *memory);
  if (!lease.ok()) return WithLeaseField(lease.status());
  return lease;
}

absl::Status CheckCovered(const std::string& field, const LeaseHandle& lease, const PartitionSelection& partitions) {
  if (lease == nullptr || lease->Covers(partitions)) return absl::OkStatus();
  return FieldError(field, "asks for more than the lease was taken for; name partitions that it holds");
}

}  // namespace mneme
