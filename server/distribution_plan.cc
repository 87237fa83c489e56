#include "server/distribution_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "readout/mixture.h"
#include "server/convert_columns.h"
#include "server/mixture_columns.h"

namespace mneme {
namespace {

// A log-softmax in f32 may end a little above 0.
constexpr float kLogProbTolerance = 1e-3F;
// Bytes of one (token, ln p) of an answer.
constexpr size_t kCellTokenBytes = sizeof(Token) + sizeof(double);
// Of a cell beside them: where they lie or ln p of the target, what was left out, and the total mass.
constexpr size_t kCellBytes = 3 * sizeof(double);
// Of a row: neighbours found, and the distance of the nearest.
constexpr size_t kRowBytes = sizeof(uint32_t) + sizeof(double);
// Of a neighbour with features: its distance, and distinct tokens up to it.
constexpr size_t kFeatureBytes = sizeof(double) + sizeof(uint32_t);

// Before anything is looked at one by one: a message holds millions of them.
absl::Status CheckCount(const std::string& field, int count) {
  if (static_cast<size_t>(count) <= limits::kMaxDistributionCells) return absl::OkStatus();
  return FieldError(field, absl::StrCat("names ", count, "; must name at most ", limits::kMaxDistributionCells));
}

absl::Status ReadTemperatures(const v1::DistributionReadOut& wire, DistributionPlan& plan) {
  RETURN_IF_ERROR(CheckCount("distribution.temperatures", wire.temperatures_size()));
  plan.temperatures.assign(wire.temperatures().begin(), wire.temperatures().end());
  if (plan.temperatures.empty()) plan.temperatures = {1.0};
  for (size_t i = 0; i < plan.temperatures.size(); ++i) {
    RETURN_IF_ERROR(CheckTemperature(absl::StrCat("distribution.temperatures[", i, "]"), plan.temperatures[i]));
  }
  return absl::OkStatus();
}

absl::Status ReadKs(const v1::DistributionReadOut& wire, absl::Span<const QuerySource> sources,
                    DistributionPlan& plan) {
  RETURN_IF_ERROR(CheckCount("distribution.ks", wire.ks_size()));
  uint32_t most = 0;
  for (const QuerySource& source : sources) most = std::max(most, source.k);
  plan.ks.assign(wire.ks().begin(), wire.ks().end());
  // Without ks a cell uses all that was found: the k nearest, and the extra candidates where there are some.
  const bool extra = !sources.front().command.extra_ids.empty();
  if (plan.ks.empty()) plan.ks = {extra ? std::numeric_limits<uint32_t>::max() : most};
  for (size_t i = 0; i < static_cast<size_t>(wire.ks_size()); ++i) {
    const std::string field = absl::StrCat("distribution.ks[", i, "]");
    if (plan.ks[i] == 0 || plan.ks[i] > most) {
      return FieldError(field, absl::StrCat("is ", plan.ks[i], "; must be in [1, ", most, "], at most k"));
    }
    if (i > 0 && plan.ks[i] <= plan.ks[i - 1]) {
      return FieldError(field, absl::StrCat("is ", plan.ks[i], "; must be above ", plan.ks[i - 1], ", the one before"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTokenColumns(const v1::DistributionReadOut& wire, const MemorySpec& spec, size_t rows,
                              DistributionPlan& plan) {
  RETURN_IF_ERROR(ReadColumn("distribution.targets", wire.targets(), rows, plan.targets));
  RETURN_IF_ERROR(CheckTokens("distribution.targets", plan.targets, spec));
  plan.has_allowed = !wire.allowed_tokens().empty();
  const size_t most = spec.vocabulary_size != 0 ? spec.vocabulary_size : limits::kMaxVocabularySize;
  RETURN_IF_ERROR(ReadList("distribution.allowed_tokens", wire.allowed_tokens(), most, plan.allowed));
  RETURN_IF_ERROR(CheckTokens("distribution.allowed_tokens", plan.allowed, spec));
  SortUnique(plan.allowed);
  return absl::OkStatus();
}

absl::Status ReadMix(const v1::ModelMix& wire, const MemorySpec& spec, size_t rows, DistributionPlan& plan) {
  plan.has_mix = true;
  plan.knn_weight = wire.knn_weight();
  if (!(plan.knn_weight >= 0.0 && plan.knn_weight <= 1.0)) {
    return FieldError("distribution.mix.knn_weight", absl::StrCat("is ", plan.knn_weight, "; must be in [0, 1]"));
  }
  if (plan.targets.empty() && spec.vocabulary_size == 0) {
    return FieldError("distribution.mix", absl::StrCat("needs a vocabulary size, which memory \"", spec.name,
                                                       "\" does not have; give targets"));
  }
  const size_t count = plan.targets.empty() ? rows * spec.vocabulary_size : rows;
  return ReadLogProbs("distribution.mix.lm_log_probs", wire.lm_log_probs(), count, plan.lm_log_probs);
}

// The most tokens that one cell with this k can answer.
size_t MostTokens(const DistributionPlan& plan, absl::Span<const QuerySource> sources, uint32_t k) {
  size_t most = 0;
  for (const QuerySource& source : sources) {
    const size_t extra = std::min(source.command.extra_ids.size(), limits::kMaxExtraCandidatesPerRow);
    most += std::min<size_t>(k, source.k + extra);
  }
  if (plan.has_mix) most = sources.front().spec().vocabulary_size;
  if (plan.has_allowed) most = std::min(most, plan.allowed.size());
  return plan.top_m != 0 ? std::min<size_t>(most, plan.top_m) : most;
}

// The most bytes of tokens and their ln p; none with targets.
size_t MostTokenBytes(const DistributionPlan& plan, absl::Span<const QuerySource> sources) {
  if (!plan.targets.empty()) return 0;
  const size_t rows = sources.front().command.count;
  size_t bytes = 0;
  for (const uint32_t k : plan.ks) {
    bytes += MostTokens(plan, sources, k) * plan.temperatures.size() * rows * kCellTokenBytes;
  }
  return bytes;
}

absl::Status CheckAnswerSize(const DistributionPlan& plan, absl::Span<const QuerySource> sources) {
  if (plan.cells() > limits::kMaxDistributionCells) {
    return FieldError("distribution",
                      absl::StrCat("has ", plan.cells(), " cells (temperatures x ks); must have at most ",
                                   limits::kMaxDistributionCells));
  }
  const size_t rows = sources.front().command.count;
  size_t bytes = sources.size() > 1 ? rows * plan.cells() * sources.size() * sizeof(double) : 0;  // weights
  bytes += MostTokenBytes(plan, sources);
  if (bytes <= limits::kMaxMessageBytes) return absl::OkStatus();
  return FieldError("distribution",
                    absl::StrCat("may answer ", bytes, " bytes; must stay within ", limits::kMaxMessageBytes,
                                 ": set top_m, or ask for fewer cells or rows"));
}

// Writes the per-row and per-cell columns of one answer.
class DistributionWriter {
 public:
  DistributionWriter(const DistributionPlan& plan, absl::Span<const QuerySource> sources, v1::Precision precision,
                     v1::QueryResponse* response, BenefitCount& benefit)
      : plan_(plan), sources_(sources), rows_(sources.front().outcome.neighbours.queries()), precision_(precision),
        out_(response->mutable_distribution()), benefit_(benefit), columns_(sources, response) {}

  size_t rows() const { return rows_; }

  void AddRow(size_t row) {
    std::vector<ScoredTokens> found;  // by each source
    for (const QuerySource& source : sources_) found.push_back(TokensOfRow(source.outcome.neighbours, row));
    AddFound(found);
    for (size_t t = 0; t < plan_.temperatures.size(); ++t) {
      if (plan_.targets.empty()) {
        for (const uint32_t k : plan_.ks) AddCell(row, found, plan_.temperatures[t], k);
      } else {
        AddTargets(row, found, t);
      }
    }
    if (plan_.with_features) AddFeatures(found.front());
  }

  void Finish() {
    WriteColumn(found_, out_->mutable_found());
    if (plan_.targets.empty()) WriteColumn(offsets_, out_->mutable_offsets());
    if (plan_.with_features) WriteColumn(feature_offsets_, out_->mutable_feature_offsets());
    columns_.Finish();
  }

 private:
  // A score of 0 is a distance of 0, not of -0.
  double DistanceOf(double score) const {
    return sources_.front().spec().metric == Metric::kL2 ? 0.0 - score : score;
  }

  void AddFound(const std::vector<ScoredTokens>& found) {
    uint32_t total = 0;
    std::optional<double> nearest;
    for (size_t s = 0; s < found.size(); ++s) {
      const auto& scores = found[s].scores;
      columns_.AddFound(s, scores.size());
      total += static_cast<uint32_t>(scores.size());
      if (!scores.empty()) nearest = std::max(nearest.value_or(scores.front()), scores.front());
    }
    found_.push_back(total);
    AppendReal(nearest.has_value() ? DistanceOf(*nearest) : std::numeric_limits<double>::quiet_NaN(), precision_,
               out_->mutable_min_distances());
  }

  // One cell of the memory, or of the mixture of all.
  TokenDistribution Cell(const std::vector<ScoredTokens>& found, const DistributionOptions& options) {
    DistributionOptions of_source = options;
    if (found.size() > 1) of_source.top_m = 0;  // cut once it is mixed
    std::vector<TokenDistribution> cells;
    for (const ScoredTokens& neighbours : found) cells.push_back(Distribution(neighbours, of_source));
    const std::vector<double> effective = EffectiveWeights(columns_.weights(), PresentSources(cells));
    columns_.AddEffective(effective);
    return found.size() == 1 ? std::move(cells.front()) : MixSources(cells, effective, options.top_m);
  }

  void AddCell(size_t row, const std::vector<ScoredTokens>& found, double temperature, uint32_t k) {
    DistributionOptions options;
    options.temperature = temperature;
    options.k = k;
    options.allowed = plan_.AllowedOrNull();
    options.top_m = plan_.has_mix ? 0 : plan_.top_m;
    TokenDistribution cell = Cell(found, options);
    const double mass = cell.log_total_mass;
    if (plan_.has_mix) {
      const size_t vocabulary = plan_.lm_log_probs.size() / rows_;
      const auto lm = absl::MakeConstSpan(plan_.lm_log_probs).subspan(row * vocabulary, vocabulary);
      cell = MixDistribution(cell, lm, plan_.knn_weight, plan_.top_m, plan_.AllowedOrNull());
    }
    const auto* tokens = reinterpret_cast<const char*>(cell.tokens.data());
    out_->mutable_tokens()->append(tokens, cell.tokens.size() * sizeof(Token));
    AppendReals(cell.log_probs, precision_, out_->mutable_log_probs());
    AppendReal(cell.left_out, precision_, out_->mutable_left_out());
    AppendReal(mass, precision_, out_->mutable_log_total_mass());
    offsets_.push_back(offsets_.back() + cell.tokens.size());
  }

  void AddTargets(size_t row, const std::vector<ScoredTokens>& found, size_t t) {
    const Token target = plan_.targets[row];
    std::vector<MixedTarget> cells =
        MixTargets(found, columns_.weights(), {plan_.temperatures[t], plan_.ks, target, plan_.AllowedOrNull()});
    for (size_t j = 0; j < cells.size(); ++j) {
      MixedTarget& cell = cells[j];
      columns_.AddEffective(cell.effective);
      if (plan_.has_mix && Allows(target)) {  // else it stays impossible, whatever the model thinks of it
        const double log_lm = plan_.lm_log_probs[row];
        cell.log_prob = MixTarget(cell.log_prob, cell.log_total_mass, log_lm, plan_.knn_weight);
        if (j == 0 && t == 0) benefit_.Add(cell.log_prob, log_lm);
      }
      AppendReal(cell.log_prob, precision_, out_->mutable_target_log_probs());
      AppendReal(cell.log_total_mass, precision_, out_->mutable_log_total_mass());
    }
  }

  void AddFeatures(const ScoredTokens& neighbours) {
    std::vector<uint32_t> distinct(neighbours.tokens.size());
    DistinctCounts(neighbours.tokens, absl::MakeSpan(distinct));
    out_->mutable_feature_distinct()->append(reinterpret_cast<const char*>(distinct.data()),
                                             distinct.size() * sizeof(uint32_t));
    for (const double score : neighbours.scores) {
      AppendReal(DistanceOf(score), precision_, out_->mutable_feature_distances());
    }
    feature_offsets_.push_back(feature_offsets_.back() + neighbours.tokens.size());
  }

  bool Allows(Token token) const {
    return !plan_.has_allowed || std::binary_search(plan_.allowed.begin(), plan_.allowed.end(), token);
  }

  const DistributionPlan& plan_;
  const absl::Span<const QuerySource> sources_;
  const size_t rows_;
  const v1::Precision precision_;
  v1::DistributionResult* const out_;
  BenefitCount& benefit_;
  MixtureColumns columns_;
  std::vector<uint64_t> offsets_ = {0};
  std::vector<uint64_t> feature_offsets_ = {0};
  std::vector<uint32_t> found_;
};

}  // namespace

void BenefitCount::Add(double log_mix, double log_lm) {
  if (!std::isfinite(log_mix) || !std::isfinite(log_lm)) return;
  ++tokens;
  nats += log_mix - log_lm;
}

absl::Status CheckTemperature(const std::string& field, double temperature) {
  if (temperature >= limits::kMinTemperature && temperature <= limits::kMaxTemperature) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", temperature, "; must be in [", limits::kMinTemperature, ", ",
                                        limits::kMaxTemperature, "]"));
}

absl::Status CheckTokens(const std::string& field, const std::vector<Token>& tokens, const MemorySpec& spec) {
  for (size_t i = 0; spec.vocabulary_size != 0 && i < tokens.size(); ++i) {
    if (tokens[i] < spec.vocabulary_size) continue;
    return FieldError(absl::StrCat(field, "[", i, "]"),
                      absl::StrCat("is ", tokens[i], "; must be below ", spec.vocabulary_size,
                                   ", the vocabulary size of memory \"", spec.name, "\""));
  }
  return absl::OkStatus();
}

size_t MostAnswerBytes(const DistributionPlan& plan, absl::Span<const QuerySource> sources) {
  const size_t rows = sources.front().command.count;
  const size_t features = plan.with_features ? sources.front().k * kFeatureBytes : 0;
  return MostTokenBytes(plan, sources) + rows * (plan.cells() * kCellBytes + kRowBytes + features);
}

absl::Status ReadLogProbs(const std::string& field, const std::string& wire, size_t count, std::vector<float>& out) {
  RETURN_IF_ERROR(ReadColumn(field, wire, count, out));
  if (out.empty()) return FieldError(field, absl::StrCat("is empty; must have ", count, " items"));
  for (size_t i = 0; i < count; ++i) {
    if (out[i] <= kLogProbTolerance) continue;
    return FieldError(absl::StrCat(field, "[", i, "]"),
                      std::isnan(out[i]) ? "is NaN" : "is above 0; must be a natural logarithm of a probability");
  }
  return absl::OkStatus();
}

absl::Status ReadDistribution(const v1::DistributionReadOut& wire, absl::Span<const QuerySource> sources,
                              DistributionPlan& plan) {
  const MemorySpec& spec = sources.front().spec();
  const size_t rows = sources.front().command.count;
  if (spec.value_kind != ValueKind::kToken) {
    return FieldError("distribution",
                      absl::StrCat("needs token values, which memory \"", spec.name, "\" does not have"));
  }
  RETURN_IF_ERROR(ReadTemperatures(wire, plan));
  RETURN_IF_ERROR(ReadKs(wire, sources, plan));
  RETURN_IF_ERROR(ReadTokenColumns(wire, spec, rows, plan));
  plan.top_m = wire.top_m();
  plan.with_features = wire.with_features();
  if (wire.has_mix()) RETURN_IF_ERROR(ReadMix(wire.mix(), spec, rows, plan));
  return CheckAnswerSize(plan, sources);
}

ScoredTokens TokensOfRow(const NeighbourColumns& neighbours, size_t row) {
  const size_t begin = neighbours.offsets[row];
  const size_t count = neighbours.offsets[row + 1] - begin;
  ScoredTokens out;
  out.scores = absl::MakeConstSpan(neighbours.scores).subspan(begin, count);
  // A token column is a run of u32 in a buffer of the allocator's alignment.
  const auto* tokens = reinterpret_cast<const Token*>(neighbours.values.bytes.data());
  out.tokens = absl::MakeConstSpan(tokens + begin, count);
  if (!neighbours.weights.empty()) out.weights = absl::MakeConstSpan(neighbours.weights).subspan(begin, count);
  return out;
}

double MixTarget(double log_knn, double log_total_mass, double log_lm, double knn_weight) {
  if (std::isinf(log_total_mass)) return log_lm;
  return MixLogProbs(log_knn, log_lm, knn_weight);
}

absl::Status WriteDistribution(const DistributionPlan& plan, absl::Span<const QuerySource> sources,
                               v1::Precision precision, const CallLimits& limits, v1::QueryResponse* out,
                               BenefitCount& benefit) {
  DistributionWriter writer(plan, sources, precision, out, benefit);
  for (size_t row = 0; row < writer.rows(); ++row) {
    RETURN_IF_ERROR(limits.Check());
    writer.AddRow(row);
  }
  writer.Finish();
  return absl::OkStatus();
}

}  // namespace mneme
