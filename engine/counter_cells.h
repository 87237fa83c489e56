// CounterCells: cells of a sparse matrix of counts, as bytes and as sums. Pure.
#ifndef MNEME_ENGINE_COUNTER_CELLS_H_
#define MNEME_ENGINE_COUNTER_CELLS_H_

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mneme {

// Where a cell lies; by row, then by column.
struct CellPlace {
  uint32_t row = 0;
  uint32_t column = 0;
  friend auto operator<=>(const CellPlace&, const CellPlace&) = default;
};

struct CounterCell {
  CellPlace place;
  int64_t count = 0;
};

inline bool Before(const CounterCell& a, const CounterCell& b) { return a.place < b.place; }

// `cells` ascend, and none is 0 (docs/formats.md).
std::string EncodeCells(absl::Span<const CounterCell> cells);
// DATA_LOSS when the bytes are no cells.
absl::StatusOr<std::vector<CounterCell>> DecodeCells(std::string_view bytes);

// The sums of both, which ascend; `added` may name a place more than once. A cell that comes to 0 goes.
// INVALID_ARGUMENT when a sum does not fit 64 bits.
absl::StatusOr<std::vector<CounterCell>> SumCells(absl::Span<const CounterCell> stored,
                                                  absl::Span<const CounterCell> added);

}  // namespace mneme

#endif  // MNEME_ENGINE_COUNTER_CELLS_H_
