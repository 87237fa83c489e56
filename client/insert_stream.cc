#include "client/insert_stream.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "client/retry.h"
#include "client/rpc_status.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "mneme/v1/memory.grpc.pb.h"

namespace mneme {

struct InsertStream::Call {
  explicit Call(const std::shared_ptr<grpc::Channel>& channel)
      : stub(v1::MemoryService::NewStub(channel)), stream(stub->InsertStream(&context)) {}

  grpc::ClientContext context;
  std::unique_ptr<v1::MemoryService::Stub> stub;
  std::unique_ptr<grpc::ClientReaderWriter<v1::InsertStreamRequest, v1::InsertStreamResponse>> stream;
};

InsertStream::InsertStream(const std::shared_ptr<grpc::Channel>& channel, const ClientOptions& options)
    : options_(options),
      call_(std::make_unique<Call>(channel)),
      window_bytes_(limits::kInsertStreamWindowBytes) {  // until the first acknowledgement says
  reader_ = std::thread([this] { ReadAcknowledgements(); });
}

InsertStream::~InsertStream() {
  if (closed_) return;
  call_->context.TryCancel();
  static_cast<void>(Close());
}

void InsertStream::ReadAcknowledgements() {
  v1::InsertStreamResponse response;
  while (call_->stream->Read(&response)) {
    absl::MutexLock lock(&mutex_);
    progress_.sequence = response.sequence();
    progress_.inserted += response.inserted();
    progress_.replaced += response.replaced();
    progress_.ids += response.ids();
    if (!response.version().empty()) progress_.version = response.version();
    if (response.window_bytes() > 0) window_bytes_ = response.window_bytes();
    while (!in_flight_.empty() && in_flight_.front().first <= response.sequence()) {
      in_flight_bytes_ -= in_flight_.front().second;
      in_flight_.pop_front();
    }
    changed_.SignalAll();
  }
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  changed_.SignalAll();
}

absl::Status InsertStream::WaitForWindow(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  while (!ended_ && !in_flight_.empty() && in_flight_bytes_ + bytes > window_bytes_) {
    const uint64_t before = progress_.sequence;
    const absl::Duration timeout =
        options_.timeout > absl::ZeroDuration() ? options_.timeout : absl::InfiniteDuration();
    if (changed_.WaitWithTimeout(&mutex_, timeout) && progress_.sequence == before && !ended_) {
      return absl::DeadlineExceededError(
          absl::StrCat("no acknowledgement for ", absl::FormatDuration(options_.timeout), " after batch ", before));
    }
  }
  return absl::OkStatus();
}

absl::Status InsertStream::Write(v1::InsertRequest batch) {
  if (closed_) return final_status_.ok() ? absl::FailedPreconditionError("the stream is finished") : final_status_;
  v1::InsertStreamRequest request;
  *request.mutable_insert() = std::move(batch);
  if (request.insert().request_id().empty()) request.mutable_insert()->set_request_id(NewRequestId());
  request.set_sequence(last_sequence_ + 1);
  const uint64_t bytes = request.ByteSizeLong();
  RETURN_IF_ERROR(WaitForWindow(bytes));
  {
    absl::MutexLock lock(&mutex_);
    in_flight_.emplace_back(request.sequence(), bytes);
    in_flight_bytes_ += bytes;
  }
  last_sequence_ = request.sequence();
  if (call_->stream->Write(request)) return absl::OkStatus();
  const absl::Status status = Close();
  return status.ok() ? absl::UnavailableError("the server ended the stream") : status;
}

absl::StatusOr<StreamProgress> InsertStream::Finish() {
  if (closed_) return final_status_.ok() ? absl::FailedPreconditionError("the stream is finished") : final_status_;
  call_->stream->WritesDone();
  // An impossible size: waits until nothing is in flight.
  if (const absl::Status waited = WaitForWindow(UINT64_MAX / 2); !waited.ok()) {
    call_->context.TryCancel();
    static_cast<void>(Close());
    return waited;
  }
  RETURN_IF_ERROR(Close());
  StreamProgress progress = this->progress();
  if (progress.sequence < last_sequence_) {
    return absl::UnavailableError(absl::StrCat("the server ended the stream after batch ", progress.sequence, " of ",
                                               last_sequence_));
  }
  return progress;
}

StreamProgress InsertStream::progress() const {
  absl::MutexLock lock(&mutex_);
  return progress_;
}

absl::Status InsertStream::Close() {
  if (closed_) return final_status_;
  closed_ = true;
  reader_.join();
  final_status_ = ToAbslStatus(call_->stream->Finish());
  return final_status_;
}

}  // namespace mneme
