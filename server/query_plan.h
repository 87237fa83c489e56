// QueryPlan: a query as the engine takes it, and how its answer is to be read out.
//
// Made from a checked request, used once: the command moves into the engine, the rest waits for the outcome. Pure;
// thread-compatible.
#ifndef MNEME_SERVER_QUERY_PLAN_H_
#define MNEME_SERVER_QUERY_PLAN_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/types.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/attention_plan.h"
#include "server/distribution_plan.h"

namespace mneme {

struct QueryPlan {
  QueryCommand command;
  v1::Precision precision = v1::PRECISION_DOUBLE;
  bool several_partitions = false;
  std::string sequence_ids;                        // echoed
  v1::NeighboursReadOut neighbours;                // unless:
  std::optional<DistributionPlan> distribution;
  std::optional<AttentionPlan> attention;
  uint32_t searched_k = 0;                         // of the command, which is moved away
};

// Everything but memory, fingerprint, version and limits. INVALID_ARGUMENT names the field.
absl::Status ReadQuery(const v1::QueryRequest& request, const MemorySpec& spec, QueryPlan& plan);
absl::Status ReadPrecision(v1::Precision wire, v1::Precision& out);
absl::Status ReadSearchParams(const v1::SearchParams& wire, QueryCommand& command);

// All of an answer but its result.
void WriteOutcome(const QueryOutcome& outcome, const std::string& version, const std::string& sequence_ids,
                  v1::QueryResponse* out);
// INVALID_ARGUMENT (RESPONSE_TOO_LARGE) when it does not fit in a message.
absl::Status CheckSize(const v1::QueryResponse& response);
// Fills the answer of a plan whose command has been answered with `outcome`; `version` is its encoded version.
// Errors as CheckSize().
absl::Status WriteQuery(const QueryPlan& plan, const MemorySpec& spec, const CallLimits& limits,
                        const QueryOutcome& outcome, const std::string& version, v1::QueryResponse* out,
                        BenefitCount& benefit);

}  // namespace mneme

#endif  // MNEME_SERVER_QUERY_PLAN_H_
