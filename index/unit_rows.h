// Rows brought to unit length, as keys and centroids are where the metric is cosine.
#ifndef MNEME_INDEX_UNIT_ROWS_H_
#define MNEME_INDEX_UNIT_ROWS_H_

#include <cmath>
#include <cstddef>

#include "absl/types/span.h"

namespace mneme {

// `rows` [n x dimension]; a row of zeros stays as it is.
inline void Normalise(absl::Span<float> rows, size_t dimension) {
  for (size_t first = 0; first < rows.size(); first += dimension) {
    double squares = 0.0;
    for (size_t i = 0; i < dimension; ++i) squares += double{rows[first + i]} * rows[first + i];
    if (squares == 0.0) continue;
    for (size_t i = 0; i < dimension; ++i) {
      rows[first + i] = static_cast<float>(rows[first + i] / std::sqrt(squares));
    }
  }
}

}  // namespace mneme

#endif  // MNEME_INDEX_UNIT_ROWS_H_
