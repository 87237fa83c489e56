// The one place where an absl::Status becomes a grpc::Status.
#ifndef MNEME_SERVER_GRPC_STATUS_H_
#define MNEME_SERVER_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace mneme {

// Maps code, message and details; the details travel as google.rpc.Status in grpc-status-details-bin.
// Every error carries an ErrorInfo; RESOURCE_EXHAUSTED and UNAVAILABLE also a RetryInfo, but for a store that met the
// end of its disk (STORAGE_FULL) and a quota on what is stored (STORED_QUOTA), which no time mends. INTERNAL (and
// UNKNOWN, which nothing of ours means) tells the client nothing but the fact: its text belongs in the log. Details
// stay below limits::kMaxErrorDetailBytes, beyond which a client would see RESOURCE_EXHAUSTED instead of the error.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace mneme

#endif  // MNEME_SERVER_GRPC_STATUS_H_
