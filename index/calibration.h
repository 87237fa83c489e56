// Calibration: how many lists must be probed for a wanted recall, measured on keys that the centroids have not seen.
#ifndef MNEME_INDEX_CALIBRATION_H_
#define MNEME_INDEX_CALIBRATION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "index/codebook.h"

namespace mneme {

// Measures recall@k for k in {1, 10, 100, 1024} (those below the number of keys) over a grid of probes: the exact
// neighbours of each of `queries` [m x dimension] f32 among `keys` [count x dimension] f32, and the rank at which the
// query probes the list of each. The recall is that of the harder half of the queries: those of production come from
// other text than the stored keys, and are harder on the whole. `keys` may be a sample of the collection: the k-th
// neighbour within a sample is a farther one of the whole, so the recall measured is below that of the collection.
// Points ascend by (k, probes).
std::vector<Codebook::CalibrationPoint> CalibrateProbes(const Codebook& codebook, const IndexSpec& spec,
                                                        absl::Span<const float> keys, absl::Span<const float> queries);

// Measures how far the codec's costs lie from exact ones: for each k as above and several shares, the slack within
// which that share of the k nearest is found (Codebook::CodeSlack). Queries and keys are unit for cosine. Uses a part
// of both.
std::vector<Codebook::SlackPoint> CalibrateCodes(const Codebook& codebook, const IndexSpec& spec,
                                                 absl::Span<const float> keys, absl::Span<const float> queries);

}  // namespace mneme

#endif  // MNEME_INDEX_CALIBRATION_H_
