// The scan of eight-bit product quantiser codes by tables of 256 floats (Jegou, Douze and Schmid 2011, asymmetric
// distances).
//
// Block of kCodeBlockRows rows and M columns: u8 [M][32]; then f32 [32] the rows' terms.
#ifndef MNEME_INDEX_KERNELS_TABLE_SCAN_H_
#define MNEME_INDEX_KERNELS_TABLE_SCAN_H_

#include <cstddef>
#include <cstdint>

#include "index/kernels/code_block.h"

namespace mneme {

constexpr size_t TableBlockBytes(size_t columns) { return kCodeBlockRows * (columns + sizeof(float)); }

// One query: cost(row) = base + term(row) + sum_m tables[m][code_m(row)].
struct TableQuery {
  const float* tables = nullptr;  // [M][256]
  float base = 0.0F;
};

// Scans `rows` rows for one query: those of cost <= cut are written to `hits`, whose count is set.
void ScanTables(const TableQuery& query, size_t columns, const char* blocks, size_t rows, float cut, CodeHits& hits);

// The same in plain C++: the definition that the vector code is tested against.
void ScanTablesScalar(const TableQuery& query, size_t columns, const char* blocks, size_t rows, float cut,
                      CodeHits& hits);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_TABLE_SCAN_H_
