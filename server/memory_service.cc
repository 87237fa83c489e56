#include "mneme/v1/memory.grpc.pb.h"
#include "server/insert_stream.h"
#include "server/lease_handlers.h"
#include "server/query_handler.h"
#include "server/query_stream.h"
#include "server/read_handlers.h"
#include "server/receipt_handlers.h"
#include "server/remember_handler.h"
#include "server/scan_stream.h"
#include "server/services.h"
#include "server/unary_call.h"
#include "server/write_handlers.h"

namespace mneme {
namespace {

using v1::MemoryService;

template <typename Next>
using RawUnary = MemoryService::WithRawCallbackMethod_Insert<MemoryService::WithRawCallbackMethod_Delete<
    MemoryService::WithRawCallbackMethod_Get<MemoryService::WithRawCallbackMethod_Count<
        MemoryService::WithRawCallbackMethod_Query<MemoryService::WithRawCallbackMethod_Remember<Next>>>>>>;
template <typename Next>
using RawLeases = MemoryService::WithRawCallbackMethod_AcquireLease<
    MemoryService::WithRawCallbackMethod_RenewLease<MemoryService::WithRawCallbackMethod_ReleaseLease<Next>>>;
template <typename Next>
using RawReceipts =
    MemoryService::WithRawCallbackMethod_GetReceipt<MemoryService::WithRawCallbackMethod_ListReceipts<Next>>;
template <typename Next>
using RawStreams = MemoryService::WithRawCallbackMethod_InsertStream<
    MemoryService::WithRawCallbackMethod_Scan<MemoryService::WithRawCallbackMethod_QueryStream<Next>>>;

constexpr char kService[] = "mneme.v1.MemoryService";

class RawMemoryService final : public RawUnary<RawLeases<RawReceipts<RawStreams<MemoryService::Service>>>> {
 public:
  explicit RawMemoryService(FrontEnd& front_end) : front_end_(front_end) {}

  grpc::ServerUnaryReactor* Insert(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                   grpc::ByteBuffer* out) override {
    return StartUnary<v1::InsertRequest, v1::InsertResponse>(front_end_, insert_, context, in, out, HandleInsert);
  }
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                   grpc::ByteBuffer* out) override {
    return StartUnary<v1::DeleteRequest, v1::DeleteResponse>(front_end_, delete_, context, in, out, HandleDelete);
  }
  grpc::ServerUnaryReactor* Remember(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                     grpc::ByteBuffer* out) override {
    return StartUnary<v1::RememberRequest, v1::RememberResponse>(front_end_, remember_, context, in, out,
                                                                 HandleRemember);
  }
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                grpc::ByteBuffer* out) override {
    return StartBlocking<v1::GetRequest, v1::GetResponse>(front_end_, get_, context, in, out, HandleGet,
                                                          front_end_.calls());
  }
  grpc::ServerUnaryReactor* Count(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                  grpc::ByteBuffer* out) override {
    return StartBlocking<v1::CountRequest, v1::CountResponse>(front_end_, count_, context, in, out, HandleCount,
                                                              front_end_.calls());
  }
  grpc::ServerUnaryReactor* Query(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                  grpc::ByteBuffer* out) override {
    return StartUnary<v1::QueryRequest, v1::QueryResponse>(front_end_, query_, context, in, out, HandleQuery);
  }
  grpc::ServerUnaryReactor* GetReceipt(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override {
    return StartBlocking<v1::GetReceiptRequest, v1::GetReceiptResponse>(front_end_, get_receipt_, context, in, out,
                                                                        HandleGetReceipt, front_end_.calls());
  }
  grpc::ServerUnaryReactor* ListReceipts(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override {
    return StartBlocking<v1::ListReceiptsRequest, v1::ListReceiptsResponse>(
        front_end_, list_receipts_, context, in, out, HandleListReceipts, front_end_.calls());
  }
  grpc::ServerUnaryReactor* AcquireLease(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override {
    return StartBlocking<v1::AcquireLeaseRequest, v1::AcquireLeaseResponse>(
        front_end_, acquire_lease_, context, in, out, HandleAcquireLease, front_end_.calls());
  }
  grpc::ServerUnaryReactor* RenewLease(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                       grpc::ByteBuffer* out) override {
    return StartBlocking<v1::RenewLeaseRequest, v1::RenewLeaseResponse>(front_end_, renew_lease_, context, in, out,
                                                                        HandleRenewLease, front_end_.calls());
  }
  grpc::ServerUnaryReactor* ReleaseLease(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                         grpc::ByteBuffer* out) override {
    return StartBlocking<v1::ReleaseLeaseRequest, v1::ReleaseLeaseResponse>(
        front_end_, release_lease_, context, in, out, HandleReleaseLease, front_end_.calls());
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* InsertStream(
      grpc::CallbackServerContext* context) override {
    return InsertStreamCall::Start(front_end_, insert_stream_, context);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Scan(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* in) override {
    return ScanStream::Start(front_end_, scan_, context, in);
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* QueryStream(
      grpc::CallbackServerContext* context) override {
    return QueryStreamCall::Start(front_end_, query_stream_, context);
  }

 private:
  RpcMethod Add(const char* name, const char* type) { return MakeMethod(front_end_, kService, name, type); }

  FrontEnd& front_end_;
  const RpcMethod insert_ = Add("Insert", "unary");
  const RpcMethod insert_stream_ = Add("InsertStream", "bidi_stream");
  const RpcMethod remember_ = Add("Remember", "unary");
  const RpcMethod delete_ = Add("Delete", "unary");
  const RpcMethod get_receipt_ = Add("GetReceipt", "unary");
  const RpcMethod list_receipts_ = Add("ListReceipts", "unary");
  const RpcMethod get_ = Add("Get", "unary");
  const RpcMethod scan_ = Add("Scan", "server_stream");
  const RpcMethod count_ = Add("Count", "unary");
  const RpcMethod query_ = Add("Query", "unary");
  const RpcMethod acquire_lease_ = Add("AcquireLease", "unary");
  const RpcMethod renew_lease_ = Add("RenewLease", "unary");
  const RpcMethod release_lease_ = Add("ReleaseLease", "unary");
  const RpcMethod query_stream_ = Add("QueryStream", "bidi_stream");
};

}  // namespace

std::unique_ptr<grpc::Service> MakeMemoryService(FrontEnd& front_end) {
  return std::make_unique<RawMemoryService>(front_end);
}

}  // namespace mneme
