// The scan of four-bit codes by tables that fit a register (Andre, Kermarrec and Le Scouarnec 2015): product quantisers
// of four bits, and the bits of RaBitQ taken four at a time.
//
// Block of kCodeBlockRows rows and M columns (P = ceil(M / 2) pairs): u8 [P][32], where byte 2 j is of row j and byte 2
// j + 1 of row 16 + j, column 2 p in the low four bits and 2 p + 1 in the high; then f32 [32] terms, f32 [32] factors.
#ifndef MNEME_INDEX_KERNELS_NIBBLE_SCAN_H_
#define MNEME_INDEX_KERNELS_NIBBLE_SCAN_H_

#include <cstddef>
#include <cstdint>

#include "index/kernels/code_block.h"

namespace mneme {

constexpr size_t NibblePairs(size_t columns) { return (columns + 1) / 2; }
constexpr size_t NibbleBlockBytes(size_t columns) {
  return kCodeBlockRows * (NibblePairs(columns) + 2 * sizeof(float));
}
// The byte of a row and column in its block; the low four bits for even columns.
constexpr size_t NibbleOffset(size_t row, size_t column) {
  return column / 2 * kCodeBlockRows + row % 16 * 2 + row / 16;
}

// One query: cost(row) = base + term(row) + factor(row) * (offset + scale * sum_m tables[m][code_m(row)]).
struct NibbleQuery {
  const uint8_t* tables = nullptr;  // [2 P][16]; the last is zeros when M is odd
  float scale = 0.0F;
  float offset = 0.0F;
  float base = 0.0F;
};

// Scans `rows` rows for `count` queries (1 to kCodeQueries): those of cost <= cuts[q] are written to hits[q], whose
// count is set. Sums are exact integers.
void ScanNibbles(const NibbleQuery* queries, size_t count, size_t columns, const char* blocks, size_t rows,
                 const float* cuts, CodeHits* hits);

// The same in plain C++: the definition that the vector code is tested against.
void ScanNibblesScalar(const NibbleQuery* queries, size_t count, size_t columns, const char* blocks, size_t rows,
                       const float* cuts, CodeHits* hits);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_NIBBLE_SCAN_H_
