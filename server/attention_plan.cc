#include "server/attention_plan.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/sparse_vector.h"
#include "common/status_macros.h"
#include "readout/mixture.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/distribution_plan.h"
#include "server/mixture_columns.h"

namespace mneme {
namespace {

// Bytes of one (token, value) of an answer,
constexpr size_t kComponentBytes = sizeof(Token) + sizeof(double);
// and of a weight, with the entry that has it.
constexpr size_t kWeightBytes = sizeof(double) + sizeof(EntryId) + sizeof(PartitionId);
// Of a row beside them: entropy, total mass, where its components or weights lie, the value of other tokens or its
// weight in a group; how many were found and are active, and two marks.
constexpr size_t kRowBytes = 5 * sizeof(double) + 2 * sizeof(uint32_t) + 2 * sizeof(uint8_t);

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

// What is to be searched for so that the k of a source can be read out.
void SearchFor(const AttentionPlan& plan, QuerySource& source) {
  if (source.k == 0) {
    source.k = limits::kEveryEntry;
    source.command.k = limits::kEveryEntry;
    source.command.exact = true;
  } else if (plan.keep_ties) {
    source.command.k = std::min(limits::kMaxK, source.k + limits::kTieRoom);
  }
}

// What one source makes of one row.
struct SourceAttention {
  Attention attention;  // of SPARSE_VECTOR values all but `out`, which is:
  SparseOutput sparse;
  bool ties_cut = false;
};

// Reads out one source. Borrows all it is given.
class AttentionReader {
 public:
  AttentionReader(const AttentionPlan& plan, const QuerySource& source)
      : plan_(plan), source_(source), neighbours_(source.outcome.neighbours) {}

  absl::Status ReadRow(size_t row, SourceAttention& out) const {
    const size_t begin = neighbours_.offsets[row];
    const size_t found = neighbours_.offsets[row + 1] - begin;
    const auto scores = absl::MakeConstSpan(neighbours_.scores).subspan(begin, found);
    const size_t used = TopCount(scores, source_.k, plan_.keep_ties);
    out.ties_cut = used == found && found == source_.searched_k && source_.k < source_.searched_k;
    if (source_.spec().value_kind != ValueKind::kVector) return ReadSparse(scores.first(used), begin, out);
    // A column of f32 rows in a buffer of the allocator's alignment.
    const auto* values = reinterpret_cast<const float*>(neighbours_.values.bytes.data());
    ScoredVectors entries;
    entries.scores = scores.first(used);
    entries.width = source_.spec().value_dimension;
    entries.values = absl::MakeConstSpan(values + begin * entries.width, used * entries.width);
    entries.weights = Weights(begin, used);
    out.attention = Attend(entries, used, plan_.options);
    return absl::OkStatus();
  }

 private:
  absl::Span<const float> Weights(size_t begin, size_t used) const {
    if (neighbours_.weights.empty()) return {};
    return absl::MakeConstSpan(neighbours_.weights).subspan(begin, used);
  }

  absl::Status ReadSparse(absl::Span<const double> scores, size_t begin, SourceAttention& out) const {
    const auto counts = Weights(begin, scores.size());
    const auto count_of = [&](size_t i) { return counts.empty() ? 1.0 : double{counts[i]}; };
    AttentionMass mass(plan_.options);
    for (size_t i = 0; i < scores.size(); ++i) mass.Add(scores[i], count_of(i));
    AttentionWeights weights(mass);
    SparseSum sum(source_.spec().vocabulary_size);
    SparseVector value;
    Attention& attention = out.attention;
    for (size_t i = 0; i < scores.size(); ++i) {
      const double weight = weights.Add(scores[i], count_of(i));
      if (weight == 0.0) continue;
      if (!DecodeSparseVector(neighbours_.values.At(begin + i), value)) {
        return absl::DataLossError(absl::StrCat("the value of entry ", neighbours_.ids[begin + i], " is damaged"));
      }
      sum.Add(weight, {value.indices, value.components, value.remainder});
      attention.rows.push_back(static_cast<uint32_t>(i));
      attention.weights.push_back(weight);
    }
    const double divisor = weights.Divisor();
    for (double& weight : attention.weights) weight /= divisor;
    out.sparse = sum.Divided(divisor);
    attention.used = scores.size();
    attention.entropy = weights.Entropy();
    attention.log_total_mass = weights.log_total_mass();
    attention.all_zero = weights.all_zero();
    return absl::OkStatus();
  }

  const AttentionPlan& plan_;
  const QuerySource& source_;
  const NeighbourColumns& neighbours_;
};

// Writes the columns of one answer.
class AttentionWriter {
 public:
  AttentionWriter(const AttentionPlan& plan, absl::Span<const QuerySource> sources, v1::Precision precision,
                  v1::QueryResponse* response)
      : plan_(plan), sources_(sources), sparse_(sources.front().spec().value_kind == ValueKind::kSparseVector),
        precision_(precision), out_(response->mutable_attention()), columns_(sources, response) {
    for (const QuerySource& source : sources) several_partitions_ |= source.several_partitions;
  }

  size_t rows() const { return sources_.front().outcome.neighbours.queries(); }

  absl::Status AddRow(size_t row) {
    std::vector<SourceAttention> read(sources_.size());
    std::vector<bool> present;
    bool ties_cut = false;
    for (size_t s = 0; s < read.size(); ++s) {
      RETURN_IF_ERROR(AttentionReader(plan_, sources_[s]).ReadRow(row, read[s]));
      present.push_back(!read[s].attention.all_zero);
      ties_cut |= read[s].ties_cut;
      columns_.AddFound(s, read[s].attention.used);
      if (plan_.with_weights) AddIds(row, s, read[s].attention.rows);
    }
    const std::vector<double> effective = EffectiveWeights(columns_.weights(), present);
    columns_.AddEffective(effective);
    AddMixed(Mix(std::move(read), effective));
    if (plan_.keep_ties) ties_cut_.push_back(ties_cut ? 1 : 0);
    return absl::OkStatus();
  }

  void Finish() {
    WriteColumn(found_, out_->mutable_found());
    WriteColumn(active_, out_->mutable_active());
    WriteColumn(all_zero_, out_->mutable_all_zero());
    if (plan_.keep_ties) WriteColumn(ties_cut_, out_->mutable_ties_cut());
    if (sparse_) WriteColumn(sparse_offsets_, out_->mutable_sparse_offsets());
    if (plan_.with_weights) {
      WriteColumn(weight_offsets_, out_->mutable_weight_offsets());
      WriteColumn(weight_ids_, out_->mutable_weight_ids());
      if (several_partitions_) WriteColumn(weight_partitions_, out_->mutable_weight_partitions());
    }
    if (!plan_.group_offsets.empty()) AddGroups(rows());
    columns_.Finish();
  }

 private:
  // One source as it is, several as their mixture.
  static SourceAttention Mix(std::vector<SourceAttention> read, absl::Span<const double> effective) {
    if (read.size() == 1) return std::move(read.front());
    std::vector<Attention> attentions;
    std::vector<SparseOutput> outputs;
    for (SourceAttention& source : read) {
      attentions.push_back(std::move(source.attention));
      outputs.push_back(std::move(source.sparse));
    }
    return {MixAttentions(attentions, effective), MixSparseOutputs(outputs, effective)};
  }

  void AddMixed(const SourceAttention& mixed) {
    const Attention& attention = mixed.attention;
    if (sparse_) {
      const std::vector<Token>& tokens = mixed.sparse.tokens;
      out_->mutable_sparse_indices()->append(reinterpret_cast<const char*>(tokens.data()),
                                             tokens.size() * sizeof(Token));
      AppendReals(mixed.sparse.values, precision_, out_->mutable_sparse_components());
      AppendReal(mixed.sparse.elsewhere, precision_, out_->mutable_sparse_elsewhere());
      sparse_offsets_.push_back(sparse_offsets_.back() + tokens.size());
    } else {
      if (!plan_.group_offsets.empty()) {
        outputs_.insert(outputs_.end(), attention.out.begin(), attention.out.end());
      }
      AppendReals(attention.out, precision_, out_->mutable_outputs());
    }
    found_.push_back(static_cast<uint32_t>(attention.used));
    active_.push_back(static_cast<uint32_t>(attention.rows.size()));
    all_zero_.push_back(attention.all_zero ? 1 : 0);
    AppendReal(attention.entropy, precision_, out_->mutable_entropies());
    AppendReal(attention.log_total_mass, precision_, out_->mutable_log_total_mass());
    if (!plan_.with_weights) return;
    AppendReals(attention.weights, precision_, out_->mutable_weights());
    weight_offsets_.push_back(weight_ids_.size());
  }

  void AddIds(size_t row, size_t source, const std::vector<uint32_t>& active) {
    columns_.AddActive(source, active.size());
    const NeighbourColumns& neighbours = sources_[source].outcome.neighbours;
    for (const uint32_t i : active) {
      weight_ids_.push_back(neighbours.ids[neighbours.offsets[row] + i]);
      weight_partitions_.push_back(neighbours.partitions[neighbours.offsets[row] + i]);
    }
  }

  void AddGroups(size_t rows) {
    const size_t width = sources_.front().spec().value_dimension;
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
  const absl::Span<const QuerySource> sources_;
  const bool sparse_;
  const v1::Precision precision_;
  v1::AttentionResult* const out_;
  MixtureColumns columns_;
  bool several_partitions_ = false;
  std::vector<double> outputs_;  // of all rows, for the groups
  std::vector<uint32_t> found_;
  std::vector<uint32_t> active_;
  std::vector<uint8_t> all_zero_;
  std::vector<uint8_t> ties_cut_;
  std::vector<uint64_t> sparse_offsets_ = {0};
  std::vector<uint64_t> weight_offsets_ = {0};
  std::vector<EntryId> weight_ids_;
  std::vector<PartitionId> weight_partitions_;
};

}  // namespace

absl::Status ReadAttention(const v1::AttentionReadOut& wire, absl::Span<QuerySource> sources, AttentionPlan& plan) {
  const MemorySpec& spec = sources.front().spec();
  const size_t rows = sources.front().command.count;
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
  if (wire.has_groups()) RETURN_IF_ERROR(ReadGroups(wire.groups(), spec, rows, plan));
  const size_t bytes = rows * spec.ValueBytes() * 2;  // f64
  if (bytes > limits::kMaxMessageBytes) {
    return FieldError("keys", absl::StrCat("has ", rows, " rows, whose outputs are ", bytes,
                                           " bytes; must stay within ", limits::kMaxMessageBytes));
  }
  for (QuerySource& source : sources) SearchFor(plan, source);
  return absl::OkStatus();
}

size_t MostRowBytes(const AttentionPlan& plan, const QuerySource& source) {
  const MemorySpec& spec = source.spec();
  const size_t searched = source.command.k;
  size_t output = spec.value_dimension * sizeof(double);
  if (spec.value_kind == ValueKind::kSparseVector) {
    output = std::min<size_t>(spec.vocabulary_size, searched * limits::kMaxSparseComponents) * kComponentBytes;
  }
  const bool weighs = plan.with_weights && searched != limits::kEveryEntry;
  return source.command.count * (output + kRowBytes + (weighs ? searched * kWeightBytes : 0));
}

size_t MostGroupBytes(const AttentionPlan& plan, const QuerySource& source) {
  const size_t groups = plan.group_offsets.empty() ? 0 : plan.group_offsets.size() - 1;
  return groups * source.spec().value_dimension * sizeof(double);
}

absl::Status WriteAttention(const AttentionPlan& plan, absl::Span<const QuerySource> sources, v1::Precision precision,
                            const CallLimits& limits, v1::QueryResponse* out) {
  AttentionWriter writer(plan, sources, precision, out);
  for (size_t row = 0; row < writer.rows(); ++row) {
    RETURN_IF_ERROR(limits.Check());
    RETURN_IF_ERROR(writer.AddRow(row));
  }
  writer.Finish();
  return absl::OkStatus();
}

}  // namespace mneme
