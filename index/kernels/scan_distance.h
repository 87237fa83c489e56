// The fast pass: f32 costs of a few queries against a run of stored keys, with a bound on their error.
//
// Cost: L2: the squared distance; else the negated product (times the key's inverse norm for cosine). Smaller is
// nearer.
#ifndef MNEME_INDEX_KERNELS_SCAN_DISTANCE_H_
#define MNEME_INDEX_KERNELS_SCAN_DISTANCE_H_

#include <cstddef>
#include <cstdint>

#include "index/kernels/exact_distance.h"

namespace mneme {

// Queries that one pass over the keys serves.
inline constexpr size_t kScanQueries = 8;

// The least of 1, 2, 4, 8 that holds `queries` (1 to kScanQueries).
constexpr size_t ScanWidth(size_t queries) {
  size_t width = 1;
  while (width < queries) width *= 2;
  return width;
}

// costs[i * width + q] for `count` keys side by side at `keys` (any alignment) and `width` queries (1, 2, 4 or 8), each
// [dimension] f32. `inverse_norms` [count] is for cosine only. Each key is loaded and converted once for all queries.
//
// Error against the true value for d components, u = 2^-24 (ScanRelativeError(d) = 1.01 (d + 4) u):
//   L2       |cost - D| <= ScanRelativeError(d) D + ScanUnderflow(d): each term passes through at most d + 2 roundings
//            (difference twice, product, at most d - 1 additions), in any grouping, fused or not;
//   product  |cost - P| <= ScanRelativeError(d) |q| |k| + ScanUnderflow(d): at most d roundings a term.
// The 1.01 pays for the second-order terms up to the largest dimension; d + 4 for the roundings of the f64 score
// itself.
void ScanCosts(const KeyShape& shape, const float* const* queries, size_t width, const char* keys, size_t count,
               const float* inverse_norms, float* costs);

double ScanRelativeError(size_t dimension);
double ScanUnderflow(size_t dimension);

// Writes to `selected` the indices i < count (a multiple of 8) where costs[i] <= cuts[i % 8] or where costs[i] is not
// finite (nothing is known of such a row). Returns how many; ascending.
size_t SelectWithin(const float* costs, size_t count, const float* cuts, uint32_t* selected);

// costs[i * kScanQueries + q] + offsets[i] for `count` keys and kScanQueries queries: where one is less than least[q],
// it goes there and `first` + i to nearest[q]. Of equal ones the first stays.
void KeepLeast(const float* costs, const float* offsets, size_t count, uint32_t first, float* least, uint32_t* nearest);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_SCAN_DISTANCE_H_
