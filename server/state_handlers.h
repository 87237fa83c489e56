// The methods of WorkingMemoryService.
#ifndef MNEME_SERVER_STATE_HANDLERS_H_
#define MNEME_SERVER_STATE_HANDLERS_H_

#include "absl/status/status.h"
#include "mneme/v1/working_memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleApply(const CallContext& call, const v1::ApplyRequest& request, v1::ApplyResponse* response,
                         Done done);
absl::Status HandleResetSessions(const CallContext& call, const v1::ResetSessionsRequest& request,
                                 v1::ResetSessionsResponse* response, Done done);
absl::Status HandleForkSession(const CallContext& call, const v1::ForkSessionRequest& request,
                               v1::ForkSessionResponse* response, Done done);
absl::Status HandleGetSession(const CallContext& call, const v1::GetSessionRequest& request,
                              v1::GetSessionResponse* response);
absl::Status HandlePutSession(const CallContext& call, const v1::PutSessionRequest& request,
                              v1::PutSessionResponse* response, Done done);
absl::Status HandleListSessions(const CallContext& call, const v1::ListSessionsRequest& request,
                                v1::ListSessionsResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_STATE_HANDLERS_H_
