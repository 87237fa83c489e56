// What the scans of compact codes share. The codes of a list lie in blocks of kCodeBlockRows rows, the last one filled
// up with zeros. A row's cost is
//
//   cost = base(query, list) + term(row) + factor(row) * product(query, code)
//
// (index/codec.h says what each part is for each metric).
#ifndef MNEME_INDEX_KERNELS_CODE_BLOCK_H_
#define MNEME_INDEX_KERNELS_CODE_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mneme {

inline constexpr size_t kCodeBlockRows = 32;
// Queries that one pass over the codes serves.
inline constexpr size_t kCodeQueries = 4;

// Rows whose cost is not above a cut, ascending by row. The arrays have room for every row of the call, rounded up to
// whole blocks.
struct CodeHits {
  float* costs = nullptr;
  uint32_t* rows = nullptr;  // counted from the first row of the call
  size_t count = 0;
};

// What the scalar twins do for one row: a number of its block, and a hit where its cost is within the cut.
inline float FloatAt(const char* at) {
  float value = 0.0F;
  std::memcpy(&value, at, sizeof(value));
  return value;
}
inline void KeepWithin(float cost, size_t row, float cut, CodeHits& hits) {
  if (!(cost <= cut)) return;
  hits.costs[hits.count] = cost;
  hits.rows[hits.count++] = static_cast<uint32_t>(row);
}

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_CODE_BLOCK_H_
