#include "cluster/shard_channel.h"

#include <grpcpp/support/channel_arguments.h>

#include <chrono>
#include <future>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Pruning is left out: done twice it merges twice. So are changes of the catalogue, which have no request ids, and its
// watch, which asks again by itself.
constexpr char kServiceConfig[] = R"({"methodConfig": [
  {"name": [{"service": "mneme.internal.v1.ShardService", "method": "Prune"}]},
  {"name": [{"service": "mneme.internal.v1.ShardService"}],
   "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "0.4s", "backoffMultiplier": 2,
                   "retryableStatusCodes": ["UNAVAILABLE"]}}]})";

constexpr int kFrameBytes = 1024 * 1024;
constexpr int kLookaheadBytes = 16 * 1024 * 1024;

}  // namespace

std::shared_ptr<grpc::Channel> MakeInternalChannel(const std::string& address, const ChannelSecurity* security) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  // What is asked is kept until it is answered, so that it can be asked again.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kMaxInternalMessageBytes);
  arguments.SetMaxReceiveMessageSize(kMaxInternalMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxInternalMessageBytes);
  // A process that comes back is found at once. The least is that of one attempt: a lost SYN is sent again after one
  // second, and a busy machine takes its time.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 3'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // Channels to one address share a connection otherwise, with its window and its number of streams: who asks for
  // names would wait for queries.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // One that is gone without a word is noticed.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // As the server's (server/server.cc).
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  arguments.SetInt(GRPC_ARG_TCP_READ_CHUNK_SIZE, kFrameBytes);
  arguments.SetInt(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kLookaheadBytes);
  return OpenChannel(address, security, std::move(arguments));
}

std::shared_ptr<grpc::ClientContext> MakeContext(const CallLimits& limits) {
  auto context = std::make_shared<grpc::ClientContext>();
  if (limits.deadline != std::chrono::steady_clock::time_point::max()) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(
                              limits.deadline - std::chrono::steady_clock::now()));
  }
  return context;
}

ShardChannel::ShardChannel(internal_wire::Target target, const std::string& address, const ChannelSecurity* security,
                           Canceller* canceller)
    : target_(std::move(target)), name_(absl::StrCat("shard ", target_.shard(), " at ", address)),
      canceller_(canceller), stub_(internal_wire::ShardService::NewStub(MakeInternalChannel(address, security))) {}

internal_wire::Call ShardChannel::MakeCall(std::string body) const {
  internal_wire::Call call;
  *call.mutable_target() = target_;
  call.set_body(std::move(body));
  return call;
}

void ShardChannel::Ask(Method method, std::string body, const CallLimits& limits, Answered done) const {
  struct Asked {
    internal_wire::Call call;
    internal_wire::Answer answer;
  };
  auto context = MakeContext(limits);
  canceller_->Watch(limits.cancelled, context);
  const auto asked = std::make_shared<Asked>();
  asked->call = MakeCall(std::move(body));
  // The context holds the channel. It is let go before `done`, after which the owner of this channel may destroy it: a
  // channel whose last holder is a thread of gRPC's own would wait for that thread there.
  grpc::ClientContext* const raw = context.get();
  (stub_->async()->*method)(raw, &asked->call, &asked->answer,
                            [name = name_, context = std::move(context), asked,
                             done = std::move(done)](const grpc::Status& status) mutable {
                              context.reset();
                              if (!status.ok()) return done(FromGrpcStatus(status, name));
                              done(std::move(*asked->answer.mutable_body()));
                            });
}

absl::StatusOr<std::string> ShardChannel::AskAndWait(Method method, std::string body, const CallLimits& limits) const {
  const auto told = std::make_shared<std::promise<absl::StatusOr<std::string>>>();
  std::future<absl::StatusOr<std::string>> answer = told->get_future();
  Ask(method, std::move(body), limits,
      [told](absl::StatusOr<std::string> result) { told->set_value(std::move(result)); });
  return answer.get();
}

absl::Status ShardChannel::AskForMany(StreamMethod method, std::string body, const CallLimits& limits,
                                      const std::function<absl::Status(std::string_view)>& each) const {
  const auto context = MakeContext(limits);
  canceller_->Watch(limits.cancelled, context);
  const auto reader = (*stub_.*method)(context.get(), MakeCall(std::move(body)));
  internal_wire::Answer answer;
  absl::Status refused;
  while (refused.ok() && reader->Read(&answer)) refused = each(answer.body());
  if (!refused.ok()) context->TryCancel();
  const grpc::Status status = reader->Finish();
  return refused.ok() ? FromGrpcStatus(status, name_) : refused;
}

}  // namespace mneme
