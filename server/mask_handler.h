// Token masks over the wire: facts and a vocabulary from registers, or given with the call.
#ifndef MNEME_SERVER_MASK_HANDLER_H_
#define MNEME_SERVER_MASK_HANDLER_H_

#include "absl/status/status.h"
#include "mneme/v1/working_memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

// As a BlockingHandler.
absl::Status HandleMaskTokens(const CallContext& call, const v1::MaskTokensRequest& request,
                              v1::MaskTokensResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_MASK_HANDLER_H_
