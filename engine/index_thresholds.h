// IndexThresholds: when the rows of a partition are indexed. The product has the defaults; tests seal a few rows.
#ifndef MNEME_ENGINE_INDEX_THRESHOLDS_H_
#define MNEME_ENGINE_INDEX_THRESHOLDS_H_

#include <cstdint>

#include "common/limits.h"

namespace mneme {

struct IndexThresholds {
  uint64_t flat_rows = limits::kFlatRows;                // live rows below which a partition has no index by itself
  uint64_t seal_rows = limits::kSealRows;                // rows of a tail that wake the sealer
  uint64_t min_indexed_rows = limits::kMinIndexedRows;   // live rows below which not even a request builds one

  // A tail this long is sealed even when few of its rows are alive: what was overwritten must not stay in ram.
  uint64_t LongTailRows() const { return 4 * flat_rows; }
};

}  // namespace mneme

#endif  // MNEME_ENGINE_INDEX_THRESHOLDS_H_
