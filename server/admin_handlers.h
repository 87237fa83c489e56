// The control plane's unary calls.
#ifndef MNEME_SERVER_ADMIN_HANDLERS_H_
#define MNEME_SERVER_ADMIN_HANDLERS_H_

#include "absl/status/status.h"
#include "mneme/v1/admin.pb.h"
#include "server/call_record.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleCreateMemory(const CallContext& call, const v1::CreateMemoryRequest& request,
                                v1::CreateMemoryResponse* response);
absl::Status HandleGetMemory(const CallContext& call, const v1::GetMemoryRequest& request,
                             v1::GetMemoryResponse* response);
absl::Status HandleListMemories(const CallContext& call, const v1::ListMemoriesRequest& request,
                                v1::ListMemoriesResponse* response);
absl::Status HandleDropMemory(const CallContext& call, const v1::DropMemoryRequest& request,
                              v1::DropMemoryResponse* response);
absl::Status HandleGetStatistics(const CallContext& call, const v1::GetStatisticsRequest& request,
                                 v1::GetStatisticsResponse* response);
// Ends on the thread that called it: it is the measure of what a call costs.
absl::Status HandlePing(const CallContext& call, const v1::PingRequest& request, v1::PingResponse* response, Done done);

}  // namespace mneme

#endif  // MNEME_SERVER_ADMIN_HANDLERS_H_
