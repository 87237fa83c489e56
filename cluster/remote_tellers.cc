#include "cluster/remote_tellers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cluster/shard_channel.h"
#include "cluster/wire_status.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;
using Stub = internal::v1::CatalogueService::Stub;

// One that is there answers at once: what comes later than this was worth little by then.
constexpr std::chrono::milliseconds kPromiseWithin{600};
// A catalogue of a hundred thousand names is some tens of megabytes.
constexpr std::chrono::seconds kSnapshotWithin{30};

std::unique_ptr<Stub> MakeStub(const std::string& address, const RemoteTellersOptions& options) {
  return internal::v1::CatalogueService::NewStub(MakeInternalChannel(address, options.security.get()));
}

internal::v1::Call MakeCall(const RemoteTellersOptions& options, std::string body) {
  internal::v1::Call call;
  call.mutable_target()->set_protocol(kInternalProtocol);
  call.mutable_target()->set_deployment(options.deployment);
  call.mutable_target()->set_shard(0);
  call.mutable_target()->set_shards(options.shards);
  call.set_body(std::move(body));
  return call;
}

std::shared_ptr<grpc::ClientContext> ContextUntil(Steady::time_point deadline) {
  CallLimits limits;
  limits.deadline = deadline;
  return MakeContext(limits);
}

// Calls that are under way, until all have ended or nobody waits for them any more. Owned by their callbacks, too.
struct Confirmations {
  struct Each {
    std::shared_ptr<grpc::ClientContext> context;
    internal::v1::Call call;
    internal::v1::Answer answer;
  };

  void End(uint32_t teller, bool confirms) {
    {
      MutexLock lock(&mutex);
      --left;
      if (confirms) confirmed.push_back(teller);
    }
    ended.NotifyAll();
  }

  std::vector<Each> calls;  // constant once they are sent
  Mutex mutex;
  CondVar ended;
  size_t left ABSL_GUARDED_BY(mutex) = 0;
  std::vector<uint32_t> confirmed ABSL_GUARDED_BY(mutex);
};

}  // namespace

struct RemoteTellers::Other {
  uint32_t replica = 0;
  std::unique_ptr<Stub> stub;
  // Guarded by RemoteTellers::mutex_.
  std::shared_ptr<grpc::ClientContext> call;  // that is under way
  Steady::time_point asked = Steady::time_point::min();
  Sequence handled = 0;  // what it had applied when it promised
};

RemoteTellers::RemoteTellers(RemoteTellersOptions options) : options_(std::move(options)) {
  for (uint32_t replica = 0; replica < options_.addresses.size(); ++replica) {
    if (replica == options_.replica) continue;
    auto other = std::make_unique<Other>();
    other->replica = replica;
    other->stub = MakeStub(options_.addresses[replica], options_);
    others_.push_back(std::move(other));
  }
  for (const auto& other : others_) threads_.emplace_back([this, raw = other.get()] { AskForPromises(*raw); });
}

RemoteTellers::~RemoteTellers() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    for (const auto& other : others_) {
      if (other->call != nullptr) other->call->TryCancel();
    }
  }
  stop_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void RemoteTellers::AskForPromises(Other& other) {
  while (true) {
    AskForPromise(other);
    MutexLock lock(&mutex_);
    const bool stops = stop_.AwaitFor(&mutex_, options_.poll,
                                      [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; });
    if (stops) return;
  }
}

void RemoteTellers::AskForPromise(Other& other) {
  const Steady::time_point asked = Steady::now();
  const auto context = ContextUntil(asked + kPromiseWithin);
  {
    MutexLock lock(&mutex_);
    if (stopping_) return;
    other.call = context;
  }
  const internal::v1::Call call = MakeCall(options_, Flat(options_.replica, SystemClock().NowMs()));
  internal::v1::Answer answer;
  const grpc::Status status = other.stub->Promise(context.get(), call, &answer);
  Sequence handled = 0;
  int64_t now_ms = 0;
  const bool promised = status.ok() && Unflat(answer.body(), handled, now_ms).ok();
  if (promised && options_.clocks != nullptr) {
    // What the way takes is little beside what is allowed.
    options_.clocks->Note(absl::StrCat("replica ", other.replica), now_ms - SystemClock().NowMs(),
                          Steady::now() + options_.lease);
  }
  MutexLock lock(&mutex_);
  other.call = nullptr;
  if (!promised) return;
  other.asked = asked;
  other.handled = handled;
}

RemoteTellers::Steady::time_point RemoteTellers::PromisedAt(Sequence handled) const {
  Steady::time_point earliest = Steady::now();
  MutexLock lock(&mutex_);
  for (const auto& other : others_) {
    if (other->handled > handled) return Steady::time_point::min();
    earliest = std::min(earliest, other->asked);
  }
  return earliest;
}

std::vector<uint32_t> RemoteTellers::Confirm(LogOffset offset, Steady::time_point until) {
  const auto all = std::make_shared<Confirmations>();
  all->calls.resize(others_.size());
  {
    MutexLock lock(&all->mutex);
    all->left = others_.size();
  }
  for (size_t i = 0; i < others_.size(); ++i) {
    Confirmations::Each& each = all->calls[i];
    each.context = ContextUntil(until);
    each.call = MakeCall(options_, Flat(offset));
    const uint32_t replica = others_[i]->replica;
    others_[i]->stub->async()->Confirm(each.context.get(), &each.call, &each.answer,
                                       [all, replica](const grpc::Status& status) { all->End(replica, status.ok()); });
  }
  std::vector<uint32_t> confirmed;
  {
    // Their deadline ends them.
    MutexLock lock(&all->mutex);
    all->ended.Await(&all->mutex, [&all]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(all->mutex) { return all->left == 0; });
    confirmed = all->confirmed;
  }
  // What one lent that did not may last until then, though it is known by now that it does not answer.
  if (confirmed.size() < others_.size()) std::this_thread::sleep_until(until);
  return confirmed;
}

absl::StatusOr<OfferedCatalogue> AskForCatalogue(const RemoteTellersOptions& options) {
  std::optional<OfferedCatalogue> best;
  absl::Status why = absl::UnavailableError("there is no other replica of shard 0");
  for (uint32_t replica = 0; replica < options.addresses.size(); ++replica) {
    if (replica == options.replica) continue;
    const std::string& address = options.addresses[replica];
    const auto context = ContextUntil(Steady::now() + kSnapshotWithin);
    internal::v1::Answer answer;
    const grpc::Status status = MakeStub(address, options)->Snapshot(context.get(), MakeCall(options, Flat()), &answer);
    OfferedCatalogue offered;
    absl::Status read = FromGrpcStatus(status, absl::StrCat("shard 0 at ", address));
    if (read.ok()) read = Unflat(answer.body(), offered.deployment, offered.snapshot);
    if (!read.ok()) {
      why = std::move(read);
    } else if (!best.has_value() || offered.snapshot.applied > best->snapshot.applied) {
      best = std::move(offered);
    }
  }
  if (best.has_value()) return *std::move(best);
  return absl::UnavailableError(std::string(why.message()));
}

}  // namespace mneme
