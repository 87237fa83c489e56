// The counter matrix of a session: its actions and its payload (docs/formats.md).
#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "engine/state_change.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

using format::ByteReader;
using format::ByteWriter;
using format::UnZigZag;
using format::ZigZag;

struct Cell {
  uint32_t row = 0;
  uint32_t column = 0;
  int64_t count = 0;
};

bool Before(const Cell& a, const Cell& b) { return std::tie(a.row, a.column) < std::tie(b.row, b.column); }

// Cells ascend by row, then by column, and none is 0. Each is written as what its row and column go beyond the last's.
std::string EncodeCells(const std::vector<Cell>& cells) {
  std::string out;
  ByteWriter writer(out);
  writer.Varint(cells.size());
  uint32_t row = 0;
  uint64_t next = 0;  // the least column that may follow in this row
  for (const Cell& cell : cells) {
    if (cell.row != row) next = 0;
    writer.Varint(cell.row - row);
    writer.Varint(cell.column - next);
    writer.Varint(ZigZag(cell.count));
    row = cell.row;
    next = uint64_t{cell.column} + 1;
  }
  return out;
}

absl::StatusOr<std::vector<Cell>> DecodeCells(const StateRecord* current) {
  std::vector<Cell> cells;
  if (current == nullptr) return cells;
  ByteReader reader(current->payload);
  const uint64_t count = reader.Varint();
  cells.reserve(std::min<uint64_t>(count, current->payload.size()));
  uint64_t row = 0;
  uint64_t next = 0;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    const uint64_t rows_on = reader.Varint();
    if (rows_on != 0) next = 0;
    row += rows_on;
    const uint64_t column = next + reader.Varint();
    cells.push_back({static_cast<uint32_t>(row), static_cast<uint32_t>(column), UnZigZag(reader.Varint())});
    next = column + 1;
    if (row > UINT32_MAX || column > UINT32_MAX) return absl::DataLossError("the payload of a state is damaged");
  }
  if (!reader.AtEnd()) return absl::DataLossError("the payload of a state is damaged");
  return cells;
}

// Adds cells of the same place up, and leaves out those that come to 0. `cells` are sorted.
absl::StatusOr<std::vector<Cell>> SumUp(const std::vector<Cell>& cells) {
  std::vector<Cell> sums;
  sums.reserve(cells.size());
  for (const Cell& cell : cells) {
    const bool same = !sums.empty() && sums.back().row == cell.row && sums.back().column == cell.column;
    if (!same) {
      if (!sums.empty() && sums.back().count == 0) sums.pop_back();
      sums.push_back(cell);
    } else if (__builtin_add_overflow(sums.back().count, cell.count, &sums.back().count)) {
      return absl::InvalidArgumentError(
          absl::StrCat("counts: the sum at row ", cell.row, ", column ", cell.column, " does not fit 64 bits"));
    }
  }
  if (!sums.empty() && sums.back().count == 0) sums.pop_back();
  return sums;
}

}  // namespace

absl::StatusOr<StateChange> ActCounters(const CountersAdd& action, const StateRecord* current) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kCounters));
  ASSIGN_OR_RETURN(const std::vector<Cell> stored, DecodeCells(current));
  std::vector<Cell> added;
  added.reserve(action.rows.size());
  for (size_t i = 0; i < action.rows.size(); ++i) {
    added.push_back({action.rows[i], action.columns[i], action.counts.empty() ? 1 : action.counts[i]});
  }
  std::stable_sort(added.begin(), added.end(), Before);
  std::vector<Cell> merged;
  merged.reserve(stored.size() + added.size());
  std::merge(stored.begin(), stored.end(), added.begin(), added.end(), std::back_inserter(merged), Before);
  ASSIGN_OR_RETURN(const std::vector<Cell> sums, SumUp(merged));
  return StateChange{.answer = AnswerOf(current, true),
                     .next = NextOf(current, StateKind::kCounters, EncodeCells(sums))};
}

absl::StatusOr<StateChange> ActCounters(const CountersGet& action, const StateRecord* current) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kCounters));
  ASSIGN_OR_RETURN(const std::vector<Cell> cells, DecodeCells(current));
  std::vector<uint32_t> rows = action.rows;
  if (rows.empty()) {
    for (const Cell& cell : cells) {
      if (rows.empty() || rows.back() != cell.row) rows.push_back(cell.row);
    }
  }
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  std::vector<int64_t> counts;
  for (const uint32_t row : rows) {
    auto at = std::lower_bound(cells.begin(), cells.end(), Cell{row, 0, 0}, Before);
    for (; at != cells.end() && at->row == row; ++at) {
      columns.push_back(at->column);
      counts.push_back(at->count);
    }
    offsets.push_back(columns.size());
  }
  StateChange change{.answer = AnswerOf(current, false)};
  change.answer.columns = {Packed(rows), Packed(offsets), Packed(columns), Packed(counts)};
  return change;
}

}  // namespace mneme
