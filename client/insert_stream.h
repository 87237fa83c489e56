// InsertStream: batches in order over one connection, acknowledged as they become durable.
#ifndef MNEME_CLIENT_INSERT_STREAM_H_
#define MNEME_CLIENT_INSERT_STREAM_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/channel.h"
#include "mneme/v1/memory.pb.h"

namespace mneme {

// What the server has acknowledged of a stream so far; sums over its acknowledgements.
struct StreamProgress {
  uint64_t sequence = 0;  // of the last batch such that it and all before it are durable; the first batch is 1
  uint64_t inserted = 0;
  uint64_t replaced = 0;
  std::string ids;      // column of u64: ids that the server gave
  std::string version;  // for at_least_version
};

// One MemoryService.InsertStream. Write may be called from one thread at a time; progress() from any.
// A stream that broke stays broken: open another and go on after progress().sequence; a batch with ids, or with the
// same request id, may be sent again.
class InsertStream {
 public:
  InsertStream(const std::shared_ptr<grpc::Channel>& channel, const ClientOptions& options);
  // Cancels what was not finished.
  ~InsertStream();

  // Sends the next batch, numbered here; draws a request id where it has none. Blocks while the server's window is
  // full. Returns DEADLINE_EXCEEDED if the window stays full for options.timeout; else the error that broke the stream.
  absl::Status Write(v1::InsertRequest batch);

  // Waits until everything is acknowledged, and closes. Errors as for Write. Called once, last.
  absl::StatusOr<StreamProgress> Finish();

  StreamProgress progress() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Call;  // keeps gRPC out of this header

  void ReadAcknowledgements() ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits until `bytes` more fit into the window, an empty one taking any batch.
  absl::Status WaitForWindow(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the call and returns its status.
  absl::Status Close();

  const ClientOptions options_;
  const std::unique_ptr<Call> call_;
  std::thread reader_;
  bool closed_ = false;
  absl::Status final_status_;
  uint64_t last_sequence_ = 0;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  StreamProgress progress_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::pair<uint64_t, uint64_t>> in_flight_ ABSL_GUARDED_BY(mutex_);  // (sequence, bytes), not acknowledged
  uint64_t in_flight_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t window_bytes_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // no acknowledgement will come any more
};

}  // namespace mneme

#endif  // MNEME_CLIENT_INSERT_STREAM_H_
