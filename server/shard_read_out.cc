#include "server/shard_read_out.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "common/columns.h"
#include "common/limits.h"
#include "common/sparse_vector.h"
#include "common/status_macros.h"
#include "common/types.h"
#include "server/convert_selection.h"

namespace mneme {
namespace {

// So many more are not looked at: of a few neighbours most of an answer is what stands around them.
constexpr size_t kAroundBytes = 4096;

// What a shard is asked for a read-out, and the longest answer to that.
size_t ReadOutBytes(const v1::QueryRequest& request, const QueryPlan& plan) {
  const QuerySource& source = plan.sources.front();
  if (plan.distribution.has_value()) {
    return request.distribution().ByteSizeLong() + MostAnswerBytes(*plan.distribution, plan.sources);
  }
  return request.attention().ByteSizeLong() + MostRowBytes(*plan.attention, source) +
         MostGroupBytes(*plan.attention, source);
}

// What its neighbours take on their way to a front end: score, value, and weight if they differ, with the id where
// attention is made of them. Of a sparse value what every one has. How many all entries are is not known: they are
// taken for twice what is made of them, so that contexts and outputs of groups stay within that.
size_t NeighbourBytes(const QueryPlan& plan) {
  const QuerySource& source = plan.sources.front();
  if (source.command.k == limits::kEveryEntry) return 2 * MostRowBytes(*plan.attention, source);
  const MemorySpec& spec = source.spec();
  const size_t value = spec.value_kind == ValueKind::kSparseVector ? SparseVectorBytes(0) : spec.ValueBytes();
  const size_t id = plan.attention.has_value() ? sizeof(EntryId) : 0;
  return source.command.count * source.command.k * (sizeof(double) + value + sizeof(float) + id);
}

}  // namespace

void LetShardReadOut(const v1::QueryRequest& request, QueryPlan& plan) {
  if (plan.mixed || !(plan.distribution.has_value() || plan.attention.has_value())) return;
  const size_t bytes = ReadOutBytes(request, plan);
  if (bytes > NeighbourBytes(plan) + kAroundBytes) return;
  QueryCommand& command = plan.sources.front().command;
  command.read_out_bytes = std::min(bytes, 2 * limits::kMaxMessageBytes);  // either is a message
  command.read_out = [&request, precision = plan.precision] {
    v1::QueryRequest asked;
    asked.set_k(request.k());
    asked.set_precision(precision);
    if (request.has_distribution()) *asked.mutable_distribution() = request.distribution();
    if (request.has_attention()) *asked.mutable_attention() = request.attention();
    asked.DiscardUnknownFields();  // which no shard reads either
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
  RETURN_IF_ERROR(CheckSize(result));
  FinishedReadOut made;
  if (!result.SerializeToString(&made.answer)) return absl::InternalError("a read-out could not be written");
  made.benefit_tokens = benefit.tokens;
  made.benefit_nats = benefit.nats;
  const auto took = std::chrono::steady_clock::now() - start;
  made.took_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  return made;
}

}  // namespace mneme
