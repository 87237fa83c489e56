// QueryStream: the decode loop over one connection, one message per step.
#ifndef MNEME_CLIENT_QUERY_STREAM_H_
#define MNEME_CLIENT_QUERY_STREAM_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/channel.h"
#include "mneme/v1/memory.pb.h"

namespace mneme {

// One MemoryService.QueryStream. The server takes the steps in order: it answers a step's query, then applies its
// append, which the next step sees. So several steps may be written before their answers are read; keep their bytes
// below a few MB, for Write waits while the transport is full.
// Each Write and Read has options.timeout. A stream that broke stays broken. Not thread-safe.
class QueryStream {
 public:
  QueryStream(const std::shared_ptr<grpc::Channel>& channel, const ClientOptions& options);
  // Cancels what was not finished.
  ~QueryStream();

  // Sends a step. Returns DEADLINE_EXCEEDED if it could not be sent in time; else the error that broke the stream.
  absl::Status Write(const v1::QueryStreamRequest& step);

  // The next answer. Returns OUT_OF_RANGE after the last one of a stream that ended well; errors as for Write.
  absl::StatusOr<v1::QueryStreamResponse> Read();

  // Says that no more steps come: the server acknowledges the last appends, and ends.
  absl::Status WritesDone();

 private:
  struct Call;  // keeps gRPC out of this header

  // Waits for the one operation that is under way. Returns false if it failed: then End() knows why.
  absl::StatusOr<bool> Await();
  absl::Status End();

  const ClientOptions options_;
  const std::unique_ptr<Call> call_;
  bool ended_ = false;
  absl::Status final_status_;
};

}  // namespace mneme

#endif  // MNEME_CLIENT_QUERY_STREAM_H_
