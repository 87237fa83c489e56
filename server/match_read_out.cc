#include "server/match_read_out.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "readout/match.h"
#include "server/convert_columns.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/read_source.h"

namespace mneme {
namespace {

// One side: rows in the order of (id, partition), only the components that are compared.
struct Side {
  std::vector<EntryId> ids;
  std::vector<double> rows;  // [ids x width]
  size_t width = 0;

  MatrixView view() const { return {rows, ids.size(), width}; }
};

absl::Status ReadComponents(const std::string& field, const std::string& wire, const MemorySpec& spec,
                            std::vector<uint32_t>& out) {
  RETURN_IF_ERROR(ReadList(field, wire, limits::kMaxIds, out));
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] < spec.dimension) continue;
    return FieldError(absl::StrCat(field, "[", i, "]"),
                      absl::StrCat("is ", out[i], "; must be below ", spec.dimension, ", the dimension of memory \"",
                                   spec.name, "\""));
  }
  if (!out.empty()) return absl::OkStatus();
  out.resize(spec.dimension);
  std::iota(out.begin(), out.end(), 0U);
  return absl::OkStatus();
}

absl::StatusOr<Version> ReadSide(const CallContext& call, const MemoryHandle& memory, const VisitCommand& command,
                                 const std::vector<uint32_t>& components, Side& side) {
  const MemorySpec& spec = memory->spec;
  side.width = components.size();
  std::vector<std::pair<EntryId, PartitionId>> order;
  std::vector<double> rows;
  std::vector<float> key(spec.dimension);
  ASSIGN_OR_RETURN(const Version read, call.deployment.Visit(memory, command, [&](PartitionId partition,
                                                                                const EntryView& entry) {
    if ((order.size() + 1) * side.width * sizeof(double) > limits::kMaxMatchBytes) {
      return FieldError("match", absl::StrCat("would read more than ", limits::kMaxMatchBytes, " bytes of memory \"",
                                              spec.name, "\""));
    }
    order.emplace_back(entry.id, partition);
    DecodeVector(spec.key_dtype, entry.key.data(), spec.dimension, key.data());
    for (const uint32_t component : components) rows.push_back(key[component]);
    return absl::OkStatus();
  }));
  std::vector<size_t> sorted(order.size());
  std::iota(sorted.begin(), sorted.end(), size_t{0});
  std::sort(sorted.begin(), sorted.end(), [&order](size_t a, size_t b) { return order[a] < order[b]; });
  side.rows.reserve(rows.size());
  for (const size_t i : sorted) {
    side.ids.push_back(order[i].first);
    const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i * side.width);
    side.rows.insert(side.rows.end(), row, row + static_cast<std::ptrdiff_t>(side.width));
  }
  if (spec.metric == Metric::kCosine) UnitRows(absl::MakeSpan(side.rows), side.width);
  return read;
}

absl::Status CheckMetrics(const MemorySpec& target, const MemorySpec& source) {
  if (target.metric == Metric::kL2) {
    return FieldError("match", absl::StrCat("compares similarities; memory \"", target.name, "\" has METRIC_L2"));
  }
  if (target.metric == source.metric) return absl::OkStatus();
  return FieldError("match.source_memory", absl::StrCat("\"", source.name, "\" has another metric than \"",
                                                        target.name, "\""));
}

void WriteRows(const std::vector<size_t>& rows, std::string* out) {
  const std::vector<uint32_t> narrow(rows.begin(), rows.end());
  WriteColumn(narrow, out);
}

}  // namespace

absl::Status AnswerMatch(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                         const VisitCommand& target, v1::Precision precision, v1::MatchResult* out, Version& read) {
  const v1::MatchReadOut& wire = request.match();
  MemoryHandle other = memory;
  if (!wire.source_memory().empty()) {
    ASSIGN_OR_RETURN(other, FindMemory(call.deployment, wire.source_memory()));
  }
  RETURN_IF_ERROR(CheckMetrics(memory->spec, other->spec));
  if (wire.form() != v1::CSLS_FORM_UNSPECIFIED && wire.form() != v1::CSLS_FORM_HALF &&
      wire.form() != v1::CSLS_FORM_MUSE) {
    return FieldError("match.form", absl::StrCat("is ", static_cast<int>(wire.form()), "; must be a value of CslsForm"));
  }
  const CslsForm form = wire.form() == v1::CSLS_FORM_MUSE ? CslsForm::kMuse : CslsForm::kHalf;
  std::vector<uint32_t> source_columns;
  std::vector<uint32_t> target_columns;
  RETURN_IF_ERROR(ReadComponents("match.source_columns", wire.source_columns(), other->spec, source_columns));
  RETURN_IF_ERROR(ReadComponents("match.target_columns", wire.target_columns(), memory->spec, target_columns));
  if (source_columns.size() != target_columns.size()) {
    return FieldError("match.source_columns", absl::StrCat("names ", source_columns.size(), " components and the target ",
                                                           target_columns.size(), "; they are compared in pairs"));
  }
  VisitCommand source;
  RETURN_IF_ERROR(ReadPartitions("match.source_partitions", wire.source_partitions(), source.partitions));
  source.filter = target.filter;
  source.limits = target.limits;
  if (other->number == memory->number) source.lease = target.lease;
  RETURN_IF_ERROR(CheckCovered("match.source_partitions", source.lease, source.partitions));
  Side x;
  Side z;
  RETURN_IF_ERROR(ReadSide(call, other, source, source_columns, x).status());
  ASSIGN_OR_RETURN(read, ReadSide(call, memory, target, target_columns, z));
  const double products = static_cast<double>(x.ids.size()) * static_cast<double>(z.ids.size()) *
                          static_cast<double>(x.width);
  if (products > limits::kMaxMatchProducts) {
    return FieldError("match", absl::StrCat("compares ", x.ids.size(), " x ", z.ids.size(), " entries of ", x.width,
                                            " components: ", products, " products; must be at most ",
                                            limits::kMaxMatchProducts));
  }
  ASSIGN_OR_RETURN(const MatrixMatch match, MatchMatrices(x.view(), z.view(), wire.csls_k(), form,
                                                          [&call] { return call.limits.Check(); }));
  WriteColumn(x.ids, out->mutable_source_ids());
  WriteColumn(z.ids, out->mutable_target_ids());
  WriteRows(match.best_column, out->mutable_best_targets());
  WriteRows(match.best_row, out->mutable_best_sources());
  AppendReals(match.best_score, precision, out->mutable_target_scores());
  AppendReals(match.best_row_score, precision, out->mutable_source_scores());
  AppendReals(match.row_means, precision, out->mutable_source_means());
  AppendReals(match.column_means, precision, out->mutable_target_means());
  const std::vector<uint8_t> mutual(match.mutual.begin(), match.mutual.end());
  WriteColumn(mutual, out->mutable_mutual());
  out->set_source_k(static_cast<uint32_t>(match.row_k));
  out->set_target_k(static_cast<uint32_t>(match.column_k));
  return absl::OkStatus();
}

}  // namespace mneme
