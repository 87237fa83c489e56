#include "server/query_plan.h"

#include <atomic>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/convert_neighbours.h"
#include "server/convert_selection.h"
#include "server/shard_read_out.h"

namespace mneme {
namespace {

absl::Status CheckK(const v1::QueryRequest& request, QueryPlan& plan) {
  const size_t rows = plan.sources.front().command.count;
  // k = 0 is all entries with attention, else means something only where extra candidates answer.
  const bool may_be_none = request.has_attention() || !request.extra().ids().empty();
  const uint32_t least = may_be_none ? 0 : 1;
  size_t neighbours = request.extra().ids().size() / sizeof(EntryId);
  for (size_t i = 0; i < plan.sources.size(); ++i) {
    QuerySource& source = plan.sources[i];
    if (source.k < least || source.k > limits::kMaxK) {
      return FieldError(plan.mixed ? absl::StrCat("sources[", i, "].k") : "k",
                        absl::StrCat("is ", source.k, "; must be in [", least, ", ", limits::kMaxK, "]"));
    }
    source.command.k = source.k;
    neighbours += rows * source.k;
  }
  if (neighbours > limits::kMaxNeighboursPerRequest) {
    return FieldError("k", absl::StrCat("times ", rows, " rows is ", neighbours, "; must be at most ",
                                        limits::kMaxNeighboursPerRequest, " neighbours in one request"));
  }
  return absl::OkStatus();
}

absl::Status ReadExtra(const v1::ExtraCandidates& wire, size_t rows, bool several_partitions, QueryCommand& command) {
  RETURN_IF_ERROR(ReadList("extra.ids", wire.ids(), rows * limits::kMaxExtraCandidatesPerRow, command.extra_ids));
  if (command.extra_ids.empty() && wire.offsets().empty()) return absl::OkStatus();
  RETURN_IF_ERROR(ReadOffsets("extra.offsets", wire.offsets(), rows, command.extra_ids.size(), command.extra_offsets));
  RETURN_IF_ERROR(ReadColumn("extra.sources", wire.sources(), command.extra_ids.size(), command.extra_sources));
  for (size_t i = 0; i < rows; ++i) {
    const size_t count = command.extra_offsets[i + 1] - command.extra_offsets[i];
    if (count <= limits::kMaxExtraCandidatesPerRow) continue;
    return FieldError(absl::StrCat("extra.offsets[", i + 1, "]"),
                      absl::StrCat("gives row ", i, " ", count, " candidates; must be at most ",
                                   limits::kMaxExtraCandidatesPerRow));
  }
  if (several_partitions) return FieldError("extra", "needs a single partition; ids are unique only within one");
  return absl::OkStatus();
}

absl::Status ReadRowColumns(const v1::QueryRequest& request, QueryPlan& plan) {
  QueryCommand& command = plan.sources.front().command;
  RETURN_IF_ERROR(ReadColumn("exclude_ids", request.exclude_ids(), command.count, command.exclude_ids));
  RETURN_IF_ERROR(ReadColumn("exclude_sources", request.exclude_sources(), command.count, command.exclude_sources));
  std::vector<uint64_t> sequence_ids;
  RETURN_IF_ERROR(ReadColumn("sequence_ids", request.sequence_ids(), command.count, sequence_ids));
  plan.sequence_ids = request.sequence_ids();
  return ReadExtra(request.extra(), command.count, plan.sources.front().several_partitions, command);
}

// Neighbours with wide keys or values may be larger than a message: refused before the search, not after it. Values
// count even where they are left out of the answer, for the search gathers them. BYTES have no width to count with.
absl::Status CheckAnswerBytes(const QueryPlan& plan) {
  const MemorySpec& spec = plan.sources.front().spec();
  const QueryCommand& first = plan.sources.front().command;
  size_t neighbours = first.extra_ids.size();
  for (const QuerySource& source : plan.sources) {
    // All entries have a bound of their own, kMaxAttendedBytes.
    if (source.command.k != limits::kEveryEntry) neighbours += first.count * source.command.k;
  }
  const size_t bytes = neighbours * ((first.with_keys ? spec.KeyBytes() : 0) + spec.ValueBytes());
  if (bytes <= limits::kMaxMessageBytes) return absl::OkStatus();
  const std::string sources = plan.mixed ? absl::StrCat(plan.sources.size(), " sources and ") : "";
  return FieldError("k", absl::StrCat("is ", first.k, "; with ", sources, first.count, " rows and ",
                                      first.extra_ids.size(), " extra candidates it gathers ", bytes,
                                      " bytes of keys and values; must stay within ", limits::kMaxMessageBytes));
}

// What the first command has of the search itself goes to the others: keys, accuracy, filter, exclusions.
void ShareSearch(std::vector<QuerySource>& sources) {
  const QueryCommand& from = sources.front().command;
  for (size_t i = 1; i < sources.size(); ++i) {
    QueryCommand& to = sources[i].command;
    to.queries = from.queries.Clone();
    to.count = from.count;
    to.exact = from.exact;
    to.recall_target = from.recall_target;
    to.probes = from.probes;
    to.approximate_distances = from.approximate_distances;
    to.filter = from.filter;
    to.exclude_ids = from.exclude_ids;
    to.exclude_sources = from.exclude_sources;
    to.attended_bytes = from.attended_bytes;
  }
}

// Every source searches for the same keys, and has a copy of them.
absl::Status ShareWithSources(QueryPlan& plan) {
  if (plan.sources.size() == 1) return absl::OkStatus();
  QueryCommand& command = plan.sources.front().command;
  const size_t bytes = command.queries.size() * plan.sources.size();
  if (bytes > limits::kMaxMixtureKeyBytes) {
    return FieldError("keys", absl::StrCat("has ", command.count, " rows, which for ", plan.sources.size(),
                                           " sources are ", bytes, " bytes; must stay within ",
                                           limits::kMaxMixtureKeyBytes));
  }
  command.attended_bytes = std::make_shared<std::atomic<double>>(0.0);
  ShareSearch(plan.sources);
  return absl::OkStatus();
}

// Of the nearest those that are there are an answer; a share of all entries is one only where all have been counted.
absl::Status ReadAllowPartial(const v1::QueryRequest& request, QueryPlan& plan) {
  for (QuerySource& source : plan.sources) {
    source.command.allow_partial = request.allow_partial();
    if (!request.allow_partial() || source.command.k != limits::kEveryEntry) continue;
    return FieldError("allow_partial", "is true beside a k of 0, all entries, which are of every shard or none: ask "
                                       "without it, or give a k");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadReadOut(const v1::QueryRequest& request, QueryPlan& plan) {
  for (QuerySource& source : plan.sources) source.command.with_attributes = false;
  if (request.has_distribution()) {
    // It is made of scores, tokens and weights.
    for (QuerySource& source : plan.sources) source.command.with_ids = false;
    plan.distribution.emplace();
    return ReadDistribution(request.distribution(), plan.sources, *plan.distribution);
  }
  if (request.has_attention()) {
    plan.attention.emplace();
    RETURN_IF_ERROR(ReadAttention(request.attention(), absl::MakeSpan(plan.sources), *plan.attention));
    return CheckAnswerBytes(plan);
  }
  if (request.read_out_case() > v1::QueryRequest::kAttention) {
    return FieldError("read_out", "is of entries, not of the nearest ones; a stream answers no such query");
  }
  plan.neighbours = request.neighbours();
  QueryCommand& command = plan.sources.front().command;
  command.with_keys = plan.neighbours.with_keys();
  command.with_successors = plan.neighbours.with_successors();
  command.with_attributes = plan.neighbours.with_attributes() || command.with_successors;
  command.single_scores = plan.precision == v1::PRECISION_SINGLE;
  return CheckAnswerBytes(plan);
}

void WriteCoverage(const Coverage& coverage, v1::Coverage* out) {
  out->set_shards_total(coverage.shards_total);
  out->set_shards_answered(coverage.shards_answered);
  out->mutable_missing_shards()->Add(coverage.missing_shards.begin(), coverage.missing_shards.end());
}

void WriteSearchStatistics(const QueryOutcome& outcome, v1::SearchStatistics* out) {
  const SearchStatistics& statistics = outcome.statistics;
  out->set_rows_total(statistics.rows_total);
  out->set_rows_scanned(statistics.rows_scanned);
  out->set_lists_probed(statistics.lists_probed);
  out->set_rows_reranked(statistics.rows_reranked);
  out->set_segments(statistics.segments);
  out->set_tail_rows(statistics.tail_rows);
  out->set_exact(statistics.exact);
  out->set_queue_us(outcome.queue_us);
  out->set_search_us(outcome.search_us);
}

absl::Status ReadPrecision(v1::Precision wire, v1::Precision& out) {
  switch (wire) {
    case v1::PRECISION_UNSPECIFIED:
    case v1::PRECISION_DOUBLE: out = v1::PRECISION_DOUBLE; return absl::OkStatus();
    case v1::PRECISION_SINGLE: out = v1::PRECISION_SINGLE; return absl::OkStatus();
    default: break;
  }
  return FieldError("precision",
                    absl::StrCat("is ", static_cast<int>(wire), "; must be PRECISION_DOUBLE or PRECISION_SINGLE"));
}

absl::Status ReadSearchParams(const v1::SearchParams& wire, QueryCommand& command) {
  command.approximate_distances = wire.approximate_distances();
  if (command.approximate_distances && wire.exact()) {
    return FieldError("search.approximate_distances",
                      "is true beside exact; an exact search orders by exact distances");
  }
  switch (wire.accuracy_case()) {
    case v1::SearchParams::kExact: command.exact = wire.exact(); return absl::OkStatus();
    case v1::SearchParams::kRecallTarget:
      command.recall_target = wire.recall_target();
      if (command.recall_target > 0.0 && command.recall_target <= 1.0) return absl::OkStatus();
      return FieldError("search.recall_target", absl::StrCat("is ", command.recall_target, "; must be in (0, 1]"));
    case v1::SearchParams::kNprobe:
      command.probes = wire.nprobe();
      if (command.probes >= 1 && command.probes <= limits::kMaxProbes) return absl::OkStatus();
      return FieldError("search.nprobe",
                        absl::StrCat("is ", command.probes, "; must be in [1, ", limits::kMaxProbes, "]"));
    case v1::SearchParams::ACCURACY_NOT_SET: break;
  }
  return absl::OkStatus();
}

absl::Status ReadQuery(const v1::QueryRequest& request, QueryPlan& plan) {
  QueryCommand& command = plan.sources.front().command;
  RETURN_IF_ERROR(DecodeKeys("keys", request.keys(), plan.sources.front().spec(), limits::kMaxQueryRows,
                             command.queries, command.count));
  RETURN_IF_ERROR(CheckK(request, plan));
  RETURN_IF_ERROR(ReadSearchParams(request.search(), command));
  RETURN_IF_ERROR(ReadFilter("filter", request.filter(), command.filter));
  RETURN_IF_ERROR(ReadPrecision(request.precision(), plan.precision));
  RETURN_IF_ERROR(ReadRowColumns(request, plan));
  RETURN_IF_ERROR(ShareWithSources(plan));
  RETURN_IF_ERROR(ReadReadOut(request, plan));
  for (QuerySource& source : plan.sources) source.searched_k = source.command.k;
  return ReadAllowPartial(request, plan);
}

void WriteOutcome(const QueryOutcome& outcome, const std::string& version, const std::string& sequence_ids,
                  v1::QueryResponse* out) {
  WriteCoverage(outcome.coverage, out->mutable_coverage());
  WriteSearchStatistics(outcome, out->mutable_statistics());
  out->set_version(version);
  out->set_sequence_ids(sequence_ids);
}

absl::Status CheckSize(const v1::QueryResponse& response) {
  const size_t bytes = response.ByteSizeLong();
  if (bytes <= limits::kMaxMessageBytes) return absl::OkStatus();
  return WithReason(absl::InvalidArgumentError(absl::StrCat("the answer has ", bytes, " bytes; must have at most ",
                                                            limits::kMaxMessageBytes,
                                                            ": ask for fewer rows, a smaller k, fewer entries")),
                    reason::kResponseTooLarge);
}

absl::Status WriteReadOut(const QueryPlan& plan, const CallLimits& limits, v1::QueryResponse* out,
                          BenefitCount& benefit) {
  if (plan.distribution.has_value()) {
    return WriteDistribution(*plan.distribution, plan.sources, plan.precision, limits, out, benefit);
  }
  if (plan.attention.has_value()) {
    return WriteAttention(*plan.attention, plan.sources, plan.precision, limits, out);
  }
  WriteNeighbours(plan, out->mutable_neighbours());
  return absl::OkStatus();
}

absl::Status WriteQuery(const QueryPlan& plan, const CallLimits& limits, const std::string& version,
                        v1::QueryResponse* out, BenefitCount& benefit) {
  const bool made = plan.sources.front().outcome.read_out.has_value();
  RETURN_IF_ERROR(made ? TakeReadOut(plan, out, benefit) : WriteReadOut(plan, limits, out, benefit));
  if (plan.mixed) {
    out->set_sequence_ids(plan.sequence_ids);
  } else {
    WriteOutcome(plan.sources.front().outcome, version, plan.sequence_ids, out);
  }
  return CheckSize(*out);
}

}  // namespace mneme
