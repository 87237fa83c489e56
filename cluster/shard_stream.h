// ShardStream: a stream of answers of one replica of a shard, taken one at a time by who asked.
#ifndef MNEME_CLUSTER_SHARD_STREAM_H_
#define MNEME_CLUSTER_SHARD_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/shard_channel.h"
#include "engine/commands.h"

namespace mneme {

// What nobody takes waits with the shard, which goes on once it is taken. Not thread-safe. Borrows the channel.
class ShardStream {
 public:
  // Asks at once.
  ShardStream(const ShardChannel& channel, ShardChannel::StreamMethod method, Question question, CallLimits limits);
  // Cancels what is left of it.
  ~ShardStream();
  ShardStream(const ShardStream&) = delete;
  ShardStream& operator=(const ShardStream&) = delete;

  // Blocks; the body of the next answer, nullopt after the last. A replica of which something was heard is not left for
  // another, which would say it again. After an error nothing more comes.
  absl::StatusOr<std::optional<std::string>> Next();
  // The replica that answers, once something was heard of it.
  uint32_t replica() const { return replica_; }

 private:
  void Begin();

  const ShardChannel& channel_;
  const ShardChannel::StreamMethod method_;
  const CallLimits limits_;
  const internal_wire::Call call_;
  const std::shared_ptr<const ShardChannel::Replicas> replicas_;  // when it was asked
  uint32_t replica_;
  uint32_t others_;  // that may be asked in its place
  bool heard_ = false;
  absl::Status gone_;  // there is no replica of the number that was asked for, and it was not told
  absl::Status lags_;  // what one said that is there, and has not applied enough
  std::shared_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<internal_wire::Answer>> reader_;  // null once it has ended
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_SHARD_STREAM_H_
