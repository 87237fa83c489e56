// UnaryCall: one unary RPC, from bytes to bytes: parse, authorize, handle, serialise. Used by every unary method.
#ifndef MNEME_SERVER_UNARY_CALL_H_
#define MNEME_SERVER_UNARY_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/status_macros.h"
#include "server/call_record.h"
#include "server/find_memory.h"
#include "server/raw_message.h"

namespace mneme {

// Ends a call; called exactly once, on any thread. Request, response and context may be gone when it returns.
using Done = std::function<void(absl::Status)>;

// Starts the work. OK: `done` will be called, or was. Otherwise it never will be, and the status ends the call.
template <typename Request, typename Response>
using AsyncHandler = absl::Status (*)(const CallContext& call, const Request& request, Response* response, Done done);

// Does the work, and may block: runs on a CallPool.
template <typename Request, typename Response>
using BlockingHandler = absl::Status (*)(const CallContext& call, const Request& request, Response* response);

// Owns itself from Start() to OnDone(). Work that is no longer wanted (deadline past, client gone) is not begun. When
// the memory that the work had found was dropped under it, the work begins anew: the name may be an alias, which means
// another memory now.
template <typename Request, typename Response>
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  UnaryCall(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context, grpc::ByteBuffer* out)
      : record_(front_end, method, *context),
        held_(front_end.held_answers(), context->c_call(), record_.CallerName()),
        limits_(LimitsOf(*context, cancelled_)),
        out_(out) {}

  void Run(const grpc::ByteBuffer& bytes, AsyncHandler<Request, Response> handler) {
    absl::Status status = Guard([&] { return Admit(bytes); });
    if (!status.ok()) return End(status);
    if (!IsHeldToBounds()) return Handle(handler);
    // What is stored may have to be asked of shards, which may not hold up a gRPC thread.
    status = record_.front_end().bounded_writes().Submit([this, handler] {
      const absl::Status admitted = Guard([this] { return AdmitStored(); });
      admitted.ok() ? Handle(handler) : End(admitted);
    });
    if (!status.ok()) End(status);
  }

  void RunBlocking(const grpc::ByteBuffer& bytes, BlockingHandler<Request, Response> handler, CallPool& pool) {
    const absl::Status status = Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(Admit(bytes));
      CallPool& workers = IsHeldToBounds() ? record_.front_end().bounded_writes() : pool;
      return workers.Submit([this, handler] {
        absl::Status end = Guard([this] { return AdmitStored(); });
        if (!end.ok()) return End(std::move(end));
        do {
          end = Guard([&]() -> absl::Status {
            RETURN_IF_ERROR(limits_.Check());  // it may have waited
            return handler(*context_, request_, &response_);
          });
        } while (BeginsAnew(end));
        End(std::move(end));
      });
    });
    if (!status.ok()) End(status);
  }

  void OnCancel() override { cancelled_->store(true, std::memory_order_relaxed); }
  void OnDone() override { delete this; }

 private:
  absl::Status Admit(const grpc::ByteBuffer& bytes) {
    RETURN_IF_ERROR(record_.CheckCaller());
    RETURN_IF_ERROR(limits_.Check());
    RETURN_IF_ERROR(record_.Admit(bytes, &request_));
    ASSIGN_OR_RETURN(Deployment * deployment, record_.front_end().deployment());
    context_.emplace(CallContext{record_.front_end(), *deployment, limits_, record_.caller()});
    return absl::OkStatus();
  }

  // Whether what it writes is held against what is stored.
  bool IsHeldToBounds() const { return BoundsWrites(record_.caller()) && AdditionOf(request_).has_value(); }

  absl::Status AdmitStored() {
    if (!BoundsWrites(record_.caller())) return absl::OkStatus();
    RETURN_IF_ERROR(limits_.Check());  // it may have waited
    ASSIGN_OR_RETURN(ticket_, AdmitAddition(record_.front_end().stored_quotas(), record_.caller(),
                                            context_->deployment, AdditionOf(request_), limits_));
    return absl::OkStatus();
  }

  void Handle(AsyncHandler<Request, Response> handler) {
    const auto end = [this, handler](absl::Status status) { BeginsAnew(status) ? Handle(handler) : End(status); };
    const absl::Status status = Guard([&] { return handler(*context_, request_, &response_, end); });
    if (!status.ok()) end(status);
  }

  bool BeginsAnew(const absl::Status& end) {
    if (!WasDroppedMeanwhile(end) || ++times_anew_ > kMostTimesAnew || !limits_.Check().ok()) return false;
    response_.Clear();
    return true;
  }

  void End(absl::Status status) {
    ticket_.Release();
    if (status.ok()) status = Guard([&] { return SerializeMessage(std::move(response_), out_); });
    // What the answer was made of is not held until its client has taken it.
    response_ = Response();
    request_ = Request();
    if (status.ok()) status = Guard([&] { return held_.Give(out_->Length(), record_.may_have_written()); });
    if (status.ok()) record_.TakeAnswer(out_->Length());
    if (!status.ok()) out_->Clear();
    Finish(record_.Finish(status));
  }

  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  CallRecord record_;
  HeldAnswers::Share held_;
  const CallLimits limits_;
  grpc::ByteBuffer* const out_;
  Request request_;
  Response response_;
  std::optional<CallContext> context_;
  StoredQuotas::Ticket ticket_;  // of what it writes
  int times_anew_ = 0;
};

template <typename Request, typename Response>
grpc::ServerUnaryReactor* StartUnary(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                     AsyncHandler<Request, Response> handler) {
  auto* call = new UnaryCall<Request, Response>(front_end, method, context, out);
  call->Run(*in, handler);
  return call;
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* StartBlocking(FrontEnd& front_end, const RpcMethod& method,
                                        grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out, BlockingHandler<Request, Response> handler,
                                        CallPool& pool) {
  auto* call = new UnaryCall<Request, Response>(front_end, method, context, out);
  call->RunBlocking(*in, handler, pool);
  return call;
}

}  // namespace mneme

#endif  // MNEME_SERVER_UNARY_CALL_H_
