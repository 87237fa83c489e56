// Leases: versions that are held for reads.
#ifndef MNEME_SERVER_LEASE_HANDLERS_H_
#define MNEME_SERVER_LEASE_HANDLERS_H_

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"
#include "server/call_record.h"

namespace mneme {

absl::Status HandleAcquireLease(const CallContext& call, const v1::AcquireLeaseRequest& request,
                                v1::AcquireLeaseResponse* response);
absl::Status HandleRenewLease(const CallContext& call, const v1::RenewLeaseRequest& request,
                              v1::RenewLeaseResponse* response);
absl::Status HandleReleaseLease(const CallContext& call, const v1::ReleaseLeaseRequest& request,
                                v1::ReleaseLeaseResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_LEASE_HANDLERS_H_
