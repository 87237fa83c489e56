// ExportStream: the index of one partition, piece by piece.
#ifndef MNEME_SERVER_EXPORT_STREAM_H_
#define MNEME_SERVER_EXPORT_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <string>

#include "engine/exported_index.h"
#include "mneme/v1/admin.pb.h"
#include "server/answer_pause.h"
#include "server/call_pool.h"
#include "server/call_record.h"

namespace mneme {

// The same wherever the shards are: what they hold of the index comes through ExportedIndex.
// Reads the next piece only when the last one has been written, so that a slow client holds one piece, and a lease that
// ends when it takes none for long. Owns itself until OnDone(). One event at a time: a piece that is read, or a write
// that ended.
class ExportStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  static ExportStream* Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                             const grpc::ByteBuffer* request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_->store(true, std::memory_order_relaxed); }
  void OnDone() override { delete this; }

 private:
  ExportStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  absl::Status Prepare(const grpc::ByteBuffer& bytes);
  // Fills the next message on a worker of `pool` and starts its write.
  void NextPiece(CallPool& pool);
  absl::Status ReadPiece();
  // Takes the lease and counts the lists, which may take its time.
  absl::Status Open(v1::ExportedShape& shape);
  // The lease once more, for as long as the next piece may take.
  absl::StatusOr<LeaseHandle> Renew() const;
  absl::Status FillPiece(v1::ExportIndexResponse& response);
  // Gives the lease back at once, and ends once other processes have said that they have. What they held goes here:
  // not on a thread of gRPC's, as long as a worker may take it.
  void End(const absl::Status& status);
  // On a worker, for who is on a thread of gRPC's.
  void EndSoon(const absl::Status& status);

  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  FrontEnd& front_end_;
  CallRecord record_;
  HeldAnswers::Share held_;
  AnswerPause pause_;
  const CallLimits limits_;
  Deployment* deployment_ = nullptr;
  MemoryRecord memory_;
  v1::ExportIndexRequest request_;
  VisitCommand command_;
  std::string lease_;  // its id; empty: none
  std::unique_ptr<ExportedIndex> export_;
  // What was sent.
  uint64_t sizes_ = 0;
  uint64_t entries_ = 0;
  bool last_piece_ = false;
  grpc::ByteBuffer outgoing_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_EXPORT_STREAM_H_
