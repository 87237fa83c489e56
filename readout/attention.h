// Attention: a weighted mean of values, with weights over the top k or over all entries.
//
//   softmax (MemAE, Gong et al. 2019; ToMMY level 1): w_i proportional to c_i exp(s_i / T), s_i = -squared L2 distance
//     or the similarity, c_i the entry's weight;
//   exp(-dist / sigma) (ResMem, Yang et al. 2023): w_i proportional to c_i exp(-d_i / sigma), d_i = sqrt(-s_i) the L2
//     distance, *not* squared.
// Hard shrinkage (MemAE eq. 7), lambda > 0: v_i = max(w_i - lambda, 0) w_i / (|w_i - lambda| + 1e-12), then divided by
// max(sum v, 1e-12): an entry keeps its weight or loses it all, and a row that loses every entry is zero.
//
// Both need the total before the first weight is known, so there are two passes: AttentionMass over the scores, then
// AttentionWeights (and a sum of values) given the total. The partial results of shards merge by addition, equal to
// 1e-12 relative for any split. Over the top k both passes run in one place: Attend.
// Pure, double accumulators, summed in the order given. Not thread-safe where there is state.
#ifndef MNEME_READOUT_ATTENTION_H_
#define MNEME_READOUT_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "absl/types/span.h"
#include "common/types.h"

namespace mneme {

enum class AttentionKernel { kSoftmax, kExpNegDistance };

struct AttentionOptions {
  AttentionKernel kernel = AttentionKernel::kSoftmax;
  double scale = 1.0;   // T or sigma; finite, > 0
  double shrink = 0.0;  // lambda; finite, >= 0; 0: neither shrinkage nor renormalisation
};

// Pass 1: the sum of c exp(a / scale), with a = s or -d, kept relative to the nearest entry so that none underflows.
class AttentionMass {
 public:
  explicit AttentionMass(const AttentionOptions& options) : options_(options) {}

  // `score` is finite (and <= 0 for kExpNegDistance: above it, rounding of an exact hit, counts as 0); `weight` > 0.
  void Add(double score, double weight = 1.0);
  // `other` was made with the same options.
  void Merge(const AttentionMass& other);

  uint64_t count() const { return count_; }
  // ln of the total before normalising; -infinity when there is no entry.
  double Log() const;
  // The entry's share of the total, in [0, 1]. There is an entry.
  double Share(double score, double weight = 1.0) const;
  const AttentionOptions& options() const { return options_; }

 private:
  AttentionOptions options_;
  uint64_t count_ = 0;
  double nearest_ = 0.0;  // greatest a
  double sum_ = 0.0;      // of c exp((a - nearest) / scale)
};

// Pass 2, the weights: Merge adds up shards that were given the same (merged) mass.
class AttentionWeights {
 public:
  explicit AttentionWeights(const AttentionMass& mass) : mass_(mass) {}

  // The entry's weight after shrinkage, before Divisor().
  double Add(double score, double weight = 1.0);
  void Merge(const AttentionWeights& other);

  // What weights and sums of values are divided by: max(sum v, 1e-12) with shrinkage, 1 without.
  double Divisor() const;
  uint64_t active() const { return active_; }        // entries of weight > 0
  bool all_zero() const { return active_ == 0; }     // shrunk away, or no entry at all
  double log_total_mass() const { return mass_.Log(); }
  // -sum w ln(w + 1e-12) of the final weights. With shrinkage the divisor is known only after the sum: the epsilon is
  // then moved by its first derivative, which is short of the definition by at most (1e-12 / lambda)^2.
  double Entropy() const;

 private:
  AttentionMass mass_;
  uint64_t active_ = 0;
  double sum_ = 0.0;          // v
  double log_sum_ = 0.0;      // v ln(v + epsilon)
  double epsilon_sum_ = 0.0;  // v / (v + epsilon)
};

// Pass 2, dense values f32[m].
class DenseSum {
 public:
  explicit DenseSum(size_t width) : sum_(width, 0.0) {}

  void Add(double weight, absl::Span<const float> value);
  void Merge(const DenseSum& other);
  std::vector<double> Divided(double divisor) const;  // f64[m]

 private:
  std::vector<double> sum_;
};

// A vector over a vocabulary of which the largest parts are listed: `remainder` is the sum of all the others, and
// stands for remainder / (vocabulary - listed) in each of them (0 when all are listed).
struct SparseValue {
  absl::Span<const Token> tokens;  // distinct, < vocabulary
  absl::Span<const float> values;  // as long as tokens
  double remainder = 0.0;
};

struct SparseOutput {
  std::vector<Token> tokens;   // ascending: every token that some entry of weight > 0 lists
  std::vector<double> values;  // as long as tokens
  double elsewhere = 0.0;      // the value of each other token
};

// Pass 2, sparse values. Equal to DenseSum over the vectors that the values stand for.
class SparseSum {
 public:
  explicit SparseSum(uint64_t vocabulary) : vocabulary_(vocabulary) {}

  void Add(double weight, const SparseValue& value);
  // `other` has the same vocabulary.
  void Merge(const SparseSum& other);
  SparseOutput Divided(double divisor) const;

 private:
  uint64_t vocabulary_;
  double everywhere_ = 0.0;                        // sum of weight x share of the remainder
  std::unordered_map<Token, double> above_;        // sum of weight x (value - share of the remainder)
};

// The entries of one query, nearest first.
struct ScoredVectors {
  absl::Span<const double> scores;  // finite, descending
  absl::Span<const float> values;   // [n x width]
  size_t width = 0;
  absl::Span<const float> weights;  // > 0, as long as scores, or empty: all 1
};

struct Attention {
  std::vector<double> out;        // f64[width]; zeros when all_zero
  std::vector<uint32_t> rows;     // ascending: the positions of weight > 0
  std::vector<double> weights;    // as long as rows
  uint64_t used = 0;              // entries before shrinkage: min(k, found), and ties
  double entropy = 0.0;           // nats
  double log_total_mass = 0.0;    // before normalising; -infinity when nothing was found
  bool all_zero = false;
};

// How many of `scores` (descending) are the top k: min(k, size), and with keep_ties (ResMem: w_i >= w_(k)) also those
// after it whose score equals that of rank k. The caller passes more than k columns; when the answer is all of them,
// there may be more ties than it passed.
size_t TopCount(absl::Span<const double> scores, size_t k, bool keep_ties);

// Over the first `used` entries (see TopCount), used <= scores.size().
Attention Attend(const ScoredVectors& entries, size_t used, const AttentionOptions& options);

struct Combined {
  std::vector<double> weights;  // [M]
  std::vector<double> out;      // [width]
};

// ToMMY's second level: softmax over the M level-1 vectors of a group by metric(context, vector) / T2. M = 0: zeros.
// L2 scores -squared distance; the cosine with a zero vector is 0.
Combined CombineGroup(absl::Span<const double> vectors, absl::Span<const double> context, Metric metric,
                      double temperature);

}  // namespace mneme

#endif  // MNEME_READOUT_ATTENTION_H_
