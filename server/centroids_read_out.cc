#include "server/centroids_read_out.h"

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/label_sums.h"
#include "readout/centroids.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/find_memory.h"
#include "server/query_handler.h"
#include "server/query_plan.h"

namespace mneme {
namespace {

struct CentroidsPlan {
  std::vector<int64_t> labels;  // as wanted
  bool mean = false;
  std::vector<char> rows;       // f32 [labels x dimension], or empty
  double mix_weight = 0.0;
};

absl::Status CheckBytes(size_t labels, const CentroidsPlan& plan, const MemorySpec& spec) {
  const size_t bytes = labels * spec.dimension * sizeof(double) * (plan.rows.empty() ? 1 : 2);
  if (bytes <= limits::kMaxMessageBytes) return absl::OkStatus();
  return FieldError("centroids.labels", absl::StrCat("asks for ", labels, " centroids, ", bytes,
                                                     " bytes; must stay within ", limits::kMaxMessageBytes));
}

absl::Status ReadCentroids(const v1::CentroidsReadOut& wire, const MemorySpec& spec, CentroidsPlan& plan) {
  RETURN_IF_ERROR(ReadList("centroids.labels", wire.labels(), limits::kMaxCentroidLabels, plan.labels));
  plan.mean = wire.mean();
  plan.mix_weight = wire.mix_weight();
  if (!(plan.mix_weight >= 0.0 && plan.mix_weight <= 1.0)) {
    return FieldError("centroids.mix_weight", absl::StrCat("is ", plan.mix_weight, "; must be in [0, 1]"));
  }
  if (wire.has_rows()) {
    if (plan.labels.empty()) return FieldError("centroids.rows", "needs labels: one row for each");
    RETURN_IF_ERROR(DecodeFinite("centroids.rows", wire.rows(), spec.dimension, plan.labels.size(), plan.rows));
  }
  return CheckBytes(plan.labels.size(), plan, spec);
}

// What LabelSums says when every label is wanted and there is no room for them all.
absl::Status WithField(absl::Status status) {
  if (!absl::IsOutOfRange(status)) return status;
  return FieldError("centroids.labels", absl::StrCat("is empty and ", status.message(), "; name those wanted"));
}

void WriteCentroids(const CentroidsPlan& plan, const LabelSums& sums, v1::Precision precision,
                    v1::CentroidsResult* out) {
  std::vector<int64_t> labels = plan.labels;
  if (labels.empty()) {
    for (const auto& [label, sum] : sums.sums()) labels.push_back(label);
  }
  std::vector<uint64_t> counts;
  std::vector<uint8_t> zero;
  const auto* rows = reinterpret_cast<const float*>(plan.rows.data());
  for (size_t i = 0; i < labels.size(); ++i) {
    const KeySum& sum = sums.Of(labels[i]);
    const Centroid centroid = plan.mean ? sum.Mean() : sum.Unit();
    counts.push_back(centroid.count);
    zero.push_back(centroid.zero ? 1 : 0);
    AppendReals(centroid.row, precision, out->mutable_centroids());
    if (plan.rows.empty()) continue;
    const auto given = absl::MakeConstSpan(rows + i * sum.width(), sum.width());
    AppendReals(MixRows(given, centroid.row, plan.mix_weight), precision, out->mutable_mixed());
  }
  WriteColumn(labels, out->mutable_labels());
  WriteColumn(counts, out->mutable_counts());
  WriteColumn(zero, out->mutable_zero());
}

// Of what the k nearest of each key are, each entry once.
absl::Status SumNeighbours(const NeighbourColumns& neighbours, LabelSums& sums) {
  std::set<std::pair<PartitionId, EntryId>> seen;
  for (size_t i = 0; i < neighbours.size(); ++i) {
    if (!seen.emplace(neighbours.partitions[i], neighbours.ids[i]).second) continue;
    const int64_t label = neighbours.labels.empty() ? 0 : neighbours.labels[i];
    RETURN_IF_ERROR(sums.Add(label, neighbours.keys.data() + i * neighbours.key_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Version> AnswerCentroids(const EntryQuery& query, v1::QueryResponse* response) {
  const MemorySpec& spec = query.memory->spec;
  CentroidsPlan plan;
  RETURN_IF_ERROR(ReadCentroids(query.request.centroids(), spec, plan));
  LabelSums sums(MakeIndexSpec(spec), plan.labels);
  const absl::StatusOr<Version> read = query.call.deployment.SumByLabel(query.memory, query.selection, sums);
  if (!read.ok()) return WithField(read.status());
  WriteCentroids(plan, sums, query.precision, response->mutable_centroids());
  response->mutable_statistics()->set_rows_scanned(sums.rows_read());
  response->mutable_statistics()->set_exact(true);
  return read;
}

absl::Status HandleCentroidsOfNearest(const CallContext& call, const MemoryHandle& memory,
                                      const v1::QueryRequest& request, v1::QueryResponse* response, Done done) {
  auto centroids = std::make_shared<CentroidsPlan>();
  RETURN_IF_ERROR(ReadCentroids(request.centroids(), memory->spec, *centroids));
  v1::QueryRequest nearest = request;
  nearest.mutable_neighbours()->set_with_keys(true);
  nearest.mutable_neighbours()->set_with_attributes(true);
  ASSIGN_OR_RETURN(QueryPlan plan, PlanQuery(call.deployment, nearest, call.limits));
  call.deployment.Query(memory, std::move(plan.sources.front().command),
                        [&call, memory, centroids, precision = plan.precision, ids = plan.sequence_ids, response,
                         done](absl::StatusOr<QueryOutcome> outcome) {
                          done(Guard([&]() -> absl::Status {
                            if (!outcome.ok()) return WithMemory(outcome.status(), *memory);
                            LabelSums sums(MakeIndexSpec(memory->spec), centroids->labels);
                            RETURN_IF_ERROR(WithField(SumNeighbours(outcome->neighbours, sums)));
                            WriteCentroids(*centroids, sums, precision, response->mutable_centroids());
                            WriteOutcome(*outcome, call.deployment.EncodeVersion(outcome->version), ids, response);
                            return CheckSize(*response);
                          }));
                        });
  return absl::OkStatus();
}

}  // namespace mneme
