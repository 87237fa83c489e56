#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "engine/catalogue_feed.h"
#include "engine/flat_catalogue.h"
#include "engine/log_record.h"
#include "server/hosted_shard.h"
#include "server/shard_handlers.h"

namespace mneme {
namespace {

absl::StatusOr<CatalogueFeed*> FeedOf(const CallContext& call) {
  CatalogueFeed* const feed = call.front_end.catalogue_feed();
  if (feed != nullptr) return feed;
  const uint32_t number = Hosted(call.deployment).port().number();
  if (number == 0) {
    return absl::FailedPreconditionError(
        "this is another replica of shard 0 than the first, which owns the catalogue: it comes first in "
        "--shard-addresses");
  }
  return absl::FailedPreconditionError(
      absl::StrCat("this is shard ", number,
                   "; shard 0 owns the catalogue: it comes first in --shard-addresses"));
}

// Applies a change; what its answer holds.
absl::StatusOr<std::string> Apply(LocalDeployment& shard, const LoggedOperation& operation) {
  if (const auto* create = std::get_if<CreateMemoryCommand>(&operation)) {
    ASSIGN_OR_RETURN(const MemoryHandle memory, shard.CreateMemory(create->spec));
    return Flat(*memory);
  }
  if (const auto* drop = std::get_if<DropMemoryCommand>(&operation)) {
    RETURN_IF_ERROR(shard.DropMemory(drop->name));
    return std::string();
  }
  if (const auto* change = std::get_if<AliasChange>(&operation)) {
    ASSIGN_OR_RETURN(const MemoryHandle before, shard.SetAlias(*change));
    return Flat(before);
  }
  if (const auto* drop = std::get_if<DropAliasCommand>(&operation)) {
    RETURN_IF_ERROR(shard.DropAlias(drop->name));
    return std::string();
  }
  return absl::InvalidArgumentError("a write of a shard is no change of the catalogue");
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
  response->set_lease_ms(static_cast<uint32_t>(feed->lease().count()));
  feed->Watch(request.watcher(), {request.epoch(), request.revision()},
              [response, done = std::move(done)](const CatalogueFeed::Answer& answer) {
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
  LocalDeployment& shard = Hosted(call.deployment);
  RETURN_IF_ERROR(CheckTarget(shard, request.target()));
  // Its log may know of memories that it does not: their numbers are not to be given again.
  RETURN_IF_ERROR(call.front_end.CheckReplayed());
  ASSIGN_OR_RETURN(CatalogueFeed* const feed, FeedOf(call));
  ASSIGN_OR_RETURN(const LogRecord record, DecodeLogRecord(request.body()));
  absl::StatusOr<std::string> applied = Apply(shard, record.operation);
  // A refusal, too, tells what the names are: who hears that one exists must find it wherever it asks next, though the
  // change that made it is not acknowledged yet.
  RETURN_IF_ERROR(feed->Publish(call.limits));
  RETURN_IF_ERROR(applied.status());
  *response->mutable_body() = *std::move(applied);
  return absl::OkStatus();
}

}  // namespace mneme
