// InsertStreamCall: batches in order, acknowledged in order.
//
// Reads, validates and submits one message after the other while no more than kInsertStreamWindowBytes are not
// acknowledged. Acknowledgements come in the order of sequence, without gaps, several in one response where the writer
// is behind. When a message fails, what came before it is still acknowledged, then the stream ends with its status.
#ifndef MNEME_SERVER_INSERT_STREAM_H_
#define MNEME_SERVER_INSERT_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "mneme/v1/memory.pb.h"
#include "server/call_record.h"

namespace mneme {

// Keeps itself alive until OnDone() and for as long as the deployment holds a callback of it. Thread-safe.
class InsertStreamCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                           public DrainListener,
                           public std::enable_shared_from_this<InsertStreamCall> {
 public:
  static InsertStreamCall* Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  InsertStreamCall(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnDrain() override;

 private:
  // A message whose outcome is not told yet.
  struct InFlight {
    size_t bytes = 0;
    Durability durability = Durability::kSync;
    bool done = false;
    StoredQuotas::Ticket ticket;  // until then
    absl::StatusOr<InsertOutcome> outcome = absl::UnknownError("pending");
  };
  // What the next response tells.
  struct Acknowledgement {
    bool any = false;
    uint64_t inserted = 0;
    uint64_t replaced = 0;
    std::vector<EntryId> given_ids;
    Durability durability = Durability::kSync;  // the weakest of those covered
  };

  // `ok`: a message came.
  void Take(bool ok);
  absl::Status Accept(const grpc::ByteBuffer& bytes);
  // Of a message that was completed, where what the caller writes is held against what is stored; may block.
  absl::StatusOr<StoredQuotas::Ticket> AdmitStored(const v1::InsertRequest& insert) ABSL_LOCKS_EXCLUDED(mutex_);
  void CompleteFromTemplate(v1::InsertRequest& insert);
  absl::Status Receive(size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a message that was completed: the template has the memory's own name, and the caller may have only an alias'.
  absl::Status Authorize(const v1::InsertRequest& insert) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnOutcome(uint64_t sequence, const MemoryHandle& memory, absl::StatusOr<InsertOutcome> outcome);

  // Starts what is due: a response, the end, the next read.
  void Advance();
  void MaybeRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MaybeRespond() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Collect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after construction.
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  const CallLimits limits_;
  Deployment* deployment_ = nullptr;

  // The reader's: one message is read and accepted at a time.
  grpc::ByteBuffer incoming_;
  v1::InsertRequest template_;
  std::string named_;      // the memory, as the client called it last
  MemoryNumber memory_ = 0;  // that it was then, whatever has its name by now
  uint64_t sequence_ = 0;  // of the last message accepted

  absl::Mutex mutex_;
  CallRecord record_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  // A worker takes the message: the call does not end before, since the deployment outlives calls alone.
  bool taking_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more will be acknowledged
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // not OK: the stream ends with it
  grpc::ByteBuffer outgoing_;                    // the writer's, while writing_
  std::deque<InFlight> in_flight_ ABSL_GUARDED_BY(mutex_);
  size_t in_flight_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;  // in_flight_ begins after it
  Acknowledgement next_ ABSL_GUARDED_BY(mutex_);
  Version version_ ABSL_GUARDED_BY(mutex_);

  std::shared_ptr<InsertStreamCall> self_;  // until OnDone()
};

}  // namespace mneme

#endif  // MNEME_SERVER_INSERT_STREAM_H_
