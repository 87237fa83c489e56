#include "cluster/remote_tellers.h"

#include <algorithm>
#include <optional>
#include <set>
#include <thread>
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
// Who waits for those that confirm looks whether his own time is over so often.
constexpr std::chrono::milliseconds kLook{10};
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
    Steady::time_point until;
    std::shared_ptr<grpc::ClientContext> context;
    internal::v1::Call call;
    internal::v1::Answer answer;
  };

  void End(size_t at, bool confirms) {
    {
      MutexLock lock(&mutex);
      --left;
      confirmed[at] = confirms;
    }
    ended.NotifyAll();
  }

  std::vector<Each> calls;  // constant once they are sent
  Mutex mutex;
  CondVar ended;
  size_t left ABSL_GUARDED_BY(mutex) = 0;
  std::vector<bool> confirmed ABSL_GUARDED_BY(mutex);  // by the order of the calls
};

}  // namespace

struct RemoteTellers::Other {
  std::string address;
  std::unique_ptr<Stub> stub;
  std::thread thread;  // that asks it
  // Guarded by RemoteTellers::mutex_.
  std::shared_ptr<grpc::ClientContext> call;  // that is under way
  Steady::time_point asked = Steady::time_point::min();
  Sequence handled = 0;  // what it had applied when it promised
  Steady::time_point heard = Steady::now();  // that it promised; since it is one of them at first
  bool lost = false;  // that is more than a lease ago, and was said
  std::optional<Steady::time_point> gone_until;  // it is none any more, and may not know it until then
};

RemoteTellers::~RemoteTellers() {
  std::vector<OtherHandle> others;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    others = others_;
    for (const OtherHandle& other : others) {
      if (other->call != nullptr) other->call->TryCancel();
    }
  }
  stop_.NotifyAll();
  for (const OtherHandle& other : others) other->thread.join();
}

void RemoteTellers::SetReplicas(const std::vector<std::string>& replicas) {
  std::vector<OtherHandle> past;  // nobody asks them anything any more
  {
    MutexLock lock(&mutex_);
    const auto kept = std::partition(others_.begin(), others_.end(), [now = Steady::now()](const OtherHandle& other) {
      return other->gone_until.value_or(Steady::time_point::max()) > now;
    });
    past.assign(kept, others_.end());
    others_.erase(kept, others_.end());
    std::set<std::string> wanted(replicas.begin(), replicas.end());
    wanted.erase("");
    wanted.erase(options_.address);
    for (const OtherHandle& other : others_) {
      if (other->gone_until.has_value() || wanted.erase(other->address) != 0) continue;
      other->gone_until = Steady::now() + options_.promise;
      if (other->call != nullptr) other->call->TryCancel();
    }
    for (const std::string& address : wanted) {
      auto other = std::make_shared<Other>();
      other->address = address;
      other->stub = MakeStub(address, options_);
      other->thread = std::thread([this, raw = other.get()] { AskForPromises(*raw); });
      others_.push_back(std::move(other));
    }
  }
  stop_.NotifyAll();
  for (const OtherHandle& other : past) other->thread.join();  // they have ended, or do at once
}

void RemoteTellers::AskForPromises(Other& other) {
  while (true) {
    AskForPromise(other);
    MutexLock lock(&mutex_);
    const bool stops = stop_.AwaitFor(&mutex_, options_.poll, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || other.gone_until.has_value();
    });
    if (stops) return;
  }
}

void RemoteTellers::AskForPromise(Other& other) {
  const Steady::time_point asked = Steady::now();
  const auto context = ContextUntil(asked + kPromiseWithin);
  {
    MutexLock lock(&mutex_);
    if (stopping_ || other.gone_until.has_value()) return;
    other.call = context;
  }
  const Sequence own = handled_.load(std::memory_order_acquire);
  const internal::v1::Call call = MakeCall(options_, Flat(options_.address, SystemClock().NowMs(), own));
  internal::v1::Answer answer;
  const grpc::Status status = other.stub->Promise(context.get(), call, &answer);
  Sequence handled = 0;
  int64_t now_ms = 0;
  const bool promised = status.ok() && Unflat(answer.body(), handled, now_ms).ok();
  if (promised && options_.clocks != nullptr) {
    // What the way takes is little beside what is allowed.
    options_.clocks->Note(other.address, now_ms - SystemClock().NowMs(), Steady::now() + options_.lease);
  }
  bool lost = false;
  {
    MutexLock lock(&mutex_);
    other.call = nullptr;
    const Steady::time_point now = Steady::now();
    if (promised) {
      other.asked = asked;
      other.handled = handled;
      other.heard = now;
    }
    lost = now - other.heard > options_.lease;
    if (stopping_ || other.gone_until.has_value() || lost == other.lost) return;
    other.lost = lost;
  }
  if (options_.events == nullptr) return;
  if (!lost) return options_.events("teller_found", other.address);
  const absl::Status why = FromGrpcStatus(status, absl::StrCat("shard 0 at ", other.address));
  options_.events("teller_lost", absl::StrCat("each change of a name waits for what it may have lent: ",
                                              why.ok() ? "its promise is damaged" : why.ToString()));
}

RemoteTellers::Steady::time_point RemoteTellers::PromisedAt(Sequence handled) const {
  Steady::time_point earliest = Steady::now();
  MutexLock lock(&mutex_);
  for (const OtherHandle& other : others_) {
    if (other->gone_until.has_value()) continue;
    if (other->handled > handled) return Steady::time_point::min();
    earliest = std::min(earliest, other->asked);
  }
  return earliest;
}

RemoteTellers::Steady::time_point RemoteTellers::Confirm(LogOffset offset, const Until& until,
                                                         const CallLimits& limits) {
  std::vector<OtherHandle> asked;
  {
    MutexLock lock(&mutex_);
    for (const OtherHandle& other : others_) {
      if (other->gone_until.value_or(Steady::time_point::max()) > Steady::now()) asked.push_back(other);
    }
  }
  const auto all = std::make_shared<Confirmations>();
  all->calls.resize(asked.size());
  {
    MutexLock lock(&all->mutex);
    all->left = asked.size();
    all->confirmed.assign(asked.size(), false);
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    Confirmations::Each& each = all->calls[i];
    each.until = until(asked[i]->address);
    each.context = ContextUntil(std::min(each.until, limits.deadline));
    each.call = MakeCall(options_, Flat(offset));
    asked[i]->stub->async()->Confirm(each.context.get(), &each.call, &each.answer,
                                     [all, i](const grpc::Status& status) { all->End(i, status.ok()); });
  }
  // Their deadline ends them; or nobody waits for the change any more.
  std::vector<bool> confirmed;
  {
    MutexLock lock(&all->mutex);
    const auto all_ended = [&all]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(all->mutex) { return all->left == 0; };
    while (!all->ended.AwaitFor(&all->mutex, kLook, all_ended) && limits.Check().ok()) {
    }
    confirmed = all->confirmed;
  }
  Steady::time_point latest = Steady::time_point::min();
  for (size_t i = 0; i < asked.size(); ++i) {
    if (confirmed[i]) continue;
    all->calls[i].context->TryCancel();  // it has ended most often
    latest = std::max(latest, all->calls[i].until);
  }
  return latest;
}

absl::StatusOr<OfferedCatalogue> AskForCatalogue(const RemoteTellersOptions& options,
                                                 const std::vector<std::string>& addresses) {
  std::optional<OfferedCatalogue> best;
  absl::Status why = absl::UnavailableError("there is no other replica of shard 0");
  for (const std::string& address : addresses) {
    if (address == options.address) continue;
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
