#include "server/shard_read_out.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "common/columns.h"
#include "common/status_macros.h"
#include "common/types.h"
#include "server/convert_selection.h"

namespace mneme {
namespace {

// Of a neighbour of which a distribution is made, on its way to a front end: score, token, and weight if they differ.
constexpr size_t kNeighbourBytes = sizeof(double) + sizeof(Token) + sizeof(float);
// So many more are not looked at: of a few neighbours most of an answer is what stands around them.
constexpr size_t kAroundBytes = 4096;

// Whether a distribution takes no more bytes than its neighbours, however many of their tokens differ: not with a mask
// or model's probabilities that are longer than those, nor with many cells. (Attention has a vector for each row where
// each neighbour has one.)
bool IsShort(const v1::DistributionReadOut& asked, const QueryPlan& plan) {
  const QuerySource& source = plan.sources.front();
  const size_t neighbours = source.command.count * source.k * kNeighbourBytes;
  return asked.ByteSizeLong() + MostAnswerBytes(*plan.distribution, plan.sources) <= neighbours + kAroundBytes;
}

}  // namespace

std::function<std::string()> ReadOutOf(const v1::QueryRequest& request, const QueryPlan& plan) {
  if (plan.mixed) return nullptr;
  const bool is_short = plan.distribution.has_value() && IsShort(request.distribution(), plan);
  if (!is_short && !plan.attention.has_value()) return nullptr;
  return [&request, precision = plan.precision] {
    v1::QueryRequest asked;
    asked.set_k(request.k());
    asked.set_precision(precision);
    if (request.has_distribution()) *asked.mutable_distribution() = request.distribution();
    if (request.has_attention()) *asked.mutable_attention() = request.attention();
    return asked.SerializeAsString();
  };
}

absl::Status TakeReadOut(const QueryPlan& plan, v1::QueryResponse* out, BenefitCount& benefit) {
  const FinishedReadOut& made = *plan.sources.front().outcome.read_out;
  const bool whole = out->ParseFromString(made.answer);
  const bool is_wanted = plan.distribution.has_value() ? out->has_distribution()
                                                       : plan.attention.has_value() && out->has_attention();
  if (!whole || !is_wanted) return absl::DataLossError("a shard's read-out is not whole");
  benefit = {made.benefit_tokens, made.benefit_nats};
  return absl::OkStatus();
}

absl::StatusOr<QueryPlan> PlanReadOut(const MemoryHandle& memory, const QueryCommand& command,
                                      const std::string& asked) {
  v1::QueryRequest request;
  if (!request.ParseFromString(asked) || !(request.has_distribution() || request.has_attention())) {
    return absl::InvalidArgumentError("a query asks for a read-out that a shard does not make");
  }
  QueryPlan plan;
  QuerySource& source = plan.sources.emplace_back();
  source.memory = memory;
  source.several_partitions = CoversSeveral(command.partitions);
  source.k = request.k();
  source.command.count = command.count;
  source.command.k = request.k();
  RETURN_IF_ERROR(ReadPrecision(request.precision(), plan.precision));
  RETURN_IF_ERROR(ReadReadOut(request, plan));
  source.searched_k = source.command.k;
  if (source.searched_k != command.k) {
    return absl::InvalidArgumentError("a query searches for other neighbours than it has read out");
  }
  return plan;
}

absl::StatusOr<FinishedReadOut> MakeReadOut(QueryPlan& plan, const CallLimits& limits, QueryOutcome& outcome) {
  const auto start = std::chrono::steady_clock::now();
  plan.sources.front().outcome.neighbours = std::exchange(outcome.neighbours, NeighbourColumns());
  v1::QueryResponse result;
  BenefitCount benefit;
  RETURN_IF_ERROR(WriteReadOut(plan, limits, &result, benefit));
  FinishedReadOut made;
  if (!result.SerializeToString(&made.answer)) return absl::InternalError("a read-out could not be written");
  made.benefit_tokens = benefit.tokens;
  made.benefit_nats = benefit.nats;
  const auto took = std::chrono::steady_clock::now() - start;
  made.took_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  return made;
}

}  // namespace mneme
