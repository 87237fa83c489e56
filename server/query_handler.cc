#include "server/query_handler.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "server/entry_read_outs.h"
#include "server/query_sources.h"
#include "server/request_error.h"
#include "server/shard_read_out.h"

namespace mneme {

absl::StatusOr<QueryPlan> PlanQuery(const Deployment& deployment, const v1::QueryRequest& request,
                                    const CallLimits& call_limits) {
  QueryPlan plan;
  plan.mixed = request.sources_size() != 0;
  ASSIGN_OR_RETURN(plan.sources, FindSources(deployment, request));
  RETURN_IF_ERROR(ReadQuery(request, plan));
  for (QuerySource& source : plan.sources) source.command.limits = call_limits;
  return plan;
}

absl::Status AnswerQuery(FrontEnd& front_end, Deployment& deployment, const QueryPlan& plan,
                         const CallLimits& call_limits, v1::QueryResponse* response) {
  const auto start = std::chrono::steady_clock::now();
  const QuerySource& first = plan.sources.front();
  std::string version;
  if (plan.mixed) {
    WriteSources(deployment, plan.sources, response);
  } else {
    version = deployment.EncodeVersion(first.outcome.version);
  }
  BenefitCount benefit;
  RETURN_IF_ERROR(WriteQuery(plan, call_limits, version, response, benefit));
  // What a mixture is worth is no one memory's.
  if (benefit.tokens != 0 && !plan.mixed) deployment.CountBenefit(first.memory, benefit.tokens, benefit.nats);
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (first.outcome.read_out.has_value()) elapsed += std::chrono::duration<double>(SecondsOf(*first.outcome.read_out));
  bool whole = true;
  for (const QuerySource& source : plan.sources) {
    front_end.metrics().Searched(source.outcome.queue_us, source.outcome.search_us);
    whole = whole && source.outcome.coverage.missing_shards.empty();
  }
  if (!whole) front_end.metrics().AnsweredInPart();
  front_end.metrics().ReadOut(elapsed.count());
  return absl::OkStatus();
}

absl::Status HandleQuery(const CallContext& call, const v1::QueryRequest& request, v1::QueryResponse* response,
                         Done done) {
  if (request.sources_size() != 0 && !request.memory().empty()) {
    return FieldError("memory", absl::StrCat("is \"", request.memory(), "\" beside sources; must be empty, since only "
                                             "a stream appends"));
  }
  if (IsEntryReadOut(request) && request.sources_size() == 0) {  // with sources PlanQuery says why not
    return HandleEntryReadOut(call, request, response, std::move(done));
  }
  ASSIGN_OR_RETURN(QueryPlan planned, PlanQuery(call.deployment, request, call.limits));
  const auto plan = std::make_shared<QueryPlan>(std::move(planned));
  LetShardReadOut(request, *plan);
  AskSources(call.deployment, plan->sources, [&call, plan, response, done](const absl::Status& asked) {
    done(Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(asked);
      return AnswerQuery(call.front_end, call.deployment, *plan, call.limits, response);
    }));
  });
  return absl::OkStatus();
}

}  // namespace mneme
