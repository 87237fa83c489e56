// CallRecord: the counting and logging of one call, unary or stream, and the one way to end it.
#ifndef MNEME_SERVER_CALL_RECORD_H_
#define MNEME_SERVER_CALL_RECORD_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "server/access_control.h"
#include "server/access_targets.h"
#include "server/front_end.h"
#include "server/quotas.h"

namespace mneme {

// An RPC by name, with its series. Made once per service; outlives its calls.
struct RpcMethod {
  std::string service;
  std::string name;
  Metrics::Method* metrics = nullptr;
  const RpcRule* rule = nullptr;  // null: nobody may call it
};
// `type` is "unary", "server_stream" or "bidi_stream".
RpcMethod MakeMethod(FrontEnd& front_end, const char* service, const char* name, const char* type);

// What a handler is given beside its request. Valid until the call has ended.
struct CallContext {
  FrontEnd& front_end;
  Deployment& deployment;
  CallLimits limits;
  const Caller& caller;
};

// Counts and logs a call, and lets it in. Not thread-safe; Finish() at most once.
class CallRecord {
 public:
  CallRecord(FrontEnd& front_end, const RpcMethod& method, const grpc::ServerContextBase& context);

  FrontEnd& front_end() { return front_end_; }
  const Caller& caller() const { return caller_; }

  // For a call that begins, before its request is looked at: UNAUTHENTICATED when the caller is not known.
  const absl::Status& CheckCaller() const { return unknown_; }
  // The gate of every request, the messages of a stream among them, before anything of it is done: UNAUTHENTICATED when
  // the caller is not known, or not any more; PERMISSION_DENIED when he may not do what is asked, whether there is such
  // a memory or not; RESOURCE_EXHAUSTED (RATE_LIMIT) beyond his quota.
  template <typename Request>
  absl::Status Authorize(const Request& request, size_t bytes) {
    return Authorize(TargetsOf(request), {bytes, EntriesOf(request)});
  }
  absl::Status Authorize(absl::Span<const AccessTarget> targets, const Charge& charge);

  // Counts and logs the call, and turns its status into what travels.
  grpc::Status Finish(const absl::Status& status);

 private:
  void LogEnd(const absl::Status& status, double seconds);
  // What was administered, by whom.
  void Audit(const absl::Status& status);
  std::string CallerName() const;

  FrontEnd& front_end_;
  const RpcMethod& method_;
  Caller caller_;
  absl::Status unknown_;
  const std::string peer_;  // of what is audited
  std::string memory_;      // that it was asked for, of what is audited
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The deadline of a call on the monotonic clock, and its flag for cancellation.
CallLimits LimitsOf(const grpc::CallbackServerContext& context, std::shared_ptr<const std::atomic<bool>> cancelled);

}  // namespace mneme

#endif  // MNEME_SERVER_CALL_RECORD_H_
