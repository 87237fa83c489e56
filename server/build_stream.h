// BuildStream: bringing an index up to date, with progress.
#ifndef MNEME_SERVER_BUILD_STREAM_H_
#define MNEME_SERVER_BUILD_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "mneme/v1/admin.pb.h"
#include "server/call_record.h"

namespace mneme {

// Runs on a worker for long calls; tells the latest progress whenever the writer is free. Cancelling the call cancels
// the build. Keeps itself alive until OnDone() and until the build has ended. Thread-safe.
class BuildStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                          public std::enable_shared_from_this<BuildStream> {
 public:
  static BuildStream* Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                            const grpc::ByteBuffer* request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_->store(true, std::memory_order_relaxed); }
  void OnDone() override { self_.reset(); }

  BuildStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

 private:
  absl::Status Prepare(const grpc::ByteBuffer& bytes);
  void Build();
  bool OnProgress(const BuildProgress& progress);
  // Writes what is new, or ends.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  const CallLimits limits_;
  FrontEnd& front_end_;
  Deployment* deployment_ = nullptr;
  MemoryHandle memory_;
  v1::BuildIndexRequest request_;

  absl::Mutex mutex_;
  CallRecord record_ ABSL_GUARDED_BY(mutex_);
  std::optional<BuildProgress> latest_ ABSL_GUARDED_BY(mutex_);  // not told yet
  std::optional<absl::Status> built_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer outgoing_;  // the writer's, while writing_

  std::shared_ptr<BuildStream> self_;  // until OnDone()
};

}  // namespace mneme

#endif  // MNEME_SERVER_BUILD_STREAM_H_
