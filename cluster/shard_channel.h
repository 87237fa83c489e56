// ShardChannel: the connections to the processes of one shard, and the one way to ask it something.
//
// Every call carries its caller's deadline and is cancelled with its caller. A call that fails because the process is
// not reached is made again a few times by gRPC itself (its service configuration), within half a second: reads may be,
// and so may writes, each of which has a request id. After that the other replicas of the shard are asked, where it has
// any; when none is there it is UNAVAILABLE and names the shard. A read that is late is asked at another replica, too
// (hedging.h): the first answer is heard, and the other call is cancelled.
#ifndef MNEME_CLUSTER_SHARD_CHANNEL_H_
#define MNEME_CLUSTER_SHARD_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/call_timer.h"
#include "cluster/canceller.h"
#include "cluster/hedging.h"
#include "cluster/wire_status.h"
#include "common/mutex.h"
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

// Whichever replica answers.
inline constexpr uint32_t kAnyReplica = std::numeric_limits<uint32_t>::max();

// What a shard is asked, and which of its replicas.
struct Question {
  Question(std::string asked, uint32_t of = kAnyReplica,  // NOLINT: most questions are bytes and nothing else
           std::optional<HedgedRead> read = std::nullopt)
      : body(std::move(asked)), replica(of), hedged(read) {}

  std::string body;
  uint32_t replica;  // the number of one, for what that one alone has; or kAnyReplica
  std::optional<HedgedRead> hedged;  // may be asked at two replicas at once, if it is for any
};

// Thread-safe. Borrows the security, the canceller and the timer; outlives what it is asked. Answers come on threads of
// gRPC's, which must not block; that there is no replica of the number which is asked for is told at once.
//
// Its replicas may change while it is asked: a question goes to those that there were when it began.
//
// A question for any replica goes to the one that answered last, a first one to any of them, so that the readers of
// many front ends spread. One that is not available, or has not applied what a read must see, is left for the next: all
// are asked before the caller hears it, of one that lags rather than of those that are not available. One that does not
// answer before a deadline, or before the one that was asked because it was late, is left by the questions after that.
// A refusal of that second one is no answer while the first may still give one.
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

  // `addresses` of its replicas by their numbers, the first of them there. Without a timer nothing is hedged.
  ShardChannel(internal_wire::Target target, const std::vector<std::string>& addresses,
               const ChannelSecurity* security, Canceller* canceller, CallTimer* timer = nullptr);
  // Waits for calls that were cancelled because another replica had answered; not on a thread of gRPC's.
  ~ShardChannel();

  uint32_t number() const { return target_.shard(); }
  const internal_wire::Target& target() const { return target_; }
  // These are its replicas from now on, by their numbers, "" where there is none; at least one. One that keeps its
  // number keeps its connection; who is asked already answers, be it one of them or not.
  void SetReplicas(const std::vector<std::string>& addresses) ABSL_LOCKS_EXCLUDED(replicas_mutex_);

  struct Place {
    uint32_t replica = 0;
    std::string address;
  };
  // Its replicas, by number.
  std::vector<Place> places() const;
  uint32_t replicas() const { return CountIn(*Now()); }
  bool Has(uint32_t replica) const { return FindIn(*Now(), replica) != nullptr; }
  // The replica that is asked first.
  uint32_t at() const { return AtIn(*Now()); }
  uint32_t Next(uint32_t replica) const { return NextIn(*Now(), replica); }
  // Of the first that it had: "shard 1 at HOST:PORT", and what it is asked with.
  const std::string& name() const { return first_->name; }
  Stub& stub() const { return *first_->stub; }
  Canceller& canceller() const { return *canceller_; }
  const Hedging& hedging() const { return hedging_; }

  // `done` is called once, with the body of the answer.
  void Ask(Method method, Question question, const CallLimits& limits, Answered done) const;
  // As Ask(); for who asks several before he waits.
  std::future<absl::StatusOr<std::string>> AskAhead(Method method, Question question, const CallLimits& limits) const;
  // Blocks.
  absl::StatusOr<std::string> AskAndWait(Method method, Question question, const CallLimits& limits) const;
  // Blocks; calls `each` with the body of every answer until it returns an error, which is returned; as ShardStream.
  absl::Status AskForMany(StreamMethod method, Question question, const CallLimits& limits,
                          const std::function<absl::Status(std::string_view)>& each) const;

  // Writes through a replicated log: what was acknowledged here is seen by every read that begins here later, whichever
  // replica answers it. 0: there was none.
  void Saw(Sequence sequence) const;
  Sequence seen() const { return seen_.load(std::memory_order_acquire); }

 private:
  friend class ShardStream;

  struct Replica {
    std::string address;
    std::string name;
    std::unique_ptr<Stub> stub;
  };
  using ReplicaHandle = std::shared_ptr<const Replica>;
  using Replicas = std::vector<ReplicaHandle>;  // by number, null where there is none; at least one is there
  struct Asked;
  struct Attempt;
  using AskedHandle = std::shared_ptr<Asked>;
  using AttemptHandle = std::shared_ptr<Attempt>;

  static uint32_t CountIn(const Replicas& replicas);
  static ReplicaHandle FindIn(const Replicas& replicas, uint32_t replica);  // null: there is none
  static uint32_t NextIn(const Replicas& replicas, uint32_t replica);
  uint32_t AtIn(const Replicas& replicas) const;
  std::shared_ptr<const Replicas> Now() const ABSL_LOCKS_EXCLUDED(replicas_mutex_) {
    MutexLock lock(&replicas_mutex_);
    return replicas_;
  }
  // Of `addresses`; those of `before` that are there already.
  std::shared_ptr<const Replicas> MakeReplicas(const std::vector<std::string>& addresses, const Replicas& before) const;
  // UNAVAILABLE.
  absl::Status NoReplica(uint32_t replica) const;

  internal_wire::Call MakeCall(std::string body) const;
  // Sends an attempt that was begun.
  void Send(AskedHandle asked, AttemptHandle attempt) const;
  // One has ended: tells the caller, goes on to the next replica, or leaves it to the other attempt.
  void End(const AskedHandle& asked, const AttemptHandle& attempt, const grpc::Status& status) const;
  // Asks another replica after so long, if it is not answered by then.
  void HedgeAfter(Hedging::Duration late, const AskedHandle& asked) const;
  void Hedge(const AskedHandle& asked, Hedging::Duration late) const;
  // What the end of a call says that somebody waits for. gRPC says CANCELLED, with nothing of ours, to what reaches a
  // server that has begun to shut down: UNAVAILABLE, unless the caller of `limits` has gone or all are cancelled.
  absl::Status Ended(const grpc::Status& status, const std::string& name, const CallLimits& limits) const;
  // Whether another replica is to be asked what this one answered with `status`; later questions go to it, too.
  bool Leaves(uint32_t replica, const absl::Status& status) const;
  // Attempts that nobody waits for any more, and one of them when it holds the channel no more.
  void CountDropped(size_t attempts) const ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetDropped() const ABSL_LOCKS_EXCLUDED(mutex_);

  const internal_wire::Target target_;
  Canceller* const canceller_;
  CallTimer* const timer_;
  const ChannelSecurity* const security_;
  mutable Mutex replicas_mutex_;
  std::shared_ptr<const Replicas> replicas_ ABSL_GUARDED_BY(replicas_mutex_);
  const ReplicaHandle first_;
  mutable std::atomic<uint32_t> at_{0};
  mutable std::atomic<Sequence> seen_{0};
  mutable Hedging hedging_;
  mutable Mutex mutex_;
  mutable CondVar ended_;
  mutable size_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;  // that hold the channel yet
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_SHARD_CHANNEL_H_
