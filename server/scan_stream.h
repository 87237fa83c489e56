// ScanStream: entries in stored order, a page per message.
#ifndef MNEME_SERVER_SCAN_STREAM_H_
#define MNEME_SERVER_SCAN_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>

#include "mneme/v1/memory.pb.h"
#include "server/answer_pause.h"
#include "server/call_record.h"

namespace mneme {

// Reads the next page only when the last one has been written, so that a slow client holds one page. Owns itself until
// OnDone(). One event at a time: a page that is read, or a write that ended.
class ScanStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  static ScanStream* Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                           const grpc::ByteBuffer* request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_->store(true, std::memory_order_relaxed); }
  void OnDone() override { delete this; }

 private:
  ScanStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  absl::Status Prepare(const grpc::ByteBuffer& bytes);
  absl::Status ReadRequest(const MemoryHandle& memory);
  // Reads a page on a worker and starts its write. Where the caller has a quota of answers, when the last is paid for.
  void NextPage();
  absl::Status ReadPage();
  // Pages of large values may outgrow a message: halved until they fit.
  absl::Status ReadFittingPage(const MemoryHandle& memory, v1::ScanResponse& response);
  void End(const absl::Status& status) { Finish(record_.Finish(status)); }

  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  FrontEnd& front_end_;
  CallRecord record_;
  HeldAnswers::Share held_;
  AnswerPause pause_;
  Deployment* deployment_ = nullptr;
  MemoryRecord memory_;
  v1::ScanRequest request_;
  ScanCommand command_;
  bool several_partitions_ = false;
  bool last_page_ = false;
  uint32_t pages_ = 0;
  grpc::ByteBuffer outgoing_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_SCAN_STREAM_H_
