#include "server/attention_plan.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/sparse_vector.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/distribution_plan.h"

namespace mneme {
namespace {

absl::Status ReadKernel(const v1::AttentionReadOut& wire, const MemorySpec& spec, AttentionOptions& options) {
  switch (wire.kernel()) {
    case v1::ATTENTION_KERNEL_UNSPECIFIED:
    case v1::ATTENTION_KERNEL_SOFTMAX: options.kernel = AttentionKernel::kSoftmax; return absl::OkStatus();
    case v1::ATTENTION_KERNEL_EXP_NEG_DISTANCE: options.kernel = AttentionKernel::kExpNegDistance; break;
    default:
      return FieldError("attention.kernel",
                        absl::StrCat("is ", static_cast<int>(wire.kernel()), "; must be a value of AttentionKernel"));
  }
  if (spec.metric == Metric::kL2) return absl::OkStatus();
  return FieldError("attention.kernel", absl::StrCat("weighs by distance; memory \"", spec.name,
                                                     "\" has no METRIC_L2"));
}

absl::Status ReadGroups(const v1::AttentionGroups& wire, const MemorySpec& spec, size_t rows, AttentionPlan& plan) {
  if (spec.value_kind != ValueKind::kVector) {
    return FieldError("attention.groups", "needs a memory of VECTOR values");
  }
  const size_t groups = wire.offsets().size() / sizeof(uint64_t);
  if (groups < 2) return FieldError("attention.groups.offsets", "must have at least two items: one group");
  RETURN_IF_ERROR(ReadOffsets("attention.groups.offsets", wire.offsets(), groups - 1, rows, plan.group_offsets));
  RETURN_IF_ERROR(DecodeFinite("attention.groups.contexts", wire.contexts(), spec.value_dimension, groups - 1,
                               plan.contexts));
  if (wire.metric() != v1::METRIC_UNSPECIFIED) {
    switch (wire.metric()) {
      case v1::METRIC_L2: plan.group_metric = Metric::kL2; break;
      case v1::METRIC_INNER_PRODUCT: plan.group_metric = Metric::kInnerProduct; break;
      case v1::METRIC_COSINE: plan.group_metric = Metric::kCosine; break;
      default: return FieldError("attention.groups.metric",
                                 absl::StrCat("is ", static_cast<int>(wire.metric()), "; must be a value of Metric"));
    }
  }
  plan.group_temperature = wire.temperature() == 0.0 ? 1.0 : wire.temperature();
  return CheckTemperature("attention.groups.temperature", plan.group_temperature);
}

// Writes the columns of one answer.
class AttentionWriter {
 public:
  AttentionWriter(const AttentionPlan& plan, const MemorySpec& spec, const NeighbourColumns& neighbours,
                  v1::Precision precision, v1::AttentionResult* out)
      : plan_(plan), spec_(spec), neighbours_(neighbours), precision_(precision), out_(out) {}

  absl::Status AddRow(size_t row, uint32_t searched) {
    begin_ = neighbours_.offsets[row];
    found_ = neighbours_.offsets[row + 1] - begin_;
    const auto scores = absl::MakeConstSpan(neighbours_.scores).subspan(begin_, found_);
    const size_t used = TopCount(scores, plan_.k, plan_.keep_ties);
    used_.push_back(static_cast<uint32_t>(used));
    if (plan_.keep_ties) ties_cut_.push_back(used == found_ && found_ == searched && plan_.k < searched ? 1 : 0);
    return spec_.value_kind == ValueKind::kVector ? AddDense(scores, used) : AddSparse(scores, used);
  }

  void Finish(size_t rows, bool several_partitions) {
    WriteColumn(used_, out_->mutable_found());
    WriteColumn(active_, out_->mutable_active());
    WriteColumn(all_zero_, out_->mutable_all_zero());
    if (plan_.keep_ties) WriteColumn(ties_cut_, out_->mutable_ties_cut());
    if (spec_.value_kind == ValueKind::kSparseVector) WriteColumn(sparse_offsets_, out_->mutable_sparse_offsets());
    if (plan_.with_weights) {
      WriteColumn(weight_offsets_, out_->mutable_weight_offsets());
      WriteColumn(weight_ids_, out_->mutable_weight_ids());
      if (several_partitions) WriteColumn(weight_partitions_, out_->mutable_weight_partitions());
    }
    if (!plan_.group_offsets.empty()) AddGroups(rows);
  }

 private:
  absl::Span<const float> Weights(size_t used) const {
    if (neighbours_.weights.empty()) return {};
    return absl::MakeConstSpan(neighbours_.weights).subspan(begin_, used);
  }

  absl::Status AddDense(absl::Span<const double> scores, size_t used) {
    // A column of f32 rows in a buffer of the allocator's alignment.
    const auto* values = reinterpret_cast<const float*>(neighbours_.values.bytes.data());
    ScoredVectors entries;
    entries.scores = scores.first(used);
    entries.width = spec_.value_dimension;
    entries.values = absl::MakeConstSpan(values + begin_ * entries.width, used * entries.width);
    entries.weights = Weights(used);
    const Attention attention = Attend(entries, used, plan_.options);
    outputs_.insert(outputs_.end(), attention.out.begin(), attention.out.end());
    AppendReals(attention.out, precision_, out_->mutable_outputs());
    AddFigures(attention.rows.size(), attention.entropy, attention.log_total_mass, attention.all_zero);
    AddWeights(attention.rows, attention.weights);
    return absl::OkStatus();
  }

  absl::Status AddSparse(absl::Span<const double> scores, size_t used) {
    const auto counts = Weights(used);
    const auto count_of = [&](size_t i) { return counts.empty() ? 1.0 : double{counts[i]}; };
    AttentionMass mass(plan_.options);
    for (size_t i = 0; i < used; ++i) mass.Add(scores[i], count_of(i));
    AttentionWeights weights(mass);
    SparseSum sum(spec_.vocabulary_size);
    SparseVector value;
    std::vector<uint32_t> rows;
    std::vector<double> kept;
    for (size_t i = 0; i < used; ++i) {
      const double weight = weights.Add(scores[i], count_of(i));
      if (weight == 0.0) continue;
      if (!DecodeSparseVector(neighbours_.values.At(begin_ + i), value)) {
        return absl::DataLossError(absl::StrCat("the value of entry ", neighbours_.ids[begin_ + i], " is damaged"));
      }
      sum.Add(weight, {value.indices, value.components, value.remainder});
      rows.push_back(static_cast<uint32_t>(i));
      kept.push_back(weight);
    }
    const double divisor = weights.Divisor();
    for (double& weight : kept) weight /= divisor;
    const SparseOutput output = sum.Divided(divisor);
    out_->mutable_sparse_indices()->append(reinterpret_cast<const char*>(output.tokens.data()),
                                           output.tokens.size() * sizeof(Token));
    AppendReals(output.values, precision_, out_->mutable_sparse_components());
    AppendReal(output.elsewhere, precision_, out_->mutable_sparse_elsewhere());
    sparse_offsets_.push_back(sparse_offsets_.back() + output.tokens.size());
    AddFigures(weights.active(), weights.Entropy(), weights.log_total_mass(), weights.all_zero());
    AddWeights(rows, kept);
    return absl::OkStatus();
  }

  void AddFigures(uint64_t active, double entropy, double log_total_mass, bool all_zero) {
    active_.push_back(static_cast<uint32_t>(active));
    all_zero_.push_back(all_zero ? 1 : 0);
    AppendReal(entropy, precision_, out_->mutable_entropies());
    AppendReal(log_total_mass, precision_, out_->mutable_log_total_mass());
  }

  void AddWeights(const std::vector<uint32_t>& rows, const std::vector<double>& weights) {
    if (!plan_.with_weights) return;
    for (const uint32_t row : rows) {
      weight_ids_.push_back(neighbours_.ids[begin_ + row]);
      weight_partitions_.push_back(neighbours_.partitions[begin_ + row]);
    }
    AppendReals(weights, precision_, out_->mutable_weights());
    weight_offsets_.push_back(weight_ids_.size());
  }

  void AddGroups(size_t rows) {
    const size_t width = spec_.value_dimension;
    const auto* contexts = reinterpret_cast<const float*>(plan_.contexts.data());
    std::vector<double> weights(rows, 0.0);
    for (size_t g = 0; g + 1 < plan_.group_offsets.size(); ++g) {
      const size_t first = plan_.group_offsets[g];
      const size_t count = plan_.group_offsets[g + 1] - first;
      const std::vector<double> context(contexts + g * width, contexts + (g + 1) * width);
      Combined combined = CombineGroup(absl::MakeConstSpan(outputs_).subspan(first * width, count * width), context,
                                       plan_.group_metric, plan_.group_temperature);
      std::copy(combined.weights.begin(), combined.weights.end(),
                weights.begin() + static_cast<std::ptrdiff_t>(first));
      combined.out.resize(width, 0.0);
      AppendReals(combined.out, precision_, out_->mutable_group_outputs());
    }
    AppendReals(weights, precision_, out_->mutable_group_weights());
  }

  const AttentionPlan& plan_;
  const MemorySpec& spec_;
  const NeighbourColumns& neighbours_;
  const v1::Precision precision_;
  v1::AttentionResult* const out_;
  size_t begin_ = 0;
  size_t found_ = 0;
  std::vector<double> outputs_;  // of all rows, for the groups
  std::vector<uint32_t> used_;
  std::vector<uint32_t> active_;
  std::vector<uint8_t> all_zero_;
  std::vector<uint8_t> ties_cut_;
  std::vector<uint64_t> sparse_offsets_ = {0};
  std::vector<uint64_t> weight_offsets_ = {0};
  std::vector<EntryId> weight_ids_;
  std::vector<PartitionId> weight_partitions_;
};

}  // namespace

absl::Status ReadAttention(const v1::AttentionReadOut& wire, const MemorySpec& spec, QueryCommand& command,
                           AttentionPlan& plan) {
  if (spec.value_kind != ValueKind::kVector && spec.value_kind != ValueKind::kSparseVector) {
    return FieldError("attention", absl::StrCat("needs vector values, which memory \"", spec.name,
                                                "\" does not have"));
  }
  RETURN_IF_ERROR(ReadKernel(wire, spec, plan.options));
  plan.options.scale = wire.scale() == 0.0 ? 1.0 : wire.scale();
  RETURN_IF_ERROR(CheckTemperature("attention.scale", plan.options.scale));
  plan.options.shrink = wire.shrink();
  if (!(plan.options.shrink >= 0.0 && plan.options.shrink < 1.0)) {
    return FieldError("attention.shrink", absl::StrCat("is ", plan.options.shrink, "; must be in [0, 1)"));
  }
  plan.keep_ties = wire.keep_ties();
  plan.with_weights = wire.with_weights();
  if (wire.has_groups()) RETURN_IF_ERROR(ReadGroups(wire.groups(), spec, command.count, plan));
  const size_t bytes = command.count * spec.ValueBytes() * 2;  // f64
  if (bytes > limits::kMaxMessageBytes) {
    return FieldError("keys", absl::StrCat("has ", command.count, " rows, whose outputs are ", bytes,
                                           " bytes; must stay within ", limits::kMaxMessageBytes));
  }
  plan.k = command.k == 0 ? limits::kEveryEntry : command.k;
  if (command.k == 0) {
    command.k = limits::kEveryEntry;
    command.exact = true;
  } else if (plan.keep_ties) {
    command.k = std::min(limits::kMaxK, command.k + limits::kTieRoom);
  }
  return absl::OkStatus();
}

absl::Status WriteAttention(const AttentionPlan& plan, const MemorySpec& spec, uint32_t searched,
                            const NeighbourColumns& neighbours, v1::Precision precision, bool several_partitions,
                            const CallLimits& limits, v1::AttentionResult* out) {
  AttentionWriter writer(plan, spec, neighbours, precision, out);
  for (size_t row = 0; row < neighbours.queries(); ++row) {
    RETURN_IF_ERROR(limits.Check());
    RETURN_IF_ERROR(writer.AddRow(row, searched));
  }
  writer.Finish(neighbours.queries(), several_partitions);
  return absl::OkStatus();
}

}  // namespace mneme
