#include "server/export_stream.h"

#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/find_memory.h"
#include "server/raw_message.h"

namespace mneme {

ExportStream* ExportStream::Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request) {
  auto* stream = new ExportStream(front_end, method, context);
  const absl::Status status = Guard([&] { return stream->Prepare(*request); });
  if (status.ok()) {
    stream->NextPiece(front_end.long_calls());
  } else {
    stream->End(status);
  }
  return stream;
}

ExportStream::ExportStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context)
    : front_end_(front_end),
      record_(front_end, method, *context),
      held_(front_end.held_answers(), context->c_call(), record_.CallerName()),
      limits_(LimitsOf(*context, cancelled_)) {}

absl::Status ExportStream::Prepare(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(record_.CheckCaller());
  RETURN_IF_ERROR(limits_.Check());
  RETURN_IF_ERROR(record_.Admit(bytes, &request_));
  ASSIGN_OR_RETURN(deployment_, front_end_.deployment());
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(*deployment_, request_.memory()));
  memory_ = *memory;
  command_.limits = limits_;
  command_.partitions.partitions = {request_.partition()};
  ASSIGN_OR_RETURN(command_.at_least, ReadVersion(*deployment_, memory, request_.at_least_version()));
  return absl::OkStatus();
}

void ExportStream::NextPiece(CallPool& pool) {
  const absl::Status accepted = pool.Submit([this] {
    const absl::Status status = Guard([this] { return ReadPiece(); });
    if (status.ok()) {
      StartWrite(&outgoing_);
    } else {
      End(WithMemory(status, memory_));
    }
  });
  if (!accepted.ok()) End(accepted);
}

absl::Status ExportStream::ReadPiece() {
  RETURN_IF_ERROR(limits_.Check());
  RETURN_IF_ERROR(record_.Authorize(request_));  // he may have lost his right since
  v1::ExportIndexResponse response;
  if (export_ == nullptr) {
    RETURN_IF_ERROR(Open(*response.mutable_shape()));
  } else {
    RETURN_IF_ERROR(FillPiece(response));
  }
  last_piece_ = sizes_ == export_->lists() && entries_ == export_->entries();
  RETURN_IF_ERROR(SerializeMessage(response, &outgoing_));
  RETURN_IF_ERROR(held_.Give(outgoing_.Length(), /*wrote=*/false));
  record_.TakeAnswer(outgoing_.Length());
  return absl::OkStatus();
}

absl::Status ExportStream::Open(v1::ExportedShape& shape) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindAgain(*deployment_, memory_));
  ASSIGN_OR_RETURN(const Leases::Granted granted, deployment_->AcquireLease(memory, command_, limits::kMaxLeaseMs));
  lease_ = granted.id;
  RETURN_IF_ERROR(front_end_.lease_shares().Take(record_.caller().principal(), lease_, limits::kMaxLeaseMs));
  ASSIGN_OR_RETURN(const LeaseHandle lease, deployment_->leases().Find(lease_, *memory));
  ASSIGN_OR_RETURN(export_, deployment_->ExportIndex(memory, lease, limits_));
  shape.set_dimension(memory_.spec.dimension);
  shape.set_metric(memory_.spec.metric == Metric::kL2 ? v1::METRIC_L2 : v1::METRIC_INNER_PRODUCT);
  shape.set_lists(export_->lists());
  shape.set_entries(export_->entries());
  shape.set_version(deployment_->EncodeVersion(granted.version));
  return absl::OkStatus();
}

absl::StatusOr<LeaseHandle> ExportStream::Renew() const {
  const absl::StatusOr<int64_t> renewed = deployment_->leases().Renew(lease_, limits::kMaxLeaseMs);
  if (renewed.ok()) {
    RETURN_IF_ERROR(front_end_.lease_shares().Take(record_.caller().principal(), lease_, limits::kMaxLeaseMs));
    return deployment_->leases().Find(lease_, memory_);
  }
  // The drop of a memory ends its leases.
  RETURN_IF_ERROR(FindAgain(*deployment_, memory_).status());
  return renewed.status();
}

absl::Status ExportStream::FillPiece(v1::ExportIndexResponse& response) {
  ASSIGN_OR_RETURN(const LeaseHandle lease, Renew());
  ASSIGN_OR_RETURN(const ExportPiece piece, export_->Next(lease));
  WriteColumn(piece.centroids, response.mutable_centroids());
  WriteColumn(piece.list_sizes, response.mutable_list_sizes());
  WriteColumn(piece.ids, response.mutable_ids());
  WriteColumn(piece.keys, response.mutable_keys());
  sizes_ += piece.list_sizes.size();
  entries_ += piece.ids.size();
  return absl::OkStatus();
}

void ExportStream::OnWriteDone(bool ok) {
  held_.Taken();
  if (!ok) return EndSoon(absl::CancelledError("the client is gone"));
  if (last_piece_) return EndSoon(absl::OkStatus());
  outgoing_.Clear();
  pause_.Then(record_, limits_, [this] { NextPiece(front_end_.calls()); });
}

void ExportStream::EndSoon(const absl::Status& status) {
  // When too much waits it ends here, which waits for no other process.
  if (!front_end_.calls().Submit([this, status] { End(status); }).ok()) End(status);
}

void ExportStream::End(const absl::Status& status) {
  export_.reset();
  if (lease_.empty()) return Finish(record_.Finish(status));
  deployment_->leases().ReleaseThen(lease_, [this, status](const absl::Status&) {
    front_end_.lease_shares().GiveBack(record_.caller().principal(), lease_);
    Finish(record_.Finish(status));
  });
}

}  // namespace mneme
