#include "mneme/v1/working_memory.grpc.pb.h"
#include "server/mask_handler.h"
#include "server/services.h"
#include "server/state_handlers.h"
#include "server/unary_call.h"

namespace mneme {
namespace {

using v1::WorkingMemoryService;

using RawService = WorkingMemoryService::WithRawCallbackMethod_Apply<
    WorkingMemoryService::WithRawCallbackMethod_ResetSessions<WorkingMemoryService::WithRawCallbackMethod_MaskTokens<
        WorkingMemoryService::WithRawCallbackMethod_ForkSession<WorkingMemoryService::WithRawCallbackMethod_GetSession<
            WorkingMemoryService::WithRawCallbackMethod_PutSession<
                WorkingMemoryService::WithRawCallbackMethod_ListSessions<WorkingMemoryService::Service>>>>>>>;

constexpr char kService[] = "mneme.v1.WorkingMemoryService";

class RawWorkingMemoryService final : public RawService {
 public:
  explicit RawWorkingMemoryService(FrontEnd& front_end) : front_end_(front_end) {}

  grpc::ServerUnaryReactor* Apply(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                  grpc::ByteBuffer* out) override {
    return StartUnary<v1::ApplyRequest, v1::ApplyResponse>(front_end_, apply_, context, in, out, HandleApply);
  }
  grpc::ServerUnaryReactor* ResetSessions(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                          grpc::ByteBuffer* out) override {
    return StartUnary<v1::ResetSessionsRequest, v1::ResetSessionsResponse>(front_end_, reset_, context, in, out,
                                                                           HandleResetSessions);
  }
  grpc::ServerUnaryReactor* MaskTokens(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override {
    return StartBlocking<v1::MaskTokensRequest, v1::MaskTokensResponse>(front_end_, mask_, context, in, out,
                                                                        HandleMaskTokens, front_end_.calls());
  }
  grpc::ServerUnaryReactor* ForkSession(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out) override {
    return StartUnary<v1::ForkSessionRequest, v1::ForkSessionResponse>(front_end_, fork_, context, in, out,
                                                                       HandleForkSession);
  }
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override {
    return StartBlocking<v1::GetSessionRequest, v1::GetSessionResponse>(front_end_, get_, context, in, out,
                                                                        HandleGetSession, front_end_.calls());
  }
  grpc::ServerUnaryReactor* PutSession(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override {
    return StartUnary<v1::PutSessionRequest, v1::PutSessionResponse>(front_end_, put_, context, in, out,
                                                                     HandlePutSession);
  }
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override {
    return StartBlocking<v1::ListSessionsRequest, v1::ListSessionsResponse>(
        front_end_, list_, context, in, out, HandleListSessions, front_end_.calls());
  }

 private:
  RpcMethod Add(const char* name) { return MakeMethod(front_end_, kService, name, "unary"); }

  FrontEnd& front_end_;
  const RpcMethod apply_ = Add("Apply");
  const RpcMethod reset_ = Add("ResetSessions");
  const RpcMethod mask_ = Add("MaskTokens");
  const RpcMethod fork_ = Add("ForkSession");
  const RpcMethod get_ = Add("GetSession");
  const RpcMethod put_ = Add("PutSession");
  const RpcMethod list_ = Add("ListSessions");
};

}  // namespace

std::unique_ptr<grpc::Service> MakeWorkingMemoryService(FrontEnd& front_end) {
  return std::make_unique<RawWorkingMemoryService>(front_end);
}

}  // namespace mneme
