#include "server/match_read_out.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/match_entries.h"
#include "readout/match.h"
#include "server/convert_columns.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/read_source.h"

namespace mneme {
namespace {

struct MatchPlan {
  MatchCommand command;
  std::vector<EntryId> source_ids;  // ascending; empty: all
};

absl::Status ReadComponents(const std::string& field, const std::string& wire, MatchSide& side) {
  const MemorySpec& spec = side.memory->spec;
  RETURN_IF_ERROR(ReadList(field, wire, limits::kMaxIds, side.components));
  for (size_t i = 0; i < side.components.size(); ++i) {
    if (side.components[i] < spec.dimension) continue;
    return FieldError(absl::StrCat(field, "[", i, "]"),
                      absl::StrCat("is ", side.components[i], "; must be below ", spec.dimension,
                                   ", the dimension of memory \"", spec.name, "\""));
  }
  if (!side.components.empty()) return absl::OkStatus();
  side.components.resize(spec.dimension);
  std::iota(side.components.begin(), side.components.end(), 0U);
  return absl::OkStatus();
}

absl::Status CheckMetrics(const MemorySpec& target, const MemorySpec& source) {
  if (target.metric == Metric::kL2) {
    return FieldError("match", absl::StrCat("compares similarities; memory \"", target.name, "\" has METRIC_L2"));
  }
  if (target.metric == source.metric) return absl::OkStatus();
  return FieldError("match.source_memory", absl::StrCat("\"", source.name, "\" has another metric than \"",
                                                        target.name, "\""));
}

absl::Status ReadForm(v1::CslsForm wire, CslsForm& form) {
  switch (wire) {
    case v1::CSLS_FORM_UNSPECIFIED:
    case v1::CSLS_FORM_HALF: form = CslsForm::kHalf; return absl::OkStatus();
    case v1::CSLS_FORM_MUSE: form = CslsForm::kMuse; return absl::OkStatus();
    default:
      return FieldError("match.form", absl::StrCat("is ", static_cast<int>(wire), "; must be a value of CslsForm"));
  }
}

absl::Status ReadMatch(const EntryQuery& query, MatchPlan& plan) {
  const v1::MatchReadOut& wire = query.request.match();
  MatchSide& source = plan.command.source;
  MatchSide& target = plan.command.target;
  target.memory = source.memory = query.memory;
  if (!wire.source_memory().empty()) {
    ASSIGN_OR_RETURN(source.memory, FindMemory(query.call.deployment, wire.source_memory()));
  }
  RETURN_IF_ERROR(CheckMetrics(target.memory->spec, source.memory->spec));
  RETURN_IF_ERROR(ReadForm(wire.form(), plan.command.form));
  RETURN_IF_ERROR(ReadComponents("match.source_columns", wire.source_columns(), source));
  RETURN_IF_ERROR(ReadComponents("match.target_columns", wire.target_columns(), target));
  if (source.components.size() != target.components.size()) {
    return FieldError("match.source_columns",
                      absl::StrCat("names ", source.components.size(), " components and the target ",
                                   target.components.size(), "; they are compared in pairs"));
  }
  target.selection = query.selection;
  source.selection.filter = query.selection.filter;
  source.selection.limits = query.selection.limits;
  RETURN_IF_ERROR(
      ReadPartitions("match.source_partitions", wire.source_partitions(), source.selection.partitions));
  if (source.memory->number == target.memory->number) source.selection.lease = target.selection.lease;
  RETURN_IF_ERROR(CheckCovered("match.source_partitions", source.selection.lease, source.selection.partitions));
  RETURN_IF_ERROR(ReadList("match.source_ids", wire.source_ids(), limits::kMaxIds, plan.source_ids));
  SortUnique(plan.source_ids);
  plan.command.csls_k = wire.csls_k();
  return absl::OkStatus();
}

void WriteRows(const std::vector<size_t>& rows, std::string* out) {
  const std::vector<uint32_t> narrow(rows.begin(), rows.end());
  WriteColumn(narrow, out);
}

void WriteAll(const MatchedEntries& entries, v1::Precision precision, v1::MatchResult* out) {
  const MatrixMatch& match = entries.match;
  WriteColumn(entries.source_ids, out->mutable_source_ids());
  WriteColumn(entries.target_ids, out->mutable_target_ids());
  WriteRows(match.best_column, out->mutable_best_targets());
  WriteRows(match.best_row, out->mutable_best_sources());
  AppendReals(match.best_score, precision, out->mutable_target_scores());
  AppendReals(match.best_row_score, precision, out->mutable_source_scores());
  AppendReals(match.row_means, precision, out->mutable_source_means());
  AppendReals(match.column_means, precision, out->mutable_target_means());
  const std::vector<uint8_t> mutual(match.mutual.begin(), match.mutual.end());
  WriteColumn(mutual, out->mutable_mutual());
}

// Only the sources asked for, and the targets that are the best of one.
void WriteSome(const MatchedEntries& entries, const std::vector<EntryId>& wanted, v1::Precision precision,
               v1::MatchResult* out) {
  const MatrixMatch& match = entries.match;
  std::vector<EntryId> source_ids;
  std::vector<size_t> best;  // rows of the whole target side
  std::vector<uint8_t> mutual;
  for (size_t i = 0; i < entries.source_ids.size(); ++i) {
    if (!std::binary_search(wanted.begin(), wanted.end(), entries.source_ids[i])) continue;
    source_ids.push_back(entries.source_ids[i]);
    if (match.best_column.empty()) continue;  // there is no target
    best.push_back(match.best_column[i]);
    mutual.push_back(match.mutual[i] ? 1 : 0);
    AppendReal(match.best_score[i], precision, out->mutable_target_scores());
    AppendReal(match.row_means[i], precision, out->mutable_source_means());
  }
  std::vector<size_t> targets = best;
  SortUnique(targets);
  std::vector<EntryId> target_ids;
  for (const size_t target : targets) {
    target_ids.push_back(entries.target_ids[target]);
    AppendReal(match.column_means[target], precision, out->mutable_target_means());
  }
  for (size_t& row : best) {
    row = static_cast<size_t>(std::lower_bound(targets.begin(), targets.end(), row) - targets.begin());
  }
  WriteColumn(source_ids, out->mutable_source_ids());
  WriteColumn(target_ids, out->mutable_target_ids());
  WriteRows(best, out->mutable_best_targets());
  WriteColumn(mutual, out->mutable_mutual());
}

}  // namespace

absl::StatusOr<Version> AnswerMatch(const EntryQuery& query, v1::QueryResponse* response) {
  MatchPlan plan;
  RETURN_IF_ERROR(ReadMatch(query, plan));
  absl::StatusOr<MatchOutcome> outcome = query.call.deployment.Match(std::move(plan.command));
  if (absl::IsOutOfRange(outcome.status())) return FieldError("match", std::string(outcome.status().message()));
  RETURN_IF_ERROR(outcome.status());
  const MatchedEntries& entries = *outcome->entries;
  v1::MatchResult* const out = response->mutable_match();
  if (plan.source_ids.empty()) {
    WriteAll(entries, query.precision, out);
  } else {
    WriteSome(entries, plan.source_ids, query.precision, out);
  }
  out->set_source_k(static_cast<uint32_t>(entries.match.row_k));
  out->set_target_k(static_cast<uint32_t>(entries.match.column_k));
  response->mutable_statistics()->set_rows_total(entries.source_ids.size() + entries.target_ids.size());
  response->mutable_statistics()->set_rows_scanned(outcome->rows_read);
  response->mutable_statistics()->set_exact(true);
  return outcome->version;
}

}  // namespace mneme
