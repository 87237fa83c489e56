// UnaryCall: one unary RPC of any service, with the deadline and the retries of the options.
#ifndef MNEME_CLIENT_UNARY_CALL_H_
#define MNEME_CLIENT_UNARY_CALL_H_

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"
#include "client/channel.h"
#include "client/retry.h"
#include "common/status_macros.h"

namespace mneme {

// Calls `method` of `service` by CallWithRetry (retry.h), whose errors it returns. Included by sources only: it brings
// gRPC with it.
template <typename Stub, typename Response, typename Request>
absl::StatusOr<Response> UnaryCall(Stub& service, const ClientOptions& options,
                                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                   const Request& request) {
  Response response;
  RETURN_IF_ERROR(CallWithRetry(
      options, [&](grpc::ClientContext& context) { return (service.*method)(&context, request, &response); }));
  return response;
}

}  // namespace mneme

#endif  // MNEME_CLIENT_UNARY_CALL_H_
