// Centroids: one vector per label, as Neural Priming (Wallingford et al. 2023) builds a classifier from a memory.
//
//   m_c = unit(sum of the keys of label c), zero when there are none; W_c = alpha t_c + (1 - alpha) m_c, which is not
//   normalised again: a label without entries keeps alpha t_c, the shorter vector.
// Sums are f64 with what each addition lost beside them (Knuth's TwoSum), so that they do not depend on the order in
// which keys come, go, and merge between shards: to 1e-12 of the sum even where a key 1e13 times as large came and
// went. Not thread-safe.
#ifndef MNEME_READOUT_CENTROIDS_H_
#define MNEME_READOUT_CENTROIDS_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace mneme {

struct Centroid {
  std::vector<double> row;  // f64[width]
  uint64_t count = 0;
  bool zero = true;         // no entries, or their sum has no direction: the row is zeros
};

// The running sum of one label's keys.
class KeySum {
 public:
  explicit KeySum(size_t width) : sum_(width, 0.0), lost_(width, 0.0) {}
  // The parts of another: sums and what rounding took from them, of one width.
  KeySum(std::vector<double> sum, std::vector<double> lost, uint64_t count)
      : sum_(std::move(sum)), lost_(std::move(lost)), count_(count) {}

  // `key` is finite, f32[width].
  void Add(absl::Span<const float> key);
  // `key` was added before. With the last one the sum is exactly zero again, without what rounding left.
  void Subtract(absl::Span<const float> key);
  void Merge(const KeySum& other);  // of the same width

  uint64_t count() const { return count_; }
  size_t width() const { return sum_.size(); }
  std::vector<double> sum() const;
  absl::Span<const double> rounded() const { return sum_; }
  absl::Span<const double> lost() const { return lost_; }
  Centroid Unit() const;  // the sum, normalised to length 1
  Centroid Mean() const;  // the sum / count

 private:
  std::vector<double> sum_;
  std::vector<double> lost_;  // what rounding took from sum_
  uint64_t count_ = 0;
};

// alpha `given` + (1 - alpha) `centroid`, both of one width; alpha in [0, 1].
std::vector<double> MixRows(absl::Span<const float> given, absl::Span<const double> centroid, double alpha);

}  // namespace mneme

#endif  // MNEME_READOUT_CENTROIDS_H_
