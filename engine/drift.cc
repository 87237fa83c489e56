#include "engine/drift.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/limits.h"
#include "common/vector_codec.h"

namespace mneme {
namespace {

// The list that holds position `at` of the segment's rows.
uint32_t ListOf(const Segment& segment, size_t at) {
  const EntryId* wanted = segment.All().ids + at;
  uint32_t first = 0;
  uint32_t last = segment.lists() - 1;
  while (first < last) {  // the last list that begins at or before it
    const uint32_t middle = first + (last - first + 1) / 2;
    if (segment.List(middle).ids <= wanted) {
      first = middle;
    } else {
      last = middle - 1;
    }
  }
  return first;
}

double SquaredDistance(std::vector<float>& key, const float* centroid, bool unit) {
  double norm = 1.0;
  if (unit) {
    double squares = 0.0;
    for (const float component : key) squares += double{component} * component;
    norm = squares > 0.0 ? std::sqrt(squares) : 1.0;
  }
  double sum = 0.0;
  for (size_t i = 0; i < key.size(); ++i) {
    const double difference = key[i] / norm - centroid[i];
    sum += difference * difference;
  }
  return sum;
}

}  // namespace

double MeasureDrift(const Segment& segment, const Codebook& codebook, const IndexSpec& spec) {
  const double trained = codebook.mean_squared_residual();
  if (trained <= 0.0 || segment.rows() == 0) return 0.0;
  const Row newest = std::min<uint64_t>(segment.end_row() - segment.first_row(), limits::kSealRows);
  const uint64_t sampled = std::min<uint64_t>(newest, limits::kDriftSampleRows);
  std::vector<float> key(spec.dimension);
  double sum = 0.0;
  uint64_t count = 0;
  for (uint64_t i = 0; i < sampled; ++i) {
    const auto at = segment.PositionOf(segment.end_row() - 1 - i * newest / sampled);
    if (!at.has_value()) continue;  // was dead when the segment was built
    const RowBlock rows = segment.All();
    DecodeVector(spec.key_dtype, rows.Sparse(rows.keys) + *at * spec.KeyBytes(), spec.dimension, key.data());
    sum += SquaredDistance(key, codebook.Centroid(ListOf(segment, *at)), spec.metric == Metric::kCosine);
    ++count;
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count) / trained;
}

}  // namespace mneme
