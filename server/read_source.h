// ReadSource: of which version a read is, as its request says.
#ifndef MNEME_SERVER_READ_SOURCE_H_
#define MNEME_SERVER_READ_SOURCE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "engine/deployment.h"
#include "server/find_memory.h"
#include "server/request_error.h"

namespace mneme {

// What the engine says of the id of a lease: INVALID_ARGUMENT names the field.
absl::Status WithLeaseField(const absl::Status& status);

// The lease that `id` names; null when it is empty. INVALID_ARGUMENT when it is none that the server gives;
// FAILED_PRECONDITION (LEASE_EXPIRED) when it has ended or is of another memory.
absl::StatusOr<LeaseHandle> FindLease(const Deployment& deployment, const MemoryHandle& memory, const std::string& id);

// INVALID_ARGUMENT, naming `field`, when the lease (may be null) was not taken for all of `partitions`.
absl::Status CheckCovered(const std::string& field, const LeaseHandle& lease, const PartitionSelection& partitions);

// Fills at_least and lease of a command whose partitions have been read. INVALID_ARGUMENT when the request has both.
template <typename Request, typename Command>
absl::Status ReadSource(const Deployment& deployment, const MemoryHandle& memory, const Request& request,
                        Command& command) {
  ASSIGN_OR_RETURN(command.at_least, ReadVersion(deployment, memory, request.at_least_version()));
  ASSIGN_OR_RETURN(command.lease, FindLease(deployment, memory, request.lease()));
  if (command.lease != nullptr && !request.at_least_version().empty()) {
    return FieldError("at_least_version", "is set beside a lease, which reads the version that it holds");
  }
  return CheckCovered("partitions", command.lease, command.partitions);
}

}  // namespace mneme

#endif  // MNEME_SERVER_READ_SOURCE_H_
