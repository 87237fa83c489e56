#include "server/entry_read_outs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "readout/centroids.h"
#include "readout/select.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/convert_selection.h"
#include "server/distribution_plan.h"
#include "server/find_memory.h"
#include "server/match_read_out.h"
#include "server/query_handler.h"
#include "server/query_plan.h"

namespace mneme {
namespace {

// --- Centroids ---

struct CentroidsPlan {
  std::vector<int64_t> labels;  // as wanted
  bool mean = false;
  std::vector<char> rows;       // f32 [labels x dimension], or empty
  double mix_weight = 0.0;
};

absl::Status ReadCentroids(const v1::CentroidsReadOut& wire, const MemorySpec& spec, CentroidsPlan& plan) {
  RETURN_IF_ERROR(ReadList("centroids.labels", wire.labels(), limits::kMaxCentroidLabels, plan.labels));
  plan.mean = wire.mean();
  plan.mix_weight = wire.mix_weight();
  if (!(plan.mix_weight >= 0.0 && plan.mix_weight <= 1.0)) {
    return FieldError("centroids.mix_weight", absl::StrCat("is ", plan.mix_weight, "; must be in [0, 1]"));
  }
  if (!wire.has_rows()) return absl::OkStatus();
  if (plan.labels.empty()) return FieldError("centroids.rows", "needs labels: one row for each");
  return DecodeFinite("centroids.rows", wire.rows(), spec.dimension, plan.labels.size(), plan.rows);
}

// The sums of keys by label.
class SumsByLabel {
 public:
  SumsByLabel(const MemorySpec& spec, const std::vector<int64_t>& wanted)
      : spec_(spec), wanted_(wanted.begin(), wanted.end()), key_(spec.dimension) {}

  absl::Status Add(int64_t label, std::string_view stored) {
    if (!wanted_.empty() && !wanted_.contains(label)) return absl::OkStatus();
    DecodeVector(spec_.key_dtype, stored.data(), spec_.dimension, key_.data());
    if (spec_.metric == Metric::kCosine) {
      double square = 0.0;
      for (const float component : key_) square += double{component} * double{component};
      const double norm = std::sqrt(square);
      for (float& component : key_) component = static_cast<float>(component / norm);
    }
    const auto [sum, added] = sums_.try_emplace(label, spec_.dimension);
    if (added && sums_.size() > limits::kMaxCentroidLabels) {
      return FieldError("centroids.labels", absl::StrCat("is empty and entries have more than ",
                                                         limits::kMaxCentroidLabels, " labels; name those wanted"));
    }
    sum->second.Add(key_);
    return absl::OkStatus();
  }

  absl::Status Write(const CentroidsPlan& plan, v1::Precision precision, v1::CentroidsResult* out) const {
    std::vector<int64_t> labels = plan.labels;
    if (labels.empty()) {
      for (const auto& [label, sum] : sums_) labels.push_back(label);
    }
    const size_t bytes = labels.size() * spec_.dimension * sizeof(double) * (plan.rows.empty() ? 1 : 2);
    if (bytes > limits::kMaxMessageBytes) {
      return FieldError("centroids.labels", absl::StrCat("asks for ", labels.size(), " centroids, ", bytes,
                                                         " bytes; must stay within ", limits::kMaxMessageBytes));
    }
    std::vector<uint64_t> counts;
    std::vector<uint8_t> zero;
    const KeySum none(spec_.dimension);
    const auto* rows = reinterpret_cast<const float*>(plan.rows.data());
    for (size_t i = 0; i < labels.size(); ++i) {
      const auto found = sums_.find(labels[i]);
      const KeySum& sum = found == sums_.end() ? none : found->second;
      const Centroid centroid = plan.mean ? sum.Mean() : sum.Unit();
      counts.push_back(centroid.count);
      zero.push_back(centroid.zero ? 1 : 0);
      AppendReals(centroid.row, precision, out->mutable_centroids());
      if (plan.rows.empty()) continue;
      const auto given = absl::MakeConstSpan(rows + i * spec_.dimension, spec_.dimension);
      AppendReals(MixRows(given, centroid.row, plan.mix_weight), precision, out->mutable_mixed());
    }
    WriteColumn(labels, out->mutable_labels());
    WriteColumn(counts, out->mutable_counts());
    WriteColumn(zero, out->mutable_zero());
    return absl::OkStatus();
  }

 private:
  const MemorySpec& spec_;
  const std::set<int64_t> wanted_;
  std::vector<float> key_;
  std::map<int64_t, KeySum> sums_;
};

// Of what the k nearest of each key are, each entry once.
absl::Status SumNeighbours(const NeighbourColumns& neighbours, SumsByLabel& sums) {
  std::set<std::pair<PartitionId, EntryId>> seen;
  for (size_t i = 0; i < neighbours.size(); ++i) {
    if (!seen.emplace(neighbours.partitions[i], neighbours.ids[i]).second) continue;
    const std::string_view key(neighbours.keys.data() + i * neighbours.key_bytes, neighbours.key_bytes);
    RETURN_IF_ERROR(sums.Add(neighbours.labels.empty() ? 0 : neighbours.labels[i], key));
  }
  return absl::OkStatus();
}

// --- Select ---

struct Pool {
  std::vector<EntryId> ids;
  std::vector<double> scores;
  std::vector<Attributes> attributes;
  ValueColumn values;
};

absl::Status ReadSelect(const v1::SelectReadOut& wire, SelectOptions& options) {
  switch (wire.mode()) {
    case v1::SELECT_MODE_UNSPECIFIED:
    case v1::SELECT_MODE_ARGMAX: options.mode = SelectMode::kArgmax; break;
    case v1::SELECT_MODE_SOFTMAX: options.mode = SelectMode::kSoftmax; break;
    default:
      return FieldError("select.mode", absl::StrCat("is ", static_cast<int>(wire.mode()),
                                                    "; must be a value of SelectMode"));
  }
  options.temperature = wire.temperature() == 0.0 ? 1.0 : wire.temperature();
  RETURN_IF_ERROR(CheckTemperature("select.temperature", options.temperature));
  options.seed = wire.seed();
  options.n = wire.n() == 0 ? 1 : wire.n();
  if (options.n <= limits::kMaxK) return absl::OkStatus();
  return FieldError("select.n", absl::StrCat("is ", options.n, "; must be at most ", limits::kMaxK));
}

absl::Status AnswerSelect(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                          const VisitCommand& command, v1::Precision precision, v1::SelectResult* out, Version& read) {
  SelectOptions options;
  RETURN_IF_ERROR(ReadSelect(request.select(), options));
  std::map<PartitionId, Pool> pools;
  size_t entries = 0;
  ASSIGN_OR_RETURN(read, call.deployment.Visit(memory, command, [&](PartitionId partition, const EntryView& entry) {
    if (++entries > limits::kMaxPoolEntries) {
      return FieldError("partitions", absl::StrCat("hold more than ", limits::kMaxPoolEntries,
                                                   " entries; select from fewer pools at a time"));
    }
    Pool& pool = pools[partition];
    pool.values.width = memory->spec.ValueBytes();
    pool.ids.push_back(entry.id);
    pool.scores.push_back(entry.attributes.score);
    pool.attributes.push_back(entry.attributes);
    pool.values.Append(entry.value);
    return absl::OkStatus();
  }));
  std::vector<PartitionId> partitions = command.partitions.partitions;
  if (command.partitions.all) {
    for (const auto& [partition, pool] : pools) partitions.push_back(partition);
  } else if (partitions.empty()) {
    partitions = {0};
  }
  std::vector<uint64_t> offsets = {0};
  std::vector<uint64_t> sizes;
  EntryColumns chosen;
  chosen.values.width = memory->spec.ValueBytes();
  std::vector<double> scores;
  std::vector<int64_t> labels;
  std::vector<uint64_t> sources;
  std::vector<uint64_t> positions;
  for (const PartitionId partition : partitions) {
    const Pool& pool = pools[partition];
    for (const Selected& selected : Select(pool.scores, pool.ids, options)) {
      const Attributes& attributes = pool.attributes[selected.row];
      chosen.ids.push_back(selected.id);
      chosen.values.Append(pool.values.At(selected.row));
      scores.push_back(attributes.score);
      labels.push_back(attributes.label);
      sources.push_back(attributes.source);
      positions.push_back(attributes.position);
      AppendReal(selected.probability, precision, out->mutable_probabilities());
    }
    offsets.push_back(chosen.ids.size());
    sizes.push_back(pool.ids.size());
  }
  WriteColumn(partitions, out->mutable_partitions());
  WriteColumn(offsets, out->mutable_offsets());
  WriteColumn(sizes, out->mutable_pool_sizes());
  WriteColumn(chosen.ids, out->mutable_ids());
  WriteColumn(scores, out->mutable_scores());
  WriteValues(chosen.values, memory->spec, out->mutable_values());
  WriteColumn(labels, out->mutable_labels());
  WriteColumn(sources, out->mutable_sources());
  WriteColumn(positions, out->mutable_positions());
  return absl::OkStatus();
}

// --- The call ---

absl::Status CheckSize(const v1::QueryResponse& response) {
  const size_t bytes = response.ByteSizeLong();
  if (bytes <= limits::kMaxMessageBytes) return absl::OkStatus();
  return WithReason(absl::InvalidArgumentError(absl::StrCat("the answer has ", bytes, " bytes; must have at most ",
                                                            limits::kMaxMessageBytes, ": ask for less at a time")),
                    reason::kResponseTooLarge);
}

absl::Status ReadSelection(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                           VisitCommand& command, v1::Precision& precision) {
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), memory->spec));
  RETURN_IF_ERROR(ReadPartitions("partitions", request.partitions(), command.partitions));
  RETURN_IF_ERROR(ReadFilter("filter", request.filter(), command.filter));
  RETURN_IF_ERROR(ReadPrecision(request.precision(), precision));
  ASSIGN_OR_RETURN(command.at_least, ReadVersion(call.deployment, memory, request.at_least_version()));
  command.limits = call.limits;
  return absl::OkStatus();
}

absl::Status AnswerCentroids(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                             VisitCommand command, v1::Precision precision, v1::CentroidsResult* out, Version& read) {
  CentroidsPlan plan;
  RETURN_IF_ERROR(ReadCentroids(request.centroids(), memory->spec, plan));
  SumsByLabel sums(memory->spec, plan.labels);
  ASSIGN_OR_RETURN(read, call.deployment.Visit(memory, command, [&sums](PartitionId, const EntryView& entry) {
    return sums.Add(entry.attributes.label, entry.key);
  }));
  return sums.Write(plan, precision, out);
}

absl::Status Answer(const CallContext& call, const MemoryHandle& memory, const v1::QueryRequest& request,
                    v1::QueryResponse* response) {
  VisitCommand command;
  v1::Precision precision = v1::PRECISION_DOUBLE;
  RETURN_IF_ERROR(ReadSelection(call, memory, request, command, precision));
  Version read;
  if (request.has_centroids()) {
    RETURN_IF_ERROR(AnswerCentroids(call, memory, request, command, precision, response->mutable_centroids(), read));
  } else if (request.has_select()) {
    RETURN_IF_ERROR(AnswerSelect(call, memory, request, command, precision, response->mutable_select(), read));
  } else {
    RETURN_IF_ERROR(AnswerMatch(call, memory, request, command, precision, response->mutable_match(), read));
  }
  response->mutable_coverage()->set_shards_total(static_cast<uint32_t>(read.parts.size()));
  response->mutable_coverage()->set_shards_answered(static_cast<uint32_t>(read.parts.size()));
  response->set_version(call.deployment.EncodeVersion(read));
  return CheckSize(*response);
}

// The nearest are found as for any query, and summed instead of listed.
absl::Status HandleCentroidsOfNearest(const CallContext& call, const MemoryHandle& memory,
                                      const v1::QueryRequest& request, v1::QueryResponse* response, Done done) {
  auto centroids = std::make_shared<CentroidsPlan>();
  RETURN_IF_ERROR(ReadCentroids(request.centroids(), memory->spec, *centroids));
  v1::QueryRequest nearest = request;
  nearest.mutable_neighbours()->set_with_keys(true);
  ASSIGN_OR_RETURN(QueryPlan plan, PlanQuery(call.deployment, nearest, call.limits));
  call.deployment.Query(memory, std::move(plan.sources.front().command),
                        [&call, memory, centroids, precision = plan.precision, ids = plan.sequence_ids, response,
                         done](absl::StatusOr<QueryOutcome> outcome) {
                          done(Guard([&]() -> absl::Status {
                            if (!outcome.ok()) return WithMemory(outcome.status(), *memory);
                            SumsByLabel sums(memory->spec, centroids->labels);
                            RETURN_IF_ERROR(SumNeighbours(outcome->neighbours, sums));
                            RETURN_IF_ERROR(sums.Write(*centroids, precision, response->mutable_centroids()));
                            WriteOutcome(*outcome, call.deployment.EncodeVersion(outcome->version), ids, response);
                            return CheckSize(*response);
                          }));
                        });
  return absl::OkStatus();
}

}  // namespace

bool IsEntryReadOut(const v1::QueryRequest& request) {
  return request.has_centroids() || request.has_match() || request.has_select();
}

absl::Status HandleEntryReadOut(const CallContext& call, const v1::QueryRequest& request, v1::QueryResponse* response,
                                Done done) {
  ASSIGN_OR_RETURN(MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  if (request.has_centroids() && request.has_keys()) {
    return HandleCentroidsOfNearest(call, memory, request, response, std::move(done));
  }
  if (request.has_keys()) {
    return FieldError("keys", request.has_select() ? "is set; select looks at scores" : "is set; match pairs entries");
  }
  CallPool& pool = request.has_match() ? call.front_end.long_calls() : call.front_end.calls();
  return pool.Submit([&call, memory = std::move(memory), &request, response, done = std::move(done)] {
    done(Guard([&]() -> absl::Status {
      RETURN_IF_ERROR(call.limits.Check());  // it may have waited
      return WithMemory(Answer(call, memory, request, response), *memory);
    }));
  });
}

}  // namespace mneme
