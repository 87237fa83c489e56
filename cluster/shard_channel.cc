#include "cluster/shard_channel.h"

#include <grpcpp/support/channel_arguments.h>

#include <chrono>
#include <future>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"

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

ShardChannel::ShardChannel(internal_wire::Target target, const std::vector<std::string>& addresses,
                           const ChannelSecurity* security, Canceller* canceller)
    : target_(std::move(target)), canceller_(canceller) {
  for (const std::string& address : addresses) {
    replicas_.push_back({absl::StrCat("shard ", target_.shard(), " at ", address),
                         internal_wire::ShardService::NewStub(MakeInternalChannel(address, security))});
  }
  if (replicas() > 1) at_ = std::random_device{}() % replicas();
}

internal_wire::Call ShardChannel::MakeCall(std::string body) const {
  internal_wire::Call call;
  *call.mutable_target() = target_;
  call.set_body(std::move(body));
  return call;
}

void ShardChannel::Saw(Sequence sequence) const {
  Sequence seen = seen_.load(std::memory_order_relaxed);
  while (seen < sequence && !seen_.compare_exchange_weak(seen, sequence, std::memory_order_release)) {
  }
}

bool ShardChannel::Leaves(uint32_t replica, const absl::Status& status) const {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return false;
  // Only from where it was asked: many calls fail at once when a process dies.
  at_.compare_exchange_strong(replica, Next(replica), std::memory_order_relaxed);
  return absl::IsUnavailable(status) || ReasonOf(status) == reason::kReplicaLagging;
}

// One question, on its way from replica to replica.
struct ShardChannel::Asked {
  Method method;
  CallLimits limits;
  Answered done;
  internal_wire::Call call;
  internal_wire::Answer answer = {};
  uint32_t replica = 0;  // that is asked
  uint32_t others = 0;   // that may be asked after it
};

void ShardChannel::Ask(Method method, Question question, const CallLimits& limits, Answered done) const {
  const bool any = question.replica == kAnyReplica;
  const auto asked =
      std::make_shared<Asked>(Asked{method, limits, std::move(done), MakeCall(std::move(question.body))});
  asked->replica = any ? at() : question.replica;
  asked->others = any ? replicas() - 1 : 0;
  Send(asked);
}

void ShardChannel::Send(std::shared_ptr<Asked> asked) const {
  auto context = MakeContext(asked->limits);
  canceller_->Watch(asked->limits.cancelled, context);
  const Replica& replica = replicas_[asked->replica];
  Asked* const question = asked.get();
  // The context holds the channel. It is let go before `done`, after which the owner of this channel may destroy it: a
  // channel whose last holder is a thread of gRPC's own would wait for that thread there.
  grpc::ClientContext* const raw = context.get();
  auto answered = [this, &replica, context = std::move(context),
                   asked = std::move(asked)](const grpc::Status& status) mutable {
    context.reset();
    if (status.ok()) return asked->done(std::move(*asked->answer.mutable_body()));
    absl::Status failed = FromGrpcStatus(status, replica.name);
    if (!Leaves(asked->replica, failed) || asked->others == 0 || !asked->limits.Check().ok()) {
      return asked->done(std::move(failed));
    }
    --asked->others;
    asked->replica = Next(asked->replica);
    Send(std::move(asked));
  };
  (replica.stub->async()->*question->method)(raw, &question->call, &question->answer, std::move(answered));
}

absl::StatusOr<std::string> ShardChannel::AskAndWait(Method method, Question question, const CallLimits& limits) const {
  const auto told = std::make_shared<std::promise<absl::StatusOr<std::string>>>();
  std::future<absl::StatusOr<std::string>> answer = told->get_future();
  Ask(method, std::move(question), limits,
      [told](absl::StatusOr<std::string> result) { told->set_value(std::move(result)); });
  return answer.get();
}

absl::Status ShardChannel::AskForMany(StreamMethod method, Question question, const CallLimits& limits,
                                      const std::function<absl::Status(std::string_view)>& each) const {
  const bool any = question.replica == kAnyReplica;
  const internal_wire::Call call = MakeCall(std::move(question.body));
  uint32_t others = any ? replicas() - 1 : 0;
  for (uint32_t replica = any ? at() : question.replica;; replica = Next(replica), --others) {
    const auto context = MakeContext(limits);
    canceller_->Watch(limits.cancelled, context);
    const auto reader = (*replicas_[replica].stub.*method)(context.get(), call);
    internal_wire::Answer answer;
    absl::Status refused;
    bool heard = false;
    while (refused.ok() && reader->Read(&answer)) {
      heard = true;
      refused = each(answer.body());
    }
    if (!refused.ok()) context->TryCancel();
    const absl::Status ended = FromGrpcStatus(reader->Finish(), replicas_[replica].name);
    if (!refused.ok()) return refused;
    if (!Leaves(replica, ended) || heard || others == 0 || !limits.Check().ok()) return ended;
  }
}

}  // namespace mneme
