#include "server/shard_handlers.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "engine/flat_progress.h"
#include "engine/neighbour_rows.h"
#include "engine/prune_decisions.h"
#include "engine/shard_log.h"
#include "server/hosted_shard.h"
#include "server/shard_read_out.h"

namespace mneme {
namespace {

using internal::v1::Answer;
using internal::v1::Call;

}  // namespace

absl::Status HandleShardQuery(const CallContext& call, const Call& request, Answer* response, Done done) {
  LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  std::string lease;
  QueryCommand command;
  std::string read_out;
  RETURN_IF_ERROR(Open(call, request, number, lease, command, read_out));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, number));
  RETURN_IF_ERROR(FindLeaseOn(shard, *memory, lease, command));
  const size_t bytes = command.count * memory->spec.dimension * sizeof(float);
  if (command.count == 0 || command.queries.size() != bytes) {
    return absl::InvalidArgumentError("a query holds no keys of its memory");
  }
  std::shared_ptr<QueryPlan> plan;  // null: the neighbours are wanted
  if (!read_out.empty()) {
    ASSIGN_OR_RETURN(QueryPlan planned, PlanReadOut(memory, command, read_out));
    plan = std::make_shared<QueryPlan>(std::move(planned));
  }
  command.limits = call.limits;
  auto answer = [&call, response, plan, with_attributes = command.with_attributes, with_ids = command.with_ids,
                 single_scores = command.single_scores, done = std::move(done)](absl::StatusOr<QueryOutcome> got) {
    done(Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(got.status());
      call.front_end.metrics().Searched(got->queue_us, got->search_us);
      std::optional<FinishedReadOut> made;
      if (plan != nullptr) {
        ASSIGN_OR_RETURN(made, MakeReadOut(*plan, call.limits, *got));
        call.front_end.metrics().ReadOut(SecondsOf(*made));
      }
      if (!with_attributes) DropAttributes(got->neighbours);
      if (!with_ids) DropIds(got->neighbours);
      if (single_scores) RoundScores(got->neighbours);
      const size_t room = RoomFor(got->neighbours) + (made.has_value() ? made->answer.size() : 0);
      response->set_body(FlatIn(room, *got, made));
      return absl::OkStatus();
    }));
  };
  shard.Query(memory, std::move(command), std::move(answer));
  return absl::OkStatus();
}

absl::Status HandleScore(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  std::string lease;
  QueryCommand command;
  bool plain = false;
  std::vector<WantedEntry> wanted;
  RETURN_IF_ERROR(Open(call, request, number, lease, command, plain, wanted));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, number));
  RETURN_IF_ERROR(FindLeaseOn(shard, *memory, lease, command));
  const size_t bytes = command.count * memory->spec.dimension * sizeof(float);
  if (command.count == 0 || command.queries.size() != bytes) {
    return absl::InvalidArgumentError("a query holds no keys of its memory");
  }
  for (const WantedEntry& each : wanted) {
    if (each.query >= command.count) return absl::InvalidArgumentError("an entry is wanted for no row of the query");
  }
  command.limits = call.limits;
  RETURN_IF_ERROR(shard.Await(command.at_least, call.limits));
  ASSIGN_OR_RETURN(NeighbourColumns scored, shard.Score(memory, command, plain, wanted));
  if (!command.with_attributes) DropAttributes(scored);
  response->set_body(Flat(scored));
  return absl::OkStatus();
}

absl::Status HandleAwaitOutcome(const CallContext& call, const Call& request, Answer* response, Done done) {
  LocalDeployment& shard = Hosted(call.deployment);
  LogOffset offset = 0;
  RequestIdentity write;
  RETURN_IF_ERROR(Open(call, request, offset, write));
  auto answer = [&shard, offset, response, done = std::move(done)](absl::StatusOr<WriteResult> result) {
    // An outcome is told in the answer; an error of the call says that there is none here, and that another replica
    // may have it.
    absl::Status outcome = result.status();
    std::optional<WriteResult> told;
    if (result.ok()) {
      told = *std::move(result);
    } else {
      const LogState state = shard.log_state();
      if (state.handled < SequenceAt(offset)) return done(state.status.ok() ? outcome : CheckApplies(shard));
      // It came by just now, after its time: asked again, it is told.
      if (absl::IsDeadlineExceeded(outcome) || absl::IsCancelled(outcome)) return done(outcome);
      // What became of it is not known any more: no use to ask again by its offset.
      if (absl::IsUnavailable(outcome)) outcome = absl::OkStatus();
    }
    response->set_body(Flat(outcome, told));
    done(absl::OkStatus());
  };
  shard.AwaitOutcome(offset, write, call.limits, std::move(answer));
  return absl::OkStatus();
}

absl::Status HandleShardAcquire(const CallContext& call, const Call& request, Answer* response) {
  LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  VisitCommand command;
  int64_t lease_ms = 0;
  RETURN_IF_ERROR(Open(call, request, number, command, lease_ms));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, number));
  command.limits = call.limits;
  ASSIGN_OR_RETURN(const Leases::Granted granted, shard.AcquireLease(memory, command, lease_ms));
  ASSIGN_OR_RETURN(const LeaseHandle lease, shard.leases().Find(granted.id, *memory));
  response->set_body(Flat(granted.id, granted.version, granted.expires_ms, lease->stamp_ms));
  return absl::OkStatus();
}

absl::Status HandleShardRenew(const CallContext& call, const Call& request, Answer* response) {
  std::string id;
  int64_t lease_ms = 0;
  RETURN_IF_ERROR(Open(call, request, id, lease_ms));
  ASSIGN_OR_RETURN(const int64_t expires_ms, Hosted(call.deployment).leases().Renew(id, lease_ms));
  response->set_body(Flat(expires_ms));
  return absl::OkStatus();
}

absl::Status HandleShardRelease(const CallContext& call, const Call& request, Answer*) {
  std::string id;
  RETURN_IF_ERROR(Open(call, request, id));
  return Hosted(call.deployment).leases().Release(id);
}

absl::Status HandleShardStatistics(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  std::optional<MemoryNumber> number;
  RETURN_IF_ERROR(Open(call, request, number));
  if (!number.has_value()) {
    response->set_body(Flat(shard.Statistics()));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, *number));
  ASSIGN_OR_RETURN(const MemoryStatistics statistics, shard.Statistics(memory));
  response->set_body(Flat(statistics));
  return absl::OkStatus();
}

absl::Status HandleShardBuild(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  bool retrain = false;
  std::vector<float> centroids;
  std::vector<float> subvectors;
  RETURN_IF_ERROR(Open(call, request, number, retrain, centroids, subvectors));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindNumber(shard, number));
  if (centroids.size() % memory->spec.dimension != 0) {
    return absl::InvalidArgumentError("centroids are no keys of the memory");
  }
  const auto say = [&](const BuildProgress& step, std::optional<bool> built) {
    Answer answer;
    answer.set_body(Flat(FlatProgress{step.stage, step.rows_done, step.rows_total}, built));
    return tell(std::move(answer));
  };
  const auto progress = [&](const BuildProgress& step) { return say(step, std::nullopt); };
  bool built = true;
  if (centroids.empty()) {
    RETURN_IF_ERROR(shard.BuildIndex(memory, retrain, progress));
  } else {
    ASSIGN_OR_RETURN(built, shard.BuildOn(memory, {centroids, subvectors}, progress));
  }
  (void)say({"done", 0, 0}, built);
  return absl::OkStatus();
}

absl::Status HandleShardPrune(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  LocalDeployment& shard = Hosted(call.deployment);
  MemoryNumber number = 0;
  PruneCommand command;
  Version at_least;
  uint64_t shared = 0;  // names the prune of several parts that this is one of; 0: it is of this one alone
  RETURN_IF_ERROR(Open(call, request, number, command, at_least, shared));
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindApplied(shard, number, at_least, call.limits));
  const auto say = [&](const PruneProgress& step, const std::optional<NeighbourColumns>& found,
                       const std::optional<PruneOutcome>& outcome) {
    Answer answer;
    const Sequence sequence = outcome.has_value() ? outcome->sequence : 0;
    answer.set_body(Flat(FlatProgress{step.stage, step.entries_done, step.entries_total}, found, outcome, sequence));
    return tell(std::move(answer));
  };
  command.limits = call.limits;
  command.progress = [&](const PruneProgress& step) { return say(step, std::nullopt, std::nullopt); };
  std::optional<PruneDecisions::Wait> wait;
  if (shared != 0) {
    wait.emplace(shard.prune_decisions(), shared);
    command.share = [&](NeighbourColumns found) {
      DropAttributes(found);
      const bool heard = say({"guarding", 0, 0}, std::move(found), std::nullopt);
      return heard ? absl::OkStatus() : absl::CancelledError("pruning was cancelled");
    };
    command.decided = [&] { return wait->Await(call.limits); };
  }
  ASSIGN_OR_RETURN(const PruneOutcome outcome, shard.Prune(memory, std::move(command)));
  (void)say({"writing", 0, 0}, std::nullopt, outcome);
  return absl::OkStatus();
}

absl::Status HandleGoOnPrune(const CallContext& call, const Call& request, Answer*) {
  uint64_t shared = 0;
  RETURN_IF_ERROR(Open(call, request, shared));
  return Hosted(call.deployment).prune_decisions().GoOn(shared);
}

}  // namespace mneme
