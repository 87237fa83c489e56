// QueryPlan: a query as the engine takes it, and how its answer is to be read out.
//
// Made from a checked request, used once: the commands of its sources move into the engine, the rest waits for their
// outcomes. Pure; thread-compatible.
#ifndef MNEME_SERVER_QUERY_PLAN_H_
#define MNEME_SERVER_QUERY_PLAN_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/types.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/attention_plan.h"
#include "server/distribution_plan.h"
#include "server/query_source.h"

namespace mneme {

struct QueryPlan {
  std::vector<QuerySource> sources;                // at least one
  bool mixed = false;                              // the request named sources
  v1::Precision precision = v1::PRECISION_DOUBLE;
  std::string sequence_ids;                        // echoed
  v1::NeighboursReadOut neighbours;                // unless:
  std::optional<DistributionPlan> distribution;
  std::optional<AttentionPlan> attention;
};

// Everything but memories, partitions, versions and limits: plan.sources has these. INVALID_ARGUMENT names the field.
absl::Status ReadQuery(const v1::QueryRequest& request, QueryPlan& plan);
// The part of it that is the read-out, of sources that have rows and k: what is searched for may be more than that.
absl::Status ReadReadOut(const v1::QueryRequest& request, QueryPlan& plan);
absl::Status ReadPrecision(v1::Precision wire, v1::Precision& out);
absl::Status ReadSearchParams(const v1::SearchParams& wire, QueryCommand& command);

void WriteCoverage(const Coverage& coverage, v1::Coverage* out);
void WriteSearchStatistics(const QueryOutcome& outcome, v1::SearchStatistics* out);
// All of the answer of one memory but its result.
void WriteOutcome(const QueryOutcome& outcome, const std::string& version, const std::string& sequence_ids,
                  v1::QueryResponse* out);
// INVALID_ARGUMENT (RESPONSE_TOO_LARGE) when it does not fit in a message.
absl::Status CheckSize(const v1::QueryResponse& response);
// Fills the result alone, of neighbours. CANCELLED and DEADLINE_EXCEEDED between rows; DATA_LOSS when a stored value is
// damaged.
absl::Status WriteReadOut(const QueryPlan& plan, const CallLimits& limits, v1::QueryResponse* out,
                          BenefitCount& benefit);
// Fills the answer of a plan whose sources have answered, be it that a shard has read out; `version` is the encoded one
// of a memory that was asked alone. Of a mixture `out` has a MixtureAnswer for each source already. Errors as
// WriteReadOut() and CheckSize().
absl::Status WriteQuery(const QueryPlan& plan, const CallLimits& limits, const std::string& version,
                        v1::QueryResponse* out, BenefitCount& benefit);

}  // namespace mneme

#endif  // MNEME_SERVER_QUERY_PLAN_H_
