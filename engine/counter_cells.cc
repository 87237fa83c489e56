#include "engine/counter_cells.h"

#include <algorithm>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

using format::ByteReader;
using format::ByteWriter;
using format::UnZigZag;
using format::ZigZag;

absl::Status Damaged() { return absl::DataLossError("the payload of a state is damaged"); }

}  // namespace

// Each cell is written as what its row and column go beyond the last's.
std::string EncodeCells(absl::Span<const CounterCell> cells) {
  std::string out;
  ByteWriter writer(out);
  writer.Varint(cells.size());
  uint32_t row = 0;
  uint64_t next = 0;  // the least column that may follow in this row
  for (const CounterCell& cell : cells) {
    if (cell.place.row != row) next = 0;
    writer.Varint(cell.place.row - row);
    writer.Varint(cell.place.column - next);
    writer.Varint(ZigZag(cell.count));
    row = cell.place.row;
    next = uint64_t{cell.place.column} + 1;
  }
  return out;
}

absl::StatusOr<std::vector<CounterCell>> DecodeCells(std::string_view bytes) {
  std::vector<CounterCell> cells;
  ByteReader reader(bytes);
  const uint64_t count = reader.Varint();
  cells.reserve(std::min<uint64_t>(count, bytes.size()));
  uint64_t row = 0;
  uint64_t next = 0;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    const uint64_t rows_on = reader.Varint();
    const uint64_t columns_on = reader.Varint();
    if (rows_on > UINT32_MAX || columns_on > UINT32_MAX) return Damaged();  // or the sums would wrap
    if (rows_on != 0) next = 0;
    row += rows_on;
    const uint64_t column = next + columns_on;
    if (row > UINT32_MAX || column > UINT32_MAX) return Damaged();
    const int64_t cell = UnZigZag(reader.Varint());
    if (cell == 0) return Damaged();  // none is written
    cells.push_back({{static_cast<uint32_t>(row), static_cast<uint32_t>(column)}, cell});
    next = column + 1;
  }
  if (!reader.AtEnd()) return Damaged();
  return cells;
}

absl::StatusOr<std::vector<CounterCell>> SumCells(absl::Span<const CounterCell> stored,
                                                  absl::Span<const CounterCell> added) {
  std::vector<CounterCell> merged;
  merged.reserve(stored.size() + added.size());
  std::merge(stored.begin(), stored.end(), added.begin(), added.end(), std::back_inserter(merged), Before);
  std::vector<CounterCell> sums;
  sums.reserve(merged.size());
  for (const CounterCell& cell : merged) {
    if (sums.empty() || sums.back().place != cell.place) {
      if (!sums.empty() && sums.back().count == 0) sums.pop_back();
      sums.push_back(cell);
    } else if (__builtin_add_overflow(sums.back().count, cell.count, &sums.back().count)) {
      return absl::InvalidArgumentError(absl::StrCat("counts: the sum at row ", cell.place.row, ", column ",
                                                     cell.place.column, " does not fit 64 bits"));
    }
  }
  if (!sums.empty() && sums.back().count == 0) sums.pop_back();
  return sums;
}

}  // namespace mneme
