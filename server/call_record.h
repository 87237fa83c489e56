// CallRecord: the counting and logging of one call, unary or stream, and the one way to end it.
#ifndef MNEME_SERVER_CALL_RECORD_H_
#define MNEME_SERVER_CALL_RECORD_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/status_macros.h"
#include "engine/commands.h"
#include "server/access_control.h"
#include "server/access_targets.h"
#include "server/front_end.h"
#include "server/quotas.h"
#include "server/raw_message.h"
#include "server/stored_quotas.h"

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
  // "" where he is not known.
  std::string CallerName() const;
  // Whether anything that was let in may write.
  bool may_have_written() const { return may_have_written_; }

  // For a stream that begins: UNAUTHENTICATED when the caller is not known.
  const absl::Status& CheckCaller() const { return unknown_; }
  // The first gate, of every message that comes, before it is parsed: UNAUTHENTICATED when the caller is not known, or
  // not any more; RESOURCE_EXHAUSTED (RATE_LIMIT) beyond his quota of requests or bytes, which this takes, whatever
  // becomes of the message, and while answers that went are more than his quota of them.
  absl::Status Receive(size_t bytes);
  // The second, before anything of it is done, and again before each further answer to it: UNAUTHENTICATED as above;
  // PERMISSION_DENIED when he may not do what is asked, whether there is such a memory or not.
  template <typename Request>
  absl::Status Authorize(const Request& request) {
    return AuthorizeTargets(TargetsOf(request));
  }
  absl::Status AuthorizeTargets(absl::Span<const AccessTarget> targets);
  // The third, of what writes: RESOURCE_EXHAUSTED (RATE_LIMIT) beyond his quota of entries.
  absl::Status TakeEntries(size_t entries);
  // Whether what he writes is held against what is stored (stored_quotas.h), as far as is known now.
  bool BoundsWrites();
  // Of every answer, and every message of a stream of them, that goes.
  void TakeAnswer(size_t bytes);
  // How long the next message of a stream has to wait for the quota of bytes answered; zero: it need not.
  absl::Duration AnswerPause() const;
  // All three, around the parsing of `bytes` into `request`; errors of ParseMessage.
  template <typename Request>
  absl::Status Admit(const grpc::ByteBuffer& bytes, Request* request) {
    RETURN_IF_ERROR(Receive(bytes.Length()));
    RETURN_IF_ERROR(ParseMessage(bytes, request));
    RETURN_IF_ERROR(Authorize(*request));
    return TakeEntries(EntriesOf(*request));
  }

  // Counts and logs the call, and turns its status into what travels.
  grpc::Status Finish(const absl::Status& status);

 private:
  void LogEnd(const absl::Status& status, double seconds);
  // What was administered, by whom.
  void Audit(const absl::Status& status);
  absl::Status Refresh();

  FrontEnd& front_end_;
  const RpcMethod& method_;
  Caller caller_;
  absl::Status unknown_;
  std::string peer_;    // of what is audited, and of who is not known
  std::string memory_;  // that it was asked for, of what is audited
  bool let_in_ = false;  // a message of it was
  bool may_have_written_ = false;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The deadline of a call on the monotonic clock, and its flag for cancellation.
CallLimits LimitsOf(const grpc::CallbackServerContext& context, std::shared_ptr<const std::atomic<bool>> cancelled);

}  // namespace mneme

#endif  // MNEME_SERVER_CALL_RECORD_H_
