// Drift: how well a codebook still fits what is written.
#ifndef MNEME_ENGINE_DRIFT_H_
#define MNEME_ENGINE_DRIFT_H_

#include "index/codebook.h"
#include "index/index_spec.h"
#include "index/segment.h"

namespace mneme {

// Mean squared distance of the newest rows of `segment` (a tail's worth, sampled evenly) to their centroids, over that
// of the keys that `codebook` was trained on. 0 when there is nothing to compare: no row, or a codebook of an older
// release that does not say.
double MeasureDrift(const Segment& segment, const Codebook& codebook, const IndexSpec& spec);

}  // namespace mneme

#endif  // MNEME_ENGINE_DRIFT_H_
