#include "client/query_stream.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/rpc_status.h"
#include "common/status_macros.h"
#include "mneme/v1/memory.grpc.pb.h"

namespace mneme {

// The asynchronous interface, one operation at a time: the synchronous one cannot bound a single Read.
struct QueryStream::Call {
  explicit Call(const std::shared_ptr<grpc::Channel>& channel)
      : stub(v1::MemoryService::NewStub(channel)), stream(stub->PrepareAsyncQueryStream(&context, &queue)) {}

  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  std::unique_ptr<v1::MemoryService::Stub> stub;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::QueryStreamRequest, v1::QueryStreamResponse>> stream;
  bool started = false;
};

QueryStream::QueryStream(const std::shared_ptr<grpc::Channel>& channel, const ClientOptions& options)
    : options_(options), call_(std::make_unique<Call>(channel)) {}

QueryStream::~QueryStream() {
  if (call_->started && !ended_) {
    call_->context.TryCancel();
    static_cast<void>(End());
  }
  call_->queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (call_->queue.Next(&tag, &ok)) {
  }
}

absl::StatusOr<bool> QueryStream::Await() {
  void* tag = nullptr;
  bool ok = false;
  if (options_.timeout <= absl::ZeroDuration()) return call_->queue.Next(&tag, &ok) && ok;
  const auto deadline = absl::ToChronoTime(absl::Now() + options_.timeout);
  if (call_->queue.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::TIMEOUT) return ok;
  // The operation must end before its message may go: a cancelled one does, at once.
  call_->context.TryCancel();
  call_->queue.Next(&tag, &ok);
  static_cast<void>(End());
  final_status_ = absl::DeadlineExceededError(
      absl::StrCat("a step of the stream took more than ", absl::FormatDuration(options_.timeout)));
  return final_status_;
}

absl::Status QueryStream::End() {
  if (ended_) return final_status_;
  ended_ = true;
  grpc::Status status;
  call_->stream->Finish(&status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  call_->queue.Next(&tag, &ok);
  final_status_ = ToAbslStatus(status);
  return final_status_;
}

absl::Status QueryStream::Write(const v1::QueryStreamRequest& step) {
  if (ended_) return final_status_.ok() ? absl::FailedPreconditionError("the stream has ended") : final_status_;
  if (!call_->started) {
    call_->started = true;
    call_->stream->StartCall(nullptr);
    ASSIGN_OR_RETURN(const bool started, Await());
    if (!started) return End();
  }
  call_->stream->Write(step, nullptr);
  ASSIGN_OR_RETURN(const bool written, Await());
  if (written) return absl::OkStatus();
  const absl::Status status = End();
  return status.ok() ? absl::UnavailableError("the server ended the stream") : status;
}

absl::StatusOr<v1::QueryStreamResponse> QueryStream::Read() {
  const absl::Status at_end = absl::OutOfRangeError("the stream has ended");
  if (ended_ || !call_->started) return final_status_.ok() ? at_end : final_status_;
  v1::QueryStreamResponse response;
  call_->stream->Read(&response, nullptr);
  ASSIGN_OR_RETURN(const bool read, Await());
  if (read) return response;
  const absl::Status status = End();
  return status.ok() ? at_end : status;
}

absl::Status QueryStream::WritesDone() {
  if (ended_ || !call_->started) return final_status_;
  call_->stream->WritesDone(nullptr);
  ASSIGN_OR_RETURN(const bool done, Await());
  return done ? absl::OkStatus() : End();
}

}  // namespace mneme
