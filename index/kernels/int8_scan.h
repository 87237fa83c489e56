// The scan of one-byte codes: a few 8-bit queries against blocks of 8-bit rows.
//
// Block of kCodeBlockRows rows and d components (G = ceil(d / 4)): two halves of 16 rows, each [G][16 rows][4
// components] u8, so that one vector holds four components of 16 rows and no sum crosses lanes; then f32 [32] the rows'
// terms.
#ifndef MNEME_INDEX_KERNELS_INT8_SCAN_H_
#define MNEME_INDEX_KERNELS_INT8_SCAN_H_

#include <cstddef>
#include <cstdint>

#include "index/kernels/code_block.h"

namespace mneme {

constexpr size_t Int8Groups(size_t dimension) { return (dimension + 3) / 4; }
constexpr size_t Int8BlockBytes(size_t dimension) {
  return kCodeBlockRows * (4 * Int8Groups(dimension) + sizeof(float));
}
// Where component `i` of row `row` stands in its block.
constexpr size_t Int8Offset(size_t dimension, size_t row, size_t i) {
  return row / 16 * 16 * 4 * Int8Groups(dimension) + i / 4 * 64 + row % 16 * 4 + i % 4;
}

// Where the term of row `row` stands in its block.
constexpr size_t Int8TermOffset(size_t dimension, size_t row) {
  return kCodeBlockRows * 4 * Int8Groups(dimension) + row * sizeof(float);
}

// One query: cost(row) = base + term(row) + scale * sum_i(code_i(row) * codes[i]).
struct Int8Query {
  const int8_t* codes = nullptr;  // [4 G], zeros at the end; 64-byte aligned
  const float* values = nullptr;  // the same as f32
  float scale = 0.0F;
  float base = 0.0F;
};

// Scans `rows` rows for `count` queries (1 to kCodeQueries): those of cost <= cuts[q] are written to hits[q], whose
// count is set. Sums are exact in i32 where the machine has 8-bit dot products, else in f32 (exact up to 518
// components).
void ScanInt8(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows,
              const float* cuts, CodeHits* hits);

// The same without those dot products, for the tests of machines that have them.
void ScanInt8Generic(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows,
                     const float* cuts, CodeHits* hits);

// The same in plain C++: the definition that the vector code is tested against.
void ScanInt8Scalar(const Int8Query* queries, size_t count, size_t dimension, const char* blocks, size_t rows,
                    const float* cuts, CodeHits* hits);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_INT8_SCAN_H_
