#include <chrono>
#include <string>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/catalogue_feed.h"
#include "engine/catalogue_teller.h"
#include "engine/flat_catalogue.h"
#include "engine/log_record.h"
#include "engine/names_hold.h"
#include "server/hosted_shard.h"
#include "server/shard_handlers.h"

namespace mneme {
namespace {

absl::StatusOr<CatalogueFeed*> FeedOf(const CallContext& call) {
  CatalogueFeed* const feed = call.front_end.catalogue_feed();
  if (feed != nullptr) return feed;
  return absl::FailedPreconditionError(
      absl::StrCat("this is shard ", Hosted(call.deployment).port().number(),
                   "; shard 0 owns the catalogue: it comes first in --shard-addresses"));
}

// Of a call that is meant.
absl::StatusOr<CatalogueTeller*> TellerOf(const CallContext& call) {
  CatalogueTeller* const teller = call.front_end.catalogue_teller();
  if (teller != nullptr) return teller;
  return absl::FailedPreconditionError("this process has no log of names; replicas of shard 0 with --log have one");
}

// Applies a change where names have no log; the memory that was made, or that an alias pointed to before.
absl::StatusOr<MemoryHandle> Apply(LocalDeployment& shard, const LoggedOperation& operation) {
  if (const auto* create = std::get_if<CreateMemoryCommand>(&operation)) return shard.CreateMemory(create->spec);
  if (const auto* set = std::get_if<SetAliasCommand>(&operation)) return shard.SetAlias(set->change);
  if (const auto* drop = std::get_if<DropMemoryCommand>(&operation)) {
    RETURN_IF_ERROR(shard.DropMemory(drop->name));
    return MemoryHandle();
  }
  if (const auto* drop = std::get_if<DropAliasCommand>(&operation)) {
    RETURN_IF_ERROR(shard.DropAlias(drop->name));
    return MemoryHandle();
  }
  return absl::InvalidArgumentError("a write of a shard is no change of the catalogue");
}

// Makes a change, by the log of names where there is one (a teller). While names are held it waits, on a worker that
// changes alone use: what tellers ask of each other goes on.
absl::StatusOr<MemoryHandle> MakeChange(const CallContext& call, CatalogueTeller* teller, LogRecord record) {
  NamesHold& hold = call.front_end.names_hold();
  RETURN_IF_ERROR(hold.Begin(call.limits));
  const absl::Cleanup end = [&hold] { hold.End(); };
  if (teller != nullptr) return teller->Change(std::move(record), call.limits);
  return Apply(Hosted(call.deployment), record.operation);
}

absl::Status NotKnown() {
  return WithReason(absl::UnavailableError("this replica does not know whether it has all names: it reaches neither "
                                           "the log of names nor all other replicas of shard 0, or is not listed "
                                           "as one of them"),
                    reason::kShardUnavailable);
}

}  // namespace

absl::Status HandleWatch(const CallContext& call, const internal::v1::WatchRequest& request,
                         internal::v1::WatchAnswer* response, Done done) {
  const LocalDeployment& shard = Hosted(call.deployment);
  if (request.protocol() != kInternalProtocol) {
    return absl::FailedPreconditionError(absl::StrCat("shard 0 speaks internal protocol ", kInternalProtocol,
                                                      "; it was asked in ", request.protocol(),
                                                      ": all processes of a deployment must be of one version"));
  }
  ASSIGN_OR_RETURN(CatalogueFeed* const feed, FeedOf(call));
  if (request.shards() != shard.shards()) {
    return absl::FailedPreconditionError(absl::StrCat("the deployment has ", shard.shards(), " shards; ",
                                                      request.shards(), " were given in --shard-addresses"));
  }
  if (request.deployment() != 0 && request.deployment() != shard.identity()) {
    return absl::FailedPreconditionError("shard 0 is of another deployment than it was; start this process anew");
  }
  if (request.leaving()) {
    feed->Leave(request.watcher());
    done(absl::OkStatus());
    return absl::OkStatus();
  }
  if (request.now_ms() != 0) feed->NoteClock(request.watcher(), request.now_ms() - SystemClock().NowMs());
  response->set_deployment(shard.identity());
  feed->Watch(request.watcher(), {request.epoch(), request.revision(), request.at_once()},
              [response, done = std::move(done)](const CatalogueFeed::Answer& answer) {
                if (answer.lease <= std::chrono::milliseconds::zero()) return done(NotKnown());
                response->set_lease_ms(static_cast<uint32_t>(answer.lease.count()));
                response->set_behind_ms(static_cast<uint32_t>(answer.behind.count()));
                response->set_cut_off(answer.cut_off);
                response->set_epoch(answer.epoch);
                response->set_revision(answer.changes.revision);
                response->set_changes(Flat(answer.changes));
                response->set_now_ms(SystemClock().NowMs());
                done(absl::OkStatus());
              });
  return absl::OkStatus();
}

absl::Status HandleChange(const CallContext& call, const internal::v1::Call& request,
                          internal::v1::Answer* response) {
  RETURN_IF_ERROR(CheckTarget(Hosted(call.deployment), request.target()));
  ASSIGN_OR_RETURN(CatalogueFeed* const feed, FeedOf(call));
  ASSIGN_OR_RETURN(LogRecord record, DecodeLogRecord(request.body()));
  const bool creates = std::holds_alternative<CreateMemoryCommand>(record.operation);
  const bool swings = std::holds_alternative<SetAliasCommand>(record.operation);
  CatalogueTeller* const teller = call.front_end.catalogue_teller();
  const absl::StatusOr<MemoryHandle> changed = MakeChange(call, teller, std::move(record));
  // A refusal, too, tells what the names are: who hears that one exists must find it wherever it asks next, though the
  // change that made it is not acknowledged yet. A teller has waited for that already.
  if (teller == nullptr) RETURN_IF_ERROR(feed->Publish(call.limits));
  RETURN_IF_ERROR(changed.status());
  if (creates) response->set_body(Flat(**changed));
  if (swings) response->set_body(Flat(*changed));  // what it pointed to before
  return absl::OkStatus();
}

// --- Between the replicas of shard 0; also while one replays the log of its entries --------------------------------

absl::Status HandleConfirm(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer*) {
  RETURN_IF_ERROR(CheckTarget(Hosted(call.deployment), request.target()));
  ASSIGN_OR_RETURN(CatalogueTeller* const teller, TellerOf(call));
  LogOffset offset = 0;
  RETURN_IF_ERROR(Unflat(request.body(), offset));
  return teller->Confirm(offset, call.limits);
}

absl::Status HandlePromise(const CallContext& call, const internal::v1::Call& request,
                           internal::v1::Answer* response) {
  RETURN_IF_ERROR(CheckTarget(Hosted(call.deployment), request.target()));
  ASSIGN_OR_RETURN(CatalogueTeller* const teller, TellerOf(call));
  std::string other;  // its address
  int64_t now_ms = 0;
  Sequence other_handled = 0;
  RETURN_IF_ERROR(Unflat(request.body(), other, now_ms, other_handled));
  ASSIGN_OR_RETURN(const Sequence handled, teller->Promise(other, other_handled));
  teller->feed().NoteClock(other, now_ms - SystemClock().NowMs());
  response->set_body(Flat(handled, SystemClock().NowMs()));
  return absl::OkStatus();
}

absl::Status HandleSnapshot(const CallContext& call, const internal::v1::Call& request,
                            internal::v1::Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  internal::v1::Target target = request.target();
  if (target.deployment() == 0) target.set_deployment(shard.identity());  // who asks is told
  RETURN_IF_ERROR(CheckTarget(shard, target));
  ASSIGN_OR_RETURN(CatalogueTeller* const teller, TellerOf(call));
  RETURN_IF_ERROR(teller->applier().status());
  response->set_body(Flat(shard.identity(), teller->Snapshot()));
  return absl::OkStatus();
}

}  // namespace mneme
