// AppendStream: one write that a front end hands to this shard: a record in; that it is visible, and what became of it,
// out. A write that was begun is ended, though the front end goes.
#ifndef MNEME_SERVER_APPEND_STREAM_H_
#define MNEME_SERVER_APPEND_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/write_operations.h"
#include "server/call_record.h"

namespace mneme {

// Keeps itself alive until OnDone() and until the write has ended. Thread-safe.
class AppendStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                           public std::enable_shared_from_this<AppendStream> {
 public:
  static AppendStream* Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                             const grpc::ByteBuffer* request);

  AppendStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  void OnWriteDone(bool ok) override;
  void OnDone() override { self_.reset(); }

 private:
  // Hands the write over; not OK: nobody will tell of it.
  absl::Status Submit(const grpc::ByteBuffer& bytes);
  void Accepted();
  void Visible();
  void End(absl::StatusOr<WriteResult> result);
  // Writes what is new, or ends.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  FrontEnd& front_end_;
  const CallLimits limits_;

  absl::Mutex mutex_;
  CallRecord record_ ABSL_GUARDED_BY(mutex_);
  bool accepted_ ABSL_GUARDED_BY(mutex_) = false;  // not told yet
  bool visible_ ABSL_GUARDED_BY(mutex_) = false;   // not told yet
  std::optional<absl::StatusOr<WriteResult>> ended_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer outgoing_;  // the writer's, while writing_

  std::shared_ptr<AppendStream> self_;  // until OnDone()
};

}  // namespace mneme

#endif  // MNEME_SERVER_APPEND_STREAM_H_
