// Each answer is a lease from the moment at which it was asked for: nobody is told of a change before this process has
// taken it or that time is over. It is cut by a twentieth, for clocks that do not run alike.
#include "cluster/catalogue_watch.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cluster/shard_channel.h"
#include "common/clock.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"

namespace mneme {
namespace {

// Who tells names answers within its poll; one that does not is asked anew, or the next is, whose answer must come
// within the same lease.
constexpr std::chrono::milliseconds kAnswerWithin{1'500};
constexpr std::chrono::milliseconds kAnswerOfOneWithin{600};
constexpr std::chrono::milliseconds kLeaveWithin{500};
constexpr std::chrono::milliseconds kFirstPause{20};
constexpr std::chrono::milliseconds kLongestPause{250};

// How far `stamp_ms` is ahead of a clock that is `owner_ms` ahead of the steady one.
int64_t AheadMs(int64_t stamp_ms, int64_t owner_ms) { return stamp_ms - (SteadyClock().NowMs() + owner_ms); }

std::string RandomName() {
  std::random_device random;
  return absl::StrFormat("%08x%08x", random(), random());
}

size_t RandomBelow(size_t count) {
  std::random_device random;
  return random() % count;
}

}  // namespace

// The connections, and the call that is in flight.
struct CatalogueWatch::Wire {
  struct Teller {
    std::string address;
    std::unique_ptr<internal::v1::CatalogueService::Stub> stub;
  };

  Wire(const std::vector<std::string>& addresses, const ChannelSecurity* security) { Take(addresses, security); }

  // Those that were there keep their connections.
  void Take(const std::vector<std::string>& addresses, const ChannelSecurity* security) {
    std::vector<Teller> taken;
    for (const std::string& address : addresses) {
      if (address.empty()) continue;
      Teller& teller = taken.emplace_back();
      teller.address = address;
      const auto known = std::find_if(tellers.begin(), tellers.end(),
                                      [&address](const Teller& each) { return each.address == address; });
      teller.stub = known != tellers.end() && known->stub != nullptr  // it may stand there twice
                        ? std::move(known->stub)
                        : internal::v1::CatalogueService::NewStub(MakeInternalChannel(address, security));
    }
    tellers = std::move(taken);
  }

  void Begin(std::shared_ptr<grpc::ClientContext> context) {
    MutexLock lock(&mutex);
    call = std::move(context);
  }
  void Cancel() {
    MutexLock lock(&mutex);
    if (call != nullptr) call->TryCancel();
  }

  std::vector<Teller> tellers;  // the asking thread's own
  Mutex mutex;
  std::shared_ptr<grpc::ClientContext> call ABSL_GUARDED_BY(mutex);
};

// The clock of who answered last.
struct CatalogueWatch::OwnerClock {
  // What it is ahead of the steady one here, which nobody sets.
  std::atomic<int64_t> ahead_ms{0};
  Mutex mutex;
  std::string address ABSL_GUARDED_BY(mutex);
};

CatalogueWatch::CatalogueWatch(CatalogueWatchOptions options)
    : options_(std::move(options)), watcher_(RandomName()),
      wire_(std::make_unique<Wire>(options_.addresses, options_.security.get())),
      at_(RandomBelow(options_.addresses.size())),  // so that the watchers of many spread
      owner_(std::make_shared<OwnerClock>()), watched_(absl::StrJoin(options_.addresses, ", ")) {}

absl::StatusOr<std::unique_ptr<CatalogueWatch>> CatalogueWatch::Start(CatalogueWatchOptions options,
                                                                      const std::function<bool()>& give_up) {
  std::unique_ptr<CatalogueWatch> watch(new CatalogueWatch(std::move(options)));
  bool told = false;
  while (true) {
    const absl::Status asked = watch->Ask();
    if (asked.ok()) break;
    if (absl::IsFailedPrecondition(asked)) return asked;
    if (give_up()) return absl::CancelledError("gave up waiting for the names of the deployment");
    if (!std::exchange(told, true)) watch->Tell("catalogue_awaited", asked.ToString());
    std::this_thread::sleep_for(kLongestPause);
  }
  watch->thread_ = std::thread([raw = watch.get()] { raw->Run(); });
  return watch;
}

CatalogueWatch::~CatalogueWatch() {
  stopping_ = true;
  wire_->Cancel();
  if (thread_.joinable()) thread_.join();
  if (identity_ != 0) Leave();
}

void CatalogueWatch::Leave() {
  internal::v1::WatchRequest request;
  request.set_protocol(kInternalProtocol);
  request.set_deployment(identity_);
  request.set_shards(options_.shards);
  request.set_watcher(watcher_);
  request.set_leaving(true);
  const CallLimits limits = CallLimits().Within(kLeaveWithin);
  for (const Wire::Teller& teller : wire_->tellers) {  // it may have a lease of any
    internal::v1::WatchAnswer answer;
    (void)teller.stub->Watch(MakeContext(limits).get(), request, &answer);
  }
}

absl::Status CatalogueWatch::Check() const {
  const auto now = Steady::now().time_since_epoch();
  const auto late = now - Steady::duration(fresh_until_.load(std::memory_order_acquire));
  if (late <= Steady::duration::zero()) return absl::OkStatus();
  std::string why;
  std::string watched;
  {
    MutexLock lock(&failure_mutex_);
    watched = watched_;
    if (!failure_.empty()) why = absl::StrCat(" (", failure_, ")");
  }
  return WithReason(
      absl::UnavailableError(absl::StrCat(
          "shard 0 at ", watched, ", which tells names, has not answered: what names "
          "mean was last known for sure ", std::chrono::duration_cast<std::chrono::milliseconds>(late).count(),
          " ms ago", why)),
      reason::kShardUnavailable);
}

StampCheck CatalogueWatch::stamp_check() const {
  return [owner = owner_](int64_t stamp_ms) -> absl::Status {
    const int64_t ahead_ms = AheadMs(stamp_ms, owner->ahead_ms.load(std::memory_order_relaxed));
    if (-limits::kMaxAheadMs <= ahead_ms && ahead_ms <= limits::kMaxAheadMs) return absl::OkStatus();
    MutexLock lock(&owner->mutex);
    return absl::FailedPreconditionError(absl::StrCat(
        "the clock of this process is ", ahead_ms, " ms ahead of that of shard 0 at ", owner->address, "; must be in [",
        -limits::kMaxAheadMs, ", ", limits::kMaxAheadMs, "]: set the clocks of their machines"));
  };
}

int64_t CatalogueWatch::clock_ahead_ms() const {
  return AheadMs(SystemClock().NowMs(), owner_->ahead_ms.load(std::memory_order_relaxed));
}

void CatalogueWatch::LookAtClock() {
  const absl::Status clock = CheckClock();
  if (clock.ok() != clock_wrong_) return;
  clock_wrong_ = !clock.ok();
  Tell(clock_wrong_ ? "clock_wrong" : "clock_right",
       clock_wrong_ ? std::string(clock.message()) : wire_->tellers[at_].address);
}

void CatalogueWatch::Note(const absl::Status& asked) {
  MutexLock lock(&failure_mutex_);
  failure_ = asked.ok() ? "" : asked.ToString();
}

void CatalogueWatch::Forward(std::function<absl::Status(const CatalogueChanges&)> take) {
  MutexLock lock(&forward_mutex_);
  forward_ = std::move(take);
  if (forward_ != nullptr) (void)forward_(names_.Everything());
}

std::chrono::milliseconds CatalogueWatch::AnswerWithin() const {
  return wire_->tellers.size() == 1 ? kAnswerWithin : kAnswerOfOneWithin;
}

absl::Status CatalogueWatch::Ask() {
  const absl::Status asked = AskAt(at_);
  at_once_ = !asked.ok() || cut_off_;
  if (at_once_) at_ = (at_ + 1) % wire_->tellers.size();
  return asked;
}

absl::Status CatalogueWatch::AskAt(size_t at) {
  cut_off_ = false;
  internal::v1::WatchRequest request;
  request.set_protocol(kInternalProtocol);
  request.set_deployment(identity_);
  request.set_shards(options_.shards);
  request.set_watcher(watcher_);
  request.set_epoch(epoch_);
  request.set_revision(revision_);
  request.set_now_ms(SystemClock().NowMs());
  request.set_at_once(at_once_);
  CallLimits limits;
  const Steady::time_point asked = Steady::now();
  limits.deadline = asked + AnswerWithin();
  const auto context = MakeContext(limits);
  wire_->Begin(context);
  if (stopping_) return absl::CancelledError("stopping");
  internal::v1::WatchAnswer answer;
  const grpc::Status status = wire_->tellers[at].stub->Watch(context.get(), request, &answer);
  wire_->Begin(nullptr);
  const std::string address = wire_->tellers[at].address;  // the answer may say that others tell names
  const std::string who = absl::StrCat("shard 0 at ", address);
  RETURN_IF_ERROR(FromGrpcStatus(status, who));
  // What it has not applied was acknowledged all the same: to go back would bring back what was dropped.
  if (answer.epoch() == epoch_ && answer.revision() < revision_) {
    return absl::UnavailableError(absl::StrCat(who, " stands at revision ", answer.revision(), " of the names, before ",
                                               revision_, ", which is known"));
  }
  return Take(answer, asked, address);
}

absl::Status CatalogueWatch::Take(const internal::v1::WatchAnswer& answer, Steady::time_point asked,
                                  const std::string& address) {
  CatalogueChanges changes;
  RETURN_IF_ERROR(Unflat(answer.changes(), changes));
  {
    MutexLock lock(&forward_mutex_);
    RETURN_IF_ERROR(names_.Apply(changes).status());
    if (forward_ != nullptr) RETURN_IF_ERROR(forward_(changes));
  }
  if (const auto told = changes.replicas.find(0); told != changes.replicas.end() && told->second.fixed) {
    TakeTellers(told->second.addresses);
  }
  identity_ = answer.deployment();
  epoch_ = answer.epoch();
  revision_ = answer.revision();
  // What the way here takes is little beside what is allowed.
  owner_->ahead_ms.store(answer.now_ms() - SteadyClock().NowMs(), std::memory_order_relaxed);
  {
    MutexLock lock(&owner_->mutex);
    owner_->address = address;
  }
  const auto lease = std::chrono::milliseconds(answer.lease_ms()) * 19 / 20;
  cut_off_ = answer.cut_off();
  const auto known = asked - std::chrono::milliseconds(answer.behind_ms());
  asked_.store(std::max(asked_.load(std::memory_order_relaxed), Steady::time_point(known).time_since_epoch().count()),
               std::memory_order_release);
  // One of before may last longer.
  const Steady::rep until = (asked + lease).time_since_epoch().count();
  fresh_until_.store(std::max(fresh_until_.load(std::memory_order_relaxed), until), std::memory_order_release);
  return absl::OkStatus();
}

void CatalogueWatch::TakeTellers(const std::vector<std::string>& addresses) {
  if (std::all_of(addresses.begin(), addresses.end(), [](const std::string& each) { return each.empty(); })) return;
  const std::string watched = wire_->tellers[at_].address;
  wire_->Take(addresses, options_.security.get());
  const std::vector<Wire::Teller>& tellers = wire_->tellers;
  const auto at = std::find_if(tellers.begin(), tellers.end(),
                               [&watched](const Wire::Teller& each) { return each.address == watched; });
  at_ = at != tellers.end() ? static_cast<size_t>(at - tellers.begin()) : RandomBelow(tellers.size());
  std::vector<std::string> known;
  for (const Wire::Teller& each : tellers) known.push_back(each.address);
  MutexLock lock(&failure_mutex_);
  watched_ = absl::StrJoin(known, ", ");
}

void CatalogueWatch::TakeOptionsToo() {
  std::vector<std::string> addresses;
  for (const Wire::Teller& each : wire_->tellers) addresses.push_back(each.address);
  for (const std::string& each : options_.addresses) {
    if (std::find(addresses.begin(), addresses.end(), each) == addresses.end()) addresses.push_back(each);
  }
  if (addresses.size() > wire_->tellers.size()) TakeTellers(addresses);
}

void CatalogueWatch::TakeListed(const std::string& address) {
  const ReplicaList list = names_.ReplicasOf(0);
  const auto& listed = list.addresses;
  if (list.fixed && std::find(listed.begin(), listed.end(), address) != listed.end()) TakeTellers(listed);
}

void CatalogueWatch::Run() {
  auto pause = kFirstPause;
  bool lost = false;
  bool names_lost = false;
  size_t in_vain = 0;  // asked one after the other
  while (!stopping_) {
    const std::string at = wire_->tellers[at_].address;
    const absl::Status asked = Ask();
    if (stopping_) return;
    Note(asked);
    LookAtClock();
    if (asked.ok() && !cut_off_) {
      if (lost) {
        Tell("catalogue_found", at);
        TakeListed(at);
      }
      pause = kFirstPause;
      in_vain = 0;
      lost = names_lost = false;
      continue;
    }
    // Others are asked before it is said that nobody answers, and at once.
    if (++in_vain < wire_->tellers.size()) continue;
    if (!std::exchange(lost, true)) {
      Tell("catalogue_lost", asked.ok() ? "those who tell names do not know whether there is more" : asked.ToString());
      TakeOptionsToo();
    }
    if (const absl::Status known = Check(); !known.ok() && !std::exchange(names_lost, true)) {
      Tell("names_lost", std::string(known.message()));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace mneme
