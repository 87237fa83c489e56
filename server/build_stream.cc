#include "server/build_stream.h"

#include "common/status_macros.h"
#include "server/find_memory.h"
#include "server/raw_message.h"

namespace mneme {
namespace {

// Over all partitions: what left the tails, or all that is sealed when everything was built anew. Writes that come
// meanwhile lengthen the tails again, so that it is a lower bound beside them.
uint64_t RowsSealed(const MemoryStatistics& before, const MemoryStatistics& after, bool retrain) {
  const uint64_t tails = retrain ? after.entries + after.dead_rows : before.tail_rows;
  return tails > after.tail_rows ? tails - after.tail_rows : 0;
}

}  // namespace

BuildStream* BuildStream::Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer* request) {
  const auto stream = std::make_shared<BuildStream>(front_end, method, context);
  stream->self_ = stream;
  const absl::Status status = Guard([&]() -> absl::Status {
    RETURN_IF_ERROR(stream->Prepare(*request));
    return front_end.long_calls().Submit([stream] { stream->Build(); });
  });
  if (!status.ok()) {
    absl::MutexLock lock(&stream->mutex_);
    stream->built_ = status;
    stream->Advance();
  }
  return stream.get();
}

BuildStream::BuildStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context)
    : limits_(LimitsOf(*context, cancelled_)), front_end_(front_end), record_(front_end, method) {}

absl::Status BuildStream::Prepare(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(limits_.Check());
  RETURN_IF_ERROR(ParseMessage(bytes, &request_));
  ASSIGN_OR_RETURN(deployment_, front_end_.deployment());
  ASSIGN_OR_RETURN(memory_, FindMemory(*deployment_, request_.memory()));
  return absl::OkStatus();
}

void BuildStream::Build() {
  uint64_t sealed = 0;
  const absl::Status status = Guard([&]() -> absl::Status {
    RETURN_IF_ERROR(limits_.Check());
    ASSIGN_OR_RETURN(const MemoryStatistics before, deployment_->Statistics(memory_));
    const absl::Status built = deployment_->BuildIndex(
        memory_, request_.retrain(), [this](const BuildProgress& progress) { return OnProgress(progress); });
    // "Cancelled" by a deadline is a deadline.
    if (absl::IsCancelled(built)) RETURN_IF_ERROR(limits_.Check());
    RETURN_IF_ERROR(WithMemory(built, *memory_));
    ASSIGN_OR_RETURN(const MemoryStatistics after, deployment_->Statistics(memory_));
    sealed = RowsSealed(before, after, request_.retrain());
    return absl::OkStatus();
  });
  absl::MutexLock lock(&mutex_);
  if (status.ok()) latest_ = BuildProgress{"done", sealed, sealed};
  built_ = status;
  Advance();
}

bool BuildStream::OnProgress(const BuildProgress& progress) {
  if (!limits_.Check().ok() || front_end_.draining()) return false;
  absl::MutexLock lock(&mutex_);
  latest_ = progress;
  Advance();
  return true;
}

void BuildStream::OnWriteDone(bool ok) {
  const std::shared_ptr<BuildStream> keep = shared_from_this();  // beyond the lock
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) cancelled_->store(true, std::memory_order_relaxed);
  Advance();
}

void BuildStream::Advance() {
  if (writing_ || finished_) return;
  const bool gone = cancelled_->load(std::memory_order_relaxed);
  if (latest_.has_value() && !gone) {
    v1::BuildIndexResponse response;
    response.set_stage(latest_->stage);
    response.set_rows_done(latest_->rows_done);
    response.set_rows_total(latest_->rows_total);
    latest_.reset();
    if (SerializeMessage(response, &outgoing_).ok()) {
      writing_ = true;
      return StartWrite(&outgoing_);
    }
  }
  if (!built_.has_value()) return;
  finished_ = true;
  Finish(record_.Finish(*built_));
}

}  // namespace mneme
