// GetReceipt and ListReceipts: they read storage, and block.
#ifndef MNEME_SERVER_RECEIPT_HANDLERS_H_
#define MNEME_SERVER_RECEIPT_HANDLERS_H_

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"
#include "server/call_record.h"

namespace mneme {

absl::Status HandleGetReceipt(const CallContext& call, const v1::GetReceiptRequest& request,
                              v1::GetReceiptResponse* response);
absl::Status HandleListReceipts(const CallContext& call, const v1::ListReceiptsRequest& request,
                                v1::ListReceiptsResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_RECEIPT_HANDLERS_H_
