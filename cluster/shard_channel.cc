#include "cluster/shard_channel.h"

#include <grpc/support/time.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <random>

#include "absl/strings/str_cat.h"
#include "cluster/shard_stream.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Pruning is left out: done twice it merges twice, and what waits to go on goes on once. So is all that is asked about
// the catalogue: who asks that goes to another process, or asks again, by himself.
constexpr char kServiceConfig[] = R"({"methodConfig": [
  {"name": [{"service": "mneme.internal.v1.ShardService", "method": "Prune"},
            {"service": "mneme.internal.v1.ShardService", "method": "GoOnPrune"}]},
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
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, limits::kMaxInternalMessageBytes);
  arguments.SetMaxReceiveMessageSize(limits::kMaxInternalMessageBytes);
  arguments.SetMaxSendMessageSize(limits::kMaxInternalMessageBytes);
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
    const std::chrono::nanoseconds left = limits.deadline - std::chrono::steady_clock::now();
    context->set_deadline(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left.count(), GPR_TIMESPAN)));
  }
  return context;
}

ShardChannel::ShardChannel(internal_wire::Target target, const std::vector<std::string>& addresses,
                           const ChannelSecurity* security, Canceller* canceller, CallTimer* timer)
    : target_(std::move(target)), canceller_(canceller), timer_(timer), security_(security),
      replicas_(MakeReplicas(addresses, {})), first_(replicas_->front()) {
  if (addresses.size() > 1) at_ = std::random_device{}() % static_cast<uint32_t>(addresses.size());
}

ShardChannel::~ShardChannel() {
  MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return dropped_ == 0; };
  ended_.Await(&mutex_, idle);
}

std::shared_ptr<const ShardChannel::Replicas> ShardChannel::MakeReplicas(const std::vector<std::string>& addresses,
                                                                         const Replicas& before) const {
  auto made = std::make_shared<Replicas>();
  for (uint32_t number = 0; number < addresses.size(); ++number) {
    const std::string& address = addresses[number];
    const ReplicaHandle known = FindIn(before, number);
    if (address.empty()) {
      made->push_back(nullptr);
    } else if (known != nullptr && known->address == address) {
      made->push_back(known);
    } else {
      auto replica = std::make_shared<Replica>();
      replica->address = address;
      replica->name = absl::StrCat("shard ", target_.shard(), " at ", address);
      replica->stub = internal_wire::ShardService::NewStub(MakeInternalChannel(address, security_));
      made->push_back(std::move(replica));
    }
  }
  return made;
}

void ShardChannel::SetReplicas(const std::vector<std::string>& addresses) {
  std::shared_ptr<const Replicas> before = Now();  // let go of with no lock held
  std::shared_ptr<const Replicas> made = MakeReplicas(addresses, *before);
  if (CountIn(*made) == 0) return;
  MutexLock lock(&replicas_mutex_);
  replicas_ = std::move(made);
}

std::vector<ShardChannel::Place> ShardChannel::places() const {
  std::vector<Place> places;
  const std::shared_ptr<const Replicas> now = Now();
  for (uint32_t number = 0; number < now->size(); ++number) {
    if ((*now)[number] != nullptr) places.push_back({number, (*now)[number]->address});
  }
  return places;
}

uint32_t ShardChannel::CountIn(const Replicas& replicas) {
  return static_cast<uint32_t>(std::count_if(replicas.begin(), replicas.end(),
                                             [](const ReplicaHandle& each) { return each != nullptr; }));
}

ShardChannel::ReplicaHandle ShardChannel::FindIn(const Replicas& replicas, uint32_t replica) {
  return replica < replicas.size() ? replicas[replica] : nullptr;
}

uint32_t ShardChannel::NextIn(const Replicas& replicas, uint32_t replica) {
  const auto count = static_cast<uint32_t>(replicas.size());
  uint32_t next = (replica + 1) % count;
  while (replicas[next] == nullptr) next = (next + 1) % count;
  return next;
}

// It may have been left for one that has gone since.
uint32_t ShardChannel::AtIn(const Replicas& replicas) const {
  const uint32_t at = at_.load(std::memory_order_relaxed);
  return FindIn(replicas, at) != nullptr ? at : NextIn(replicas, at);
}

absl::Status ShardChannel::NoReplica(uint32_t replica) const {
  return WithReason(absl::UnavailableError(absl::StrCat("shard ", target_.shard(), " has no replica ", replica,
                                                        " any more")),
                    reason::kShardUnavailable);
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

absl::Status ShardChannel::Ended(const grpc::Status& status, const std::string& name, const CallLimits& limits) const {
  absl::Status ended = FromGrpcStatus(status, name);
  if (!absl::IsCancelled(ended) || !IsAway(status)) return ended;
  if (absl::IsCancelled(limits.Check()) || canceller_->cancels_all()) return ended;
  return FromGrpcStatus({grpc::StatusCode::UNAVAILABLE, "it is stopping"}, name);
}

bool ShardChannel::Leaves(uint32_t replica, const absl::Status& status) const {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return false;
  // Only from where it was asked: many calls fail at once when a process dies.
  at_.compare_exchange_strong(replica, Next(replica), std::memory_order_relaxed);
  return absl::IsUnavailable(status) || IsLagging(status);
}

// One replica that a question is asked at.
struct ShardChannel::Attempt {
  uint32_t replica = 0;
  bool hedge = false;  // the one before it was late
  // Hold the channel; let go of once the attempt has ended.
  ReplicaHandle at = {};
  std::shared_ptr<grpc::ClientContext> context = {};
  internal_wire::Answer answer = {};
};

// One question, on its way from replica to replica.
struct ShardChannel::Asked {
  Asked(Method what, CallLimits within, internal_wire::Call asked, std::optional<HedgedRead> read,
        std::shared_ptr<const Replicas> of)
      : method(what), limits(std::move(within)), call(std::move(asked)), hedged(read), replicas(std::move(of)) {}

  // Asks the next replica; to be sent with no lock held.
  AttemptHandle Begin(const ShardChannel& channel, bool hedge) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    auto attempt = std::make_shared<Attempt>();
    attempt->replica = next;
    attempt->at = FindIn(*replicas, next);
    attempt->hedge = hedge;
    attempt->context = MakeContext(limits);
    channel.canceller_->Watch(limits.cancelled, attempt->context);
    next = NextIn(*replicas, next);
    --left;
    under_way.push_back(attempt);
    return attempt;
  }

  const Method method;
  const CallLimits limits;
  const internal_wire::Call call;
  const std::optional<HedgedRead> hedged;
  const std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  Mutex mutex;
  std::shared_ptr<const Replicas> replicas ABSL_GUARDED_BY(mutex);  // when it was asked; null: the caller was told
  Answered done ABSL_GUARDED_BY(mutex);      // the same
  uint32_t next ABSL_GUARDED_BY(mutex) = 0;  // replica that is asked next, if any
  uint32_t left ABSL_GUARDED_BY(mutex) = 0;  // that were not asked yet
  absl::Status lags ABSL_GUARDED_BY(mutex);  // what one said that is there, and has not applied enough
  std::vector<AttemptHandle> under_way ABSL_GUARDED_BY(mutex);  // one, or two
};

void ShardChannel::Ask(Method method, Question question, const CallLimits& limits, Answered done) const {
  const bool any = question.replica == kAnyReplica;
  std::shared_ptr<const Replicas> now = Now();
  if (!any && FindIn(*now, question.replica) == nullptr) return done(NoReplica(question.replica));
  const uint32_t count = CountIn(*now);
  const uint32_t at = AtIn(*now);
  const bool hedged = any && question.hedged.has_value() && count > 1 && timer_ != nullptr;
  const auto asked = std::make_shared<Asked>(method, limits, MakeCall(std::move(question.body)),
                                             hedged ? question.hedged : std::nullopt, std::move(now));
  AttemptHandle first;
  {
    MutexLock lock(&asked->mutex);
    asked->done = std::move(done);
    asked->next = any ? at : question.replica;
    asked->left = any ? count : 1;
    first = asked->Begin(*this, /*hedge=*/false);
  }
  // Before it is sent: when it was answered the channel may be gone.
  if (hedged) HedgeAfter(hedging_.Begin(*asked->hedged), asked);
  Send(asked, std::move(first));
}

void ShardChannel::Send(AskedHandle asked, AttemptHandle attempt) const {
  const Asked& question = *asked;
  Attempt& sent = *attempt;
  grpc::ClientContext* const context = sent.context.get();
  auto ended = [this, asked = std::move(asked), attempt = std::move(attempt)](const grpc::Status& status) {
    End(asked, attempt, status);
  };
  (sent.at->stub->async()->*question.method)(context, &question.call, &sent.answer, std::move(ended));
}

// Contexts and replicas hold channels of gRPC. They are let go before `done`, and before a dropped one is forgotten,
// after which the owner of this channel may destroy it: one whose last holder is a thread of gRPC's own would wait for
// that thread there.
void ShardChannel::End(const AskedHandle& asked, const AttemptHandle& attempt, const grpc::Status& status) const {
  absl::Status failed;
  std::shared_ptr<grpc::ClientContext> context;
  ReplicaHandle at;
  std::shared_ptr<const Replicas> replicas;
  std::vector<std::shared_ptr<grpc::ClientContext>> overtaken;
  AttemptHandle next;
  Answered done;
  {
    MutexLock lock(&asked->mutex);
    context = std::move(attempt->context);
    at = std::move(attempt->at);
    std::erase(asked->under_way, attempt);
    const bool told = asked->done == nullptr;
    // An attempt that was overtaken was cancelled here.
    failed = told ? FromGrpcStatus(status, at->name) : Ended(status, at->name, asked->limits);
    const bool leaves = Leaves(attempt->replica, failed);
    const bool other_may_answer = !asked->under_way.empty() && (leaves || attempt->hedge);
    if (IsLagging(failed)) asked->lags = failed;
    if (!told && leaves && asked->left > 0 && asked->limits.Check().ok()) {
      // Beside one that is silent it takes the place of the second.
      next = asked->Begin(*this, /*hedge=*/!asked->under_way.empty());
    } else if (!told && !failed.ok() && other_may_answer) {
      CountDropped(1);
    } else if (!told) {
      done = std::exchange(asked->done, nullptr);
      replicas = std::move(asked->replicas);
      // That another is away says less of the shard.
      if (absl::IsUnavailable(failed) && !asked->lags.ok()) failed = asked->lags;
      CountDropped(asked->under_way.size());
      for (const AttemptHandle& each : asked->under_way) {
        overtaken.push_back(each->context);
        uint32_t late = each->replica;
        if (attempt->hedge) at_.compare_exchange_strong(late, attempt->replica, std::memory_order_relaxed);
      }
    }
  }
  context.reset();
  at.reset();
  replicas.reset();
  if (next != nullptr) return Send(asked, std::move(next));
  if (done == nullptr) return ForgetDropped();
  for (const auto& each : overtaken) each->TryCancel();
  overtaken.clear();
  if (!failed.ok()) return done(std::move(failed));
  if (asked->hedged.has_value()) {
    hedging_.Answered(*asked->hedged, std::chrono::steady_clock::now() - asked->begin, attempt->hedge);
  }
  done(std::move(*attempt->answer.mutable_body()));
}

void ShardChannel::HedgeAfter(Hedging::Duration late, const AskedHandle& asked) const {
  timer_->At(std::chrono::steady_clock::now() + late, [this, late, waiting = std::weak_ptr<Asked>(asked)] {
    if (const AskedHandle unanswered = waiting.lock()) Hedge(unanswered, late);
  });
}

// While it is not told, and until an attempt that was begun has ended, the channel is there.
void ShardChannel::Hedge(const AskedHandle& asked, Hedging::Duration late) const {
  AttemptHandle attempt;
  {
    MutexLock lock(&asked->mutex);
    if (asked->done == nullptr || asked->left == 0 || asked->under_way.size() > 1) return;
    if (!hedging_.Take(std::chrono::steady_clock::now())) {
      return HedgeAfter(std::min<Hedging::Duration>(2 * late, std::chrono::milliseconds(limits::kMaxHedgeMs)), asked);
    }
    attempt = asked->Begin(*this, /*hedge=*/true);
  }
  Send(asked, std::move(attempt));
}

void ShardChannel::CountDropped(size_t attempts) const {
  MutexLock lock(&mutex_);
  dropped_ += attempts;
}

void ShardChannel::ForgetDropped() const {
  MutexLock lock(&mutex_);
  if (--dropped_ == 0) ended_.NotifyAll();
}

std::future<absl::StatusOr<std::string>> ShardChannel::AskAhead(Method method, Question question,
                                                                const CallLimits& limits) const {
  const auto told = std::make_shared<std::promise<absl::StatusOr<std::string>>>();
  std::future<absl::StatusOr<std::string>> answer = told->get_future();
  Ask(method, std::move(question), limits,
      [told](absl::StatusOr<std::string> result) { told->set_value(std::move(result)); });
  return answer;
}

absl::StatusOr<std::string> ShardChannel::AskAndWait(Method method, Question question, const CallLimits& limits) const {
  return AskAhead(method, std::move(question), limits).get();
}

absl::Status ShardChannel::AskForMany(StreamMethod method, Question question, const CallLimits& limits,
                                      const std::function<absl::Status(std::string_view)>& each) const {
  ShardStream stream(*this, method, std::move(question), limits);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<std::string> answer, stream.Next());
    if (!answer.has_value()) return absl::OkStatus();
    RETURN_IF_ERROR(each(*answer));
  }
}

}  // namespace mneme
