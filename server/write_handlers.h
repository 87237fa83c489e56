// Insert and Delete.
#ifndef MNEME_SERVER_WRITE_HANDLERS_H_
#define MNEME_SERVER_WRITE_HANDLERS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mneme/v1/memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleInsert(const CallContext& call, const v1::InsertRequest& request, v1::InsertResponse* response,
                          Done done);
absl::Status HandleDelete(const CallContext& call, const v1::DeleteRequest& request, v1::DeleteResponse* response,
                          Done done);

// The first half of an insert, for a stream: finds the memory and validates.
struct PlannedInsert {
  MemoryHandle memory;
  InsertCommand command;
};
absl::StatusOr<PlannedInsert> PlanInsert(const Deployment& deployment, const v1::InsertRequest& request);

}  // namespace mneme

#endif  // MNEME_SERVER_WRITE_HANDLERS_H_
