// Get and Count: they read storage, and block.
#ifndef MNEME_SERVER_READ_HANDLERS_H_
#define MNEME_SERVER_READ_HANDLERS_H_

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"
#include "server/call_record.h"

namespace mneme {

absl::Status HandleGet(const CallContext& call, const v1::GetRequest& request, v1::GetResponse* response);
absl::Status HandleCount(const CallContext& call, const v1::CountRequest& request, v1::CountResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_READ_HANDLERS_H_
