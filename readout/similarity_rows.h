// Rows of a similarity matrix X Z^T in double, by whatever instruction set the machine has.
#ifndef MNEME_READOUT_SIMILARITY_ROWS_H_
#define MNEME_READOUT_SIMILARITY_ROWS_H_

#include <cstddef>

namespace mneme {

// Rows of X that are computed together: each row of Z is read once for all of them.
inline constexpr size_t kSimilarityRows = 4;

// out[i * z_rows + j] = x_i z_j for `count` <= kSimilarityRows rows of x and all of z, row-major [.. x width]. The same
// rows give the same bits in every call on one machine, whatever `count` is. Thread-safe.
void SimilarityRows(const double* x, size_t count, const double* z, size_t z_rows, size_t width, double* out);

}  // namespace mneme

#endif  // MNEME_READOUT_SIMILARITY_ROWS_H_
