// Replicas are added and removed by records of the log of names, each of which replaces the list that was looked at, or
// is refused: of two who change a list at once the second looks at it anew.
//
// 1. Which shard is it? The lists say so: those that the log has, and where it has none those of options.
// 2. One that is to be a replica is asked what it is until it serves. Then the list is set with it.
// 3. One that is to be none any more is taken out of the list, if another one of it serves then. Once that is
//    acknowledged every front end has been told, and asks it nothing any more.
//
// Whatever is done twice is done once: who did not hear how it ended asks for the same again. That what was drained may
// be stopped is said once everybody is known to have been told, so of one that is drained already the same list is set
// again: what is acknowledged after another change is known wherever that is.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cluster/remote_deployment_state.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/catalogue_teller.h"
#include "engine/flat_checkpoints.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;
using Addresses = std::vector<std::string>;

// What a process says of itself it has at hand.
constexpr std::chrono::seconds kDescribeWithin{2};
// Between two looks at one that does not serve yet, and at a list that another has set.
constexpr std::chrono::milliseconds kLook{500};
// One that starts says so, however long it copies: where nothing answers for so long there is nothing.
constexpr std::chrono::seconds kSilentFor{30};
// Who was told a list that has another since may go by it for so long.
constexpr auto kLeaseEnds = std::chrono::ceil<std::chrono::seconds>(kNamesPromise);

// A process at an address, as it is asked what it is, whether it is a replica already or not.
class Process {
 public:
  Process(const ShardChannel& shard, const std::string& address, const ChannelSecurity* security)
      : shard_(shard), address_(address),
        stub_(internal_wire::ShardService::NewStub(MakeInternalChannel(address, security))) {}

  // kAway, and why, while it does not say. FAILED_PRECONDITION when it is no process of the shard, or knows itself by
  // another address.
  absl::StatusOr<ReplicaDescription> Describe(const CallLimits& limits) {
    internal_wire::Call call;
    *call.mutable_target() = shard_.target();
    call.set_body(Flat());
    const auto context = MakeContext(limits.Within(kDescribeWithin));
    shard_.canceller().Watch(limits.cancelled, context);
    internal_wire::Answer answer;
    const grpc::Status status = stub_->DescribeReplica(context.get(), call, &answer);
    // What gRPC makes up has no details.
    heard_ = status.ok() || (status.error_code() == grpc::StatusCode::UNAVAILABLE && !status.error_details().empty());
    ReplicaDescription told;
    told.shard = shard_.number();
    told.address = address_;
    absl::Status failed = FromGrpcStatus(status, absl::StrCat("shard ", shard_.number(), " at ", address_));
    if (failed.ok()) failed = Unflat(answer.body(), told);
    // It goes by lists that name it so; under another address it would serve, and find itself on none of them.
    const std::string own = std::exchange(told.address, address_);
    if (failed.ok() && own == address_) return told;
    if (failed.ok()) {
      return absl::FailedPreconditionError(absl::StrCat("the process at ", address_, " is ", own,
                                                        " by its own --shard-addresses; must be given so"));
    }
    if (!absl::IsUnavailable(failed) && !absl::IsDeadlineExceeded(failed) && !absl::IsCancelled(failed)) {
      return absl::FailedPreconditionError(absl::StrCat("the process at ", address_, " is no replica of shard ",
                                                        shard_.number(), ": ", failed.message()));
    }
    told.state = ReplicaState::kAway;
    told.detail = std::string(failed.message());
    return told;
  }
  // Whether it answered when it was last asked, be it that it starts.
  bool heard() const { return heard_; }

 private:
  const ShardChannel& shard_;
  const std::string address_;
  const std::unique_ptr<internal_wire::ShardService::Stub> stub_;
  bool heard_ = false;
};

struct ChangingParts {
  const ShardFan& shards;
  const ShardAddresses& of_options;
  const CatalogueWatch& watch;
  const std::vector<std::shared_ptr<ShardLog>>& logs;
  const ChannelSecurity* security = nullptr;
  // Has the log of names take a change; returns when all know it.
  std::function<absl::Status(LoggedOperation)> change;
};

class Changing {
 public:
  Changing(ChangingParts parts, const CallLimits& limits, const ReplicaChangeSink& tell)
      : parts_(std::move(parts)), limits_(limits), tell_(tell) {}

  absl::StatusOr<ReplicaChangeOutcome> Run(const ReplicaChange& change) {
    const std::optional<uint32_t> of_added = ShardOf(change.add);
    const std::optional<uint32_t> of_drained = ShardOf(change.drain);
    if (!change.drain.empty() && !of_drained.has_value()) {
      if (of_added.has_value() && parts_.watch.names().ReplicasOf(*of_added).fixed) {  // it was moved
        ReplicaChangeOutcome moved;
        moved.shard = *of_added;
        ASSIGN_OR_RETURN(moved.replicas, Edit(*of_added, /*again=*/true, [](Addresses&) { return absl::OkStatus(); }));
        return moved;
      }
      return absl::NotFoundError(absl::StrCat("no shard has a replica at ", change.drain, "; one that was drained may ",
                                              "be stopped ", kLeaseEnds.count(), " s from now"));
    }
    const uint32_t shard = of_drained.value_or(change.shard);  // 1
    if (shard >= parts_.shards.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("shard is ", shard, "; must be below the ", parts_.shards.size(), " of the deployment"));
    }
    if (of_added.value_or(shard) != shard) {
      return absl::InvalidArgumentError(absl::StrCat(change.add, " is a replica of shard ", *of_added,
                                                     "; must be a process of shard ", shard));
    }
    ReplicaChangeOutcome outcome;
    outcome.shard = shard;
    if (!change.add.empty()) {  // 2
      if (parts_.security != nullptr) RETURN_IF_ERROR(parts_.security->CheckAddress(change.add));
      RETURN_IF_ERROR(AwaitServing(shard, change.add));
      ASSIGN_OR_RETURN(outcome.replicas,
                       Edit(shard, /*again=*/false, [&](Addresses& list) { return AddTo(list, shard, change.add); }));
    }
    if (!change.drain.empty()) {  // 3
      ASSIGN_OR_RETURN(outcome.replicas, Edit(shard, /*again=*/true, [&](Addresses& list) {
                         return TakeOutOf(list, shard, change.drain);
                       }));
    }
    return outcome;
  }

 private:
  Addresses ListOf(uint32_t shard) const {
    const ReplicaList list = parts_.watch.names().ReplicasOf(shard);
    return list.addresses.empty() ? parts_.of_options[shard] : list.addresses;
  }
  std::optional<uint32_t> ShardOf(const std::string& address) const {
    if (address.empty()) return std::nullopt;
    for (const uint32_t shard : parts_.shards.all()) {
      const Addresses list = ListOf(shard);
      if (std::find(list.begin(), list.end(), address) != list.end()) return shard;
    }
    return std::nullopt;
  }

  // What an operator is to know who makes a list that of all: those whom it does not name are none any more.
  std::string WhoseList(uint32_t shard) const {
    if (parts_.watch.names().ReplicasOf(shard).fixed) return "";
    return absl::StrCat("the list of shard ", shard, " was that of options until now; from now on it is ",
                        absl::StrJoin(ListOf(shard), ", "), " with this change, whatever other options say");
  }

  absl::Status Tell(const char* stage, ReplicaDescription replica) {
    if (tell_({stage, std::move(replica)})) return absl::OkStatus();
    return absl::CancelledError("nobody hears of the change of replicas any more");
  }
  // Of the list of a shard, by the replica at `address`.
  absl::Status TellChange(const char* stage, uint32_t shard, const std::string& address) {
    ReplicaDescription told;
    told.shard = shard;
    told.address = address;
    told.detail = WhoseList(shard);
    return Tell(stage, std::move(told));
  }

  absl::Status AwaitServing(uint32_t shard, const std::string& address) {
    Process process(parts_.shards.shard(shard), address, parts_.security);
    Steady::time_point heard = Steady::now();
    while (true) {
      RETURN_IF_ERROR(limits_.Check());
      ASSIGN_OR_RETURN(ReplicaDescription told, process.Describe(limits_));
      if (process.heard()) heard = Steady::now();
      if (told.state != ReplicaState::kAway) {
        const absl::StatusOr<LogOffset> end = parts_.logs[shard]->End(limits_.Within(kDescribeWithin));
        if (end.ok()) told.log_end = std::max(*end, told.log_end);
      }
      RETURN_IF_ERROR(Tell("waiting", told));
      if (told.state == ReplicaState::kServing) return absl::OkStatus();
      if (told.state == ReplicaState::kFailed) {
        return absl::FailedPreconditionError(absl::StrCat("the process at ", address, " has failed: ", told.detail));
      }
      if (Steady::now() - heard > kSilentFor) {
        return absl::UnavailableError(absl::StrCat("no process at ", address, " has answered for ", kSilentFor.count(),
                                                   " s: ", told.detail));
      }
      std::this_thread::sleep_for(kLook);
    }
  }

  absl::Status AddTo(Addresses& list, uint32_t shard, const std::string& address) {
    RETURN_IF_ERROR(TellChange("adding", shard, address));
    if (std::find(list.begin(), list.end(), address) != list.end()) return absl::OkStatus();
    const auto hole = std::find(list.begin(), list.end(), "");
    if (hole != list.end()) {
      *hole = address;
      return absl::OkStatus();
    }
    if (list.size() >= limits::kMaxReplicas) {
      return absl::FailedPreconditionError(absl::StrCat("shard ", shard, " has ", list.size(),
                                                        " replicas, as many as it may: drain one first"));
    }
    list.push_back(address);
    return absl::OkStatus();
  }

  absl::Status TakeOutOf(Addresses& list, uint32_t shard, const std::string& address) {
    RETURN_IF_ERROR(TellChange("draining", shard, address));
    const auto at = std::find(list.begin(), list.end(), address);
    if (at == list.end()) return absl::OkStatus();  // another drained it meanwhile
    at->clear();
    Addresses why;
    for (const std::string& other : list) {
      if (other.empty()) continue;
      const auto told = Process(parts_.shards.shard(shard), other, parts_.security).Describe(limits_);
      if (told.ok() && told->state == ReplicaState::kServing) return absl::OkStatus();
      const std::string detail = told.ok() ? told->detail : std::string(told.status().message());
      why.push_back(detail.empty() ? absl::StrCat(other, " does not serve yet, or has lost its log") : detail);
    }
    RETURN_IF_ERROR(limits_.Check());
    return absl::FailedPreconditionError(
        absl::StrCat(address, " is drained only while another replica of shard ", shard, " serves",
                     why.empty() ? ", and it is the only one" : absl::StrCat(": ", absl::StrJoin(why, "; "))));
  }

  // Sets a list to what `edit` makes of it, which is called again when it was set by another meanwhile. A list that is
  // so already is set only `again`.
  absl::StatusOr<Addresses> Edit(uint32_t shard, bool again, const std::function<absl::Status(Addresses&)>& edit) {
    while (true) {
      RETURN_IF_ERROR(limits_.Check());
      RETURN_IF_ERROR(parts_.watch.Check());
      const ReplicaList before = parts_.watch.names().ReplicasOf(shard);
      Addresses wanted = before.addresses.empty() ? parts_.of_options[shard] : before.addresses;
      RETURN_IF_ERROR(edit(wanted));
      while (!wanted.empty() && wanted.back().empty()) wanted.pop_back();
      if (!again && before.fixed && wanted == before.addresses) return wanted;
      const absl::Status set = parts_.change(
          SetReplicasCommand{shard, before.addresses, wanted, NewChangeRequest(), /*fixed=*/true});
      if (set.ok()) return wanted;
      if (!absl::IsAborted(set)) return set;
      std::this_thread::sleep_for(kLook);  // it is told what another has set
    }
  }

  const ChangingParts parts_;
  const CallLimits& limits_;
  const ReplicaChangeSink& tell_;
};

}  // namespace

absl::StatusOr<ReplicaChangeOutcome> RemoteDeployment::ChangeReplicas(const ReplicaChange& change,
                                                                      const CallLimits& limits,
                                                                      const ReplicaChangeSink& tell) const {
  if (state_->logs.empty()) {
    return absl::FailedPreconditionError("shards without --log, which replicas have in common, have one process each");
  }
  RETURN_IF_ERROR(state_->watch->Check());
  const auto set = [this](LoggedOperation operation) { return Change(std::move(operation)).status(); };
  ChangingParts parts{state_->shards, state_->addresses, *state_->watch, state_->logs, state_->security.get(), set};
  return Changing(std::move(parts), limits, tell).Run(change);
}

}  // namespace mneme
