#include "server/write_handlers.h"

#include <utility>

#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_memory.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"

namespace mneme {
namespace {

void WriteInsertOutcome(const Deployment& deployment, const InsertOutcome& outcome, Durability durability,
                        v1::InsertResponse* response) {
  response->set_inserted(outcome.inserted);
  response->set_replaced(outcome.replaced);
  WriteColumn(outcome.given_ids, response->mutable_ids());
  response->set_version(deployment.EncodeVersion(outcome.version));
  response->set_durability(WriteDurability(durability));
  response->set_replayed(outcome.replayed);
}

void WriteDeleteOutcome(const Deployment& deployment, const DeleteOutcome& outcome, const v1::DeleteRequest& request,
                        v1::DeleteResponse* response) {
  v1::DeleteReceipt* receipt = response->mutable_receipt();
  receipt->set_deleted(outcome.deleted);
  receipt->set_absent(outcome.absent);
  receipt->set_deleted_at_ms(outcome.deleted_at_ms);
  receipt->set_dry_run(request.dry_run());
  if (!request.dry_run()) receipt->set_id(deployment.EncodeReceipt(outcome.version));
  response->set_version(deployment.EncodeVersion(outcome.version));
  const bool written = request.durability() == v1::DURABILITY_WRITTEN;
  response->set_durability(written ? v1::DURABILITY_WRITTEN : v1::DURABILITY_SYNC);
  response->set_replayed(outcome.replayed);
}

absl::Status StartDelete(const CallContext& call, const v1::DeleteRequest& request, v1::DeleteResponse* response,
                         Done done) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  DeleteCommand command;
  RETURN_IF_ERROR(ReadDelete(request, command));
  call.deployment.Delete(memory, std::move(command),
                         [&call, memory, &request, response, done](absl::StatusOr<DeleteOutcome> outcome) {
                           if (outcome.ok()) WriteDeleteOutcome(call.deployment, *outcome, request, response);
                           done(WithMemory(outcome.status(), *memory));
                         });
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PlannedInsert> PlanInsert(const Deployment& deployment, const v1::InsertRequest& request) {
  PlannedInsert plan;
  ASSIGN_OR_RETURN(plan.memory, FindMemory(deployment, request.memory()));
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), plan.memory->spec));
  RETURN_IF_ERROR(ReadInsert(request, plan.memory->spec, plan.command));
  return plan;
}

absl::Status HandleInsert(const CallContext& call, const v1::InsertRequest& request, v1::InsertResponse* response,
                          Done done) {
  ASSIGN_OR_RETURN(PlannedInsert plan, PlanInsert(call.deployment, request));
  const MemoryHandle memory = plan.memory;
  const Durability durability = plan.command.durability;
  call.deployment.Insert(memory, std::move(plan.command), nullptr,
                         [&call, memory, durability, response, done](absl::StatusOr<InsertOutcome> outcome) {
                           if (outcome.ok()) WriteInsertOutcome(call.deployment, *outcome, durability, response);
                           done(WithMemory(outcome.status(), *memory));
                         });
  return absl::OkStatus();
}

absl::Status HandleDelete(const CallContext& call, const v1::DeleteRequest& request, v1::DeleteResponse* response,
                          Done done) {
  if (!request.dry_run()) return StartDelete(call, request, response, std::move(done));
  // A dry run counts by scanning, where a deletion only queues: that may not hold up a gRPC thread.
  return call.front_end.calls().Submit([&call, &request, response, done = std::move(done)] {
    const absl::Status status = Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(call.limits.Check());  // it may have waited
      return StartDelete(call, request, response, done);
    });
    if (!status.ok()) done(status);
  });
}

}  // namespace mneme
