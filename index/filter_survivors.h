// FilterSurvivors: how many rows of a version a filter leaves, and which.
#ifndef MNEME_INDEX_FILTER_SURVIVORS_H_
#define MNEME_INDEX_FILTER_SURVIVORS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "index/index_version.h"
#include "index/row_filter.h"

namespace mneme {

// About the share of the sealed rows of `version` that are alive and that `filter` accepts: an upper bound counted in
// the orders of ids, labels and sources where that is small, else from a sample of rows; 1 when there are none.
double EstimateSelectivity(const IndexVersion& version, const RowFilter& filter);

// The positions of `segment` (of `version`) that are alive and that `filter` accepts, ascending. What `stop` (may be
// empty; asked every few ten thousand rows) returned when it was not OK.
absl::StatusOr<std::vector<uint32_t>> FindSurvivors(const IndexVersion& version, const Segment& segment,
                                                    const RowFilter& filter,
                                                    const std::function<absl::Status()>& stop);

}  // namespace mneme

#endif  // MNEME_INDEX_FILTER_SURVIVORS_H_
