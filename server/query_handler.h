// Query: neighbours, or what they say.
#ifndef MNEME_SERVER_QUERY_HANDLER_H_
#define MNEME_SERVER_QUERY_HANDLER_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mneme/v1/memory.pb.h"
#include "server/query_plan.h"
#include "server/unary_call.h"

namespace mneme {

absl::Status HandleQuery(const CallContext& call, const v1::QueryRequest& request, v1::QueryResponse* response,
                         Done done);

// The same in two halves, for a stream that does more than query.

// Finds and validates: a plan whose sources are ready for AskSources.
absl::StatusOr<QueryPlan> PlanQuery(const Deployment& deployment, const v1::QueryRequest& request,
                                    const CallLimits& call_limits);
// Fills: reads out, counts time and, of a memory that was asked alone, benefit.
absl::Status AnswerQuery(FrontEnd& front_end, Deployment& deployment, const QueryPlan& plan,
                         const CallLimits& call_limits, v1::QueryResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_QUERY_HANDLER_H_
