// IndexThresholds: when the rows of a partition are indexed. The product has the defaults; tests seal a few rows.
#ifndef MNEME_ENGINE_INDEX_THRESHOLDS_H_
#define MNEME_ENGINE_INDEX_THRESHOLDS_H_

#include <algorithm>
#include <cstdint>

#include "common/limits.h"
#include "index/index_version.h"

namespace mneme {

struct IndexThresholds {
  uint64_t flat_rows = limits::kFlatRows;                // live rows below which a partition has no index by itself
  uint64_t seal_rows = limits::kSealRows;                // rows of a tail that wake the sealer, and the least it does
  uint64_t min_indexed_rows = limits::kMinIndexedRows;   // live rows below which not even a request builds one

  // Rows of a tail that wake the sealer beside so many sealed ones. A tail in lists costs a search little more than
  // segments do, and each seal writes the rows that it merges once more: so one part in eight, and within bounds.
  uint64_t SealRows(uint64_t sealed_rows) const {
    return std::clamp(sealed_rows / 8, seal_rows, kMostSealRows * seal_rows);
  }
  uint64_t SealRows(const IndexVersion& version) const { return SealRows(version.rows() - version.tail_rows()); }
  static constexpr uint64_t kMostSealRows = 4;  // in units of seal_rows

  // A tail this long is sealed even when few of its rows are alive: what was overwritten must not stay in ram.
  uint64_t LongTailRows() const { return 4 * flat_rows; }
};

}  // namespace mneme

#endif  // MNEME_ENGINE_INDEX_THRESHOLDS_H_
