// CallRecord: the counting and logging of one call, unary or stream, and the one way to end it.
#ifndef MNEME_SERVER_CALL_RECORD_H_
#define MNEME_SERVER_CALL_RECORD_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "server/front_end.h"

namespace mneme {

// An RPC by name, with its series. Made once per service; outlives its calls.
struct RpcMethod {
  std::string service;
  std::string name;
  Metrics::Method* metrics = nullptr;
};

// What a handler is given beside its request. Valid until the call has ended.
struct CallContext {
  FrontEnd& front_end;
  Deployment& deployment;
  CallLimits limits;
};

// Not thread-safe; Finish() at most once.
class CallRecord {
 public:
  CallRecord(FrontEnd& front_end, const RpcMethod& method);

  FrontEnd& front_end() { return front_end_; }
  // Counts and logs the call, and turns its status into what travels.
  grpc::Status Finish(const absl::Status& status);

 private:
  void LogEnd(const absl::Status& status, double seconds);

  FrontEnd& front_end_;
  const RpcMethod& method_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The deadline of a call on the monotonic clock, and its flag for cancellation.
CallLimits LimitsOf(const grpc::CallbackServerContext& context, std::shared_ptr<const std::atomic<bool>> cancelled);

}  // namespace mneme

#endif  // MNEME_SERVER_CALL_RECORD_H_
