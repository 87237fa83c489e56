#include "server/lease_handlers.h"

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/read_source.h"
#include "server/request_error.h"

namespace mneme {
namespace {

absl::Status CheckLeaseMs(uint32_t lease_ms) {
  if (lease_ms >= 1 && lease_ms <= limits::kMaxLeaseMs) return absl::OkStatus();
  return FieldError("lease_ms", absl::StrCat("is ", lease_ms, "; must be in [1, ", limits::kMaxLeaseMs, "]"));
}

}  // namespace

absl::Status HandleAcquireLease(const CallContext& call, const v1::AcquireLeaseRequest& request,
                                v1::AcquireLeaseResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  RETURN_IF_ERROR(CheckLeaseMs(request.lease_ms()));
  VisitCommand command;
  RETURN_IF_ERROR(ReadPartitions("partitions", request.partitions(), command.partitions));
  ASSIGN_OR_RETURN(command.at_least, ReadVersion(call.deployment, memory, request.at_least_version()));
  command.limits = call.limits;
  const absl::StatusOr<Leases::Granted> granted = call.deployment.AcquireLease(memory, command, request.lease_ms());
  if (!granted.ok()) return WithMemory(granted.status(), *memory);
  const absl::Status shared =
      call.front_end.lease_shares().Take(call.caller.principal(), granted->id, request.lease_ms());
  if (!shared.ok()) {
    (void)call.deployment.leases().Release(granted->id);
    return shared;
  }
  response->set_lease(granted->id);
  response->set_version(call.deployment.EncodeVersion(granted->version));
  response->set_expires_ms(granted->expires_ms);
  response->set_memory(memory->spec.name);
  return absl::OkStatus();
}

absl::Status HandleRenewLease(const CallContext& call, const v1::RenewLeaseRequest& request,
                              v1::RenewLeaseResponse* response) {
  RETURN_IF_ERROR(CheckLeaseMs(request.lease_ms()));
  // First, so that who has too many cannot keep more.
  LeaseShares& shares = call.front_end.lease_shares();
  RETURN_IF_ERROR(shares.Take(call.caller.principal(), request.lease(), request.lease_ms()));
  const absl::StatusOr<int64_t> expires_ms = call.deployment.leases().Renew(request.lease(), request.lease_ms());
  if (!expires_ms.ok()) {
    shares.GiveBack(call.caller.principal(), request.lease());
    return WithLeaseField(expires_ms.status());
  }
  response->set_expires_ms(*expires_ms);
  return absl::OkStatus();
}

absl::Status HandleReleaseLease(const CallContext& call, const v1::ReleaseLeaseRequest& request,
                                v1::ReleaseLeaseResponse* /*response*/) {
  const absl::Status released = call.deployment.leases().Release(request.lease());
  if (released.ok()) call.front_end.lease_shares().GiveBack(call.caller.principal(), request.lease());
  return WithLeaseField(released);
}

}  // namespace mneme
