#include "server/query_handler.h"

#include <chrono>
#include <utility>

#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/entry_read_outs.h"
#include "server/find_memory.h"
#include "server/read_source.h"

namespace mneme {

absl::StatusOr<QueryPlan> PlanQuery(const Deployment& deployment, const MemoryHandle& memory,
                                    const v1::QueryRequest& request, const CallLimits& call_limits) {
  QueryPlan plan;
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), memory->spec));
  RETURN_IF_ERROR(ReadQuery(request, memory->spec, plan));
  RETURN_IF_ERROR(ReadSource(deployment, memory, request, plan.command));
  plan.command.limits = call_limits;
  return plan;
}

absl::Status AnswerQuery(FrontEnd& front_end, Deployment& deployment, const MemoryHandle& memory,
                         const QueryPlan& plan, const CallLimits& call_limits, const QueryOutcome& outcome,
                         v1::QueryResponse* response) {
  const auto start = std::chrono::steady_clock::now();
  BenefitCount benefit;
  RETURN_IF_ERROR(WriteQuery(plan, memory->spec, call_limits, outcome, deployment.EncodeVersion(outcome.version),
                             response, benefit));
  if (benefit.tokens != 0) deployment.CountBenefit(memory, benefit.tokens, benefit.nats);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  front_end.metrics().Searched(outcome.queue_us, outcome.search_us);
  front_end.metrics().ReadOut(elapsed.count());
  return absl::OkStatus();
}

absl::Status HandleQuery(const CallContext& call, const v1::QueryRequest& request, v1::QueryResponse* response,
                         Done done) {
  ASSIGN_OR_RETURN(MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  if (IsEntryReadOut(request)) return HandleEntryReadOut(call, std::move(memory), request, response, std::move(done));
  ASSIGN_OR_RETURN(QueryPlan planned, PlanQuery(call.deployment, memory, request, call.limits));
  const auto plan = std::make_shared<QueryPlan>(std::move(planned));
  call.deployment.Query(memory, std::move(plan->command),
                        [&call, memory, plan, response, done](absl::StatusOr<QueryOutcome> outcome) {
                          done(Guard([&]() -> absl::Status {
                            if (!outcome.ok()) return WithMemory(outcome.status(), *memory);
                            return AnswerQuery(call.front_end, call.deployment, memory, *plan, call.limits, *outcome,
                                               response);
                          }));
                        });
  return absl::OkStatus();
}

}  // namespace mneme
