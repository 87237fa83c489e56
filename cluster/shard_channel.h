// ShardChannel: the connection to the process of one shard, and the one way to ask it something.
//
// Every call carries its caller's deadline and is cancelled with its caller. A call that fails because the process is
// not reached is made again a few times by gRPC itself (its service configuration), within half a second: reads may be,
// and so may writes, each of which has a request id. After that it is UNAVAILABLE and names the shard.
#ifndef MNEME_CLUSTER_SHARD_CHANNEL_H_
#define MNEME_CLUSTER_SHARD_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/canceller.h"
#include "cluster/wire_status.h"
#include "engine/commands.h"
#include "engine/flat_commands.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "security/channel_security.h"

namespace mneme {

namespace internal_wire = internal::v1;

// A channel with the settings of calls between the processes of a deployment, and a connection of its own. `security`
// may be null.
std::shared_ptr<grpc::Channel> MakeInternalChannel(const std::string& address, const ChannelSecurity* security);

// The deadline of `limits` and nothing else.
std::shared_ptr<grpc::ClientContext> MakeContext(const CallLimits& limits);

// Thread-safe. Borrows the canceller. Answers come on threads of gRPC's, which must not block.
class ShardChannel {
 public:
  using Stub = internal_wire::ShardService::Stub;
  using Async = class Stub::async;
  using Answered = std::function<void(absl::StatusOr<std::string>)>;
  // Asks for one answer: &Async::Query and so on.
  using Method = void (Async::*)(grpc::ClientContext*, const internal_wire::Call*, internal_wire::Answer*,
                                 std::function<void(grpc::Status)>);
  // Asks for a stream of them: &Stub::Visit and so on.
  using StreamMethod = std::unique_ptr<grpc::ClientReader<internal_wire::Answer>> (Stub::*)(grpc::ClientContext*,
                                                                                            const internal_wire::Call&);

  ShardChannel(internal_wire::Target target, const std::string& address, const ChannelSecurity* security,
               Canceller* canceller);

  uint32_t number() const { return target_.shard(); }
  const internal_wire::Target& target() const { return target_; }
  // "shard 1 at HOST:PORT".
  const std::string& name() const { return name_; }
  Stub& stub() const { return *stub_; }
  Canceller& canceller() const { return *canceller_; }

  // `done` is called once, with the body of the answer.
  void Ask(Method method, std::string body, const CallLimits& limits, Answered done) const;
  // Blocks.
  absl::StatusOr<std::string> AskAndWait(Method method, std::string body, const CallLimits& limits) const;
  // Blocks; calls `each` with the body of every answer until it returns an error, which is returned.
  absl::Status AskForMany(StreamMethod method, std::string body, const CallLimits& limits,
                          const std::function<absl::Status(std::string_view)>& each) const;

 private:
  internal_wire::Call MakeCall(std::string body) const;

  const internal_wire::Target target_;
  const std::string name_;
  Canceller* const canceller_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_SHARD_CHANNEL_H_
