// ProgressStream: one server-streaming RPC that works for minutes and tells how far it is.
#ifndef MNEME_SERVER_PROGRESS_STREAM_H_
#define MNEME_SERVER_PROGRESS_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/status_macros.h"
#include "server/call_record.h"
#include "server/raw_message.h"

namespace mneme {

// Tells how far the work is. False: the client is gone, its time is over or the server is stopping, so end it.
template <typename Response>
using Tell = std::function<bool(Response)>;

// Does the work and may block. What it tells last is always sent before an OK.
template <typename Request, typename Response>
using LongHandler = absl::Status (*)(const CallContext& call, const Request& request, const Tell<Response>& tell);

// What becomes of what is told while the writer is busy.
enum class Pace {
  kLatest,  // the latest takes the place of those before it
  kEach,    // who tells waits: everything is sent
};

// Runs on a worker of `pool`; sends what was told whenever the writer is free. Cancelling the call cancels
// the work. Keeps itself alive until OnDone() and until the work has ended. Thread-safe.
template <typename Request, typename Response>
class ProgressStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public std::enable_shared_from_this<ProgressStream<Request, Response>> {
 public:
  static ProgressStream* Start(FrontEnd& front_end, CallPool& pool, const RpcMethod& method,
                               grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                               LongHandler<Request, Response> handler, Pace pace = Pace::kLatest) {
    const auto stream = std::make_shared<ProgressStream>(front_end, method, context, pace);
    stream->self_ = stream;
    const absl::Status status = Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(stream->Prepare(*request));
      return pool.Submit([stream, handler] { stream->Work(handler); });
    });
    if (!status.ok()) stream->End(status);
    return stream.get();
  }

  ProgressStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context, Pace pace)
      : pace_(pace), limits_(LimitsOf(*context, cancelled_)), front_end_(front_end),
        record_(front_end, method, *context) {}

  void OnWriteDone(bool ok) override {
    const auto keep = this->shared_from_this();  // beyond the lock
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) cancelled_->store(true, std::memory_order_relaxed);
    Advance();
  }
  void OnCancel() override { cancelled_->store(true, std::memory_order_relaxed); }
  void OnDone() override { self_.reset(); }

 private:
  absl::Status Prepare(const grpc::ByteBuffer& bytes) {
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(record_.CheckCaller());
    RETURN_IF_ERROR(limits_.Check());
    RETURN_IF_ERROR(record_.Admit(bytes, &request_));
    caller_ = record_.caller();
    ASSIGN_OR_RETURN(deployment_, front_end_.deployment());
    return absl::OkStatus();
  }

  void Work(LongHandler<Request, Response> handler) {
    End(Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(limits_.Check());  // it may have waited
      const absl::Status worked = handler({front_end_, *deployment_, limits_, caller_}, request_,
                                          [this](Response response) { return Told(std::move(response)); });
      RETURN_IF_ERROR(Refused());
      // "Cancelled" by a deadline is a deadline.
      if (absl::IsCancelled(worked)) RETURN_IF_ERROR(limits_.Check());
      if (absl::IsCancelled(worked) && front_end_.draining()) return DrainingError();
      return worked;
    }));
  }

  bool Told(Response response) {
    if (!limits_.Check().ok() || front_end_.draining()) return false;
    absl::MutexLock lock(&mutex_);
    if (pace_ == Pace::kEach && !AwaitWriter()) return false;
    refused_ = record_.Authorize(request_);  // he may have lost his right since
    if (!refused_.ok()) return false;
    latest_ = std::move(response);
    Advance();
    return true;
  }

  absl::Status Refused() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return refused_;
  }

  // False when there is nobody to write to any more.
  bool AwaitWriter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto sent = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !latest_.has_value(); };
    while (!mutex_.AwaitWithTimeout(absl::Condition(&sent), kLook)) {
      if (!limits_.Check().ok()) return false;
    }
    return true;
  }

  void End(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    ended_ = status;
    Advance();
  }

  // Writes what is new, or ends.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (latest_.has_value() && !cancelled_->load(std::memory_order_relaxed)) {
      const absl::Status serialised = SerializeMessage(*std::move(latest_), &outgoing_);
      latest_.reset();
      if (serialised.ok()) {
        writing_ = true;
        record_.TakeAnswer(outgoing_.Length());
        return this->StartWrite(&outgoing_);
      }
    }
    if (!ended_.has_value()) return;
    finished_ = true;
    this->Finish(record_.Finish(*ended_));
  }

  // Who waits for the writer looks so often whether its time is over.
  static constexpr absl::Duration kLook = absl::Milliseconds(20);

  const Pace pace_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  const CallLimits limits_;
  FrontEnd& front_end_;
  Deployment* deployment_ = nullptr;
  Request request_;
  Caller caller_;

  absl::Mutex mutex_;
  CallRecord record_ ABSL_GUARDED_BY(mutex_);
  std::optional<Response> latest_ ABSL_GUARDED_BY(mutex_);  // not sent yet
  absl::Status refused_ ABSL_GUARDED_BY(mutex_);  // not OK: nothing more is told
  std::optional<absl::Status> ended_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer outgoing_;  // the writer's, while writing_

  std::shared_ptr<ProgressStream> self_;  // until OnDone()
};

}  // namespace mneme

#endif  // MNEME_SERVER_PROGRESS_STREAM_H_
