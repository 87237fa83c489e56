// DistributionPlan: what a distribution read-out was asked for, checked; and the answer made from neighbours.
//
// One place for the request's side and the answer's side, because the columns of both follow the same cells: cell
// (t, j) of row i is at (i * temperatures + t) * ks + j. Pure; thread-safe.
#ifndef MNEME_SERVER_DISTRIBUTION_PLAN_H_
#define MNEME_SERVER_DISTRIBUTION_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/columns.h"
#include "common/types.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "readout/distribution.h"
#include "server/query_source.h"

namespace mneme {

struct DistributionPlan {
  std::vector<double> temperatures;  // at least one
  std::vector<uint32_t> ks;          // at least one, ascending
  std::vector<Token> targets;        // [rows] or empty
  std::vector<Token> allowed;        // ascending, without repeats
  bool has_allowed = false;
  uint32_t top_m = 0;
  bool has_mix = false;
  double knn_weight = 0.0;
  std::vector<float> lm_log_probs;  // [rows] with targets, else [rows x vocabulary]
  bool with_features = false;

  size_t cells() const { return temperatures.size() * ks.size(); }
  const std::vector<Token>* AllowedOrNull() const { return has_allowed ? &allowed : nullptr; }
};

// ln p of tokens that came, with the memory and without.
struct BenefitCount {
  uint64_t tokens = 0;
  double nats = 0.0;

  // Rows to which the model gave probability 0 have no finite difference and are not counted.
  void Add(double log_mix, double log_lm);
};

// The sources' commands have rows and k already. INVALID_ARGUMENT names the field, under "distribution".
absl::Status ReadDistribution(const v1::DistributionReadOut& wire, absl::Span<const QuerySource> sources,
                              DistributionPlan& plan);

// The most bytes that the columns of its answer take, in double precision. The sources were not asked yet.
size_t MostAnswerBytes(const DistributionPlan& plan, absl::Span<const QuerySource> sources);

// A column of `count` ln p_LM: no NaN, at most 0 (up to rounding).
absl::Status ReadLogProbs(const std::string& field, const std::string& wire, size_t count, std::vector<float>& out);

// INVALID_ARGUMENT for a temperature out of its bounds, or a token that is not below the vocabulary size.
absl::Status CheckTemperature(const std::string& field, double temperature);
absl::Status CheckTokens(const std::string& field, const std::vector<Token>& tokens, const MemorySpec& spec);

// The neighbours of query `row` as tokens; borrows from `neighbours`.
ScoredTokens TokensOfRow(const NeighbourColumns& neighbours, size_t row);

// ln p of `target` in one cell, mixed where `log_lm` is given; a row without (allowed) neighbours is p_LM alone.
double MixTarget(double log_knn, double log_total_mass, double log_lm, double knn_weight);

// Fills the answer, of one source or of a mixture: then also what the MixtureAnswers of `out`, one for each, say of
// found and weights. Counts the benefit of the first cell where targets and a mix are given. CANCELLED and
// DEADLINE_EXCEEDED between rows.
absl::Status WriteDistribution(const DistributionPlan& plan, absl::Span<const QuerySource> sources,
                               v1::Precision precision, const CallLimits& limits, v1::QueryResponse* out,
                               BenefitCount& benefit);

}  // namespace mneme

#endif  // MNEME_SERVER_DISTRIBUTION_PLAN_H_
