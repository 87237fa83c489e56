// The learned write over the wire.
#ifndef MNEME_SERVER_REMEMBER_HANDLER_H_
#define MNEME_SERVER_REMEMBER_HANDLER_H_

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

// As an AsyncHandler.
absl::Status HandleRemember(const CallContext& call, const v1::RememberRequest& request,
                            v1::RememberResponse* response, Done done);

}  // namespace mneme

#endif  // MNEME_SERVER_REMEMBER_HANDLER_H_
