// The counter matrix of a session: its actions (engine/counter_matrix.h has its payload and pieces).
#include <algorithm>
#include <utility>
#include <vector>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/counter_matrix.h"
#include "engine/state_change.h"

namespace mneme {

absl::StatusOr<StateChange> ActCounters(const CountersAdd& action, const StateRecord* current,
                                        const PieceReader& read) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kCounters));
  std::vector<CounterCell> added;
  added.reserve(action.rows.size());
  for (size_t i = 0; i < action.rows.size(); ++i) {
    added.push_back({{action.rows[i], action.columns[i]}, action.counts.empty() ? 1 : action.counts[i]});
  }
  std::stable_sort(added.begin(), added.end(), Before);
  ASSIGN_OR_RETURN(NextMatrix next, AddCells(current, read, added));
  return StateChange{.answer = AnswerOf(current, true),
                     .next = NextOf(current, StateKind::kCounterMatrix, std::move(next.payload)),
                     .pieces = std::move(next.pieces)};
}

absl::StatusOr<StateChange> ActCounters(const CountersGet& action, const StateRecord* current,
                                        const PieceReader& read) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kCounters));
  std::vector<uint32_t> rows = action.rows;
  std::sort(rows.begin(), rows.end());
  std::vector<CounterCell> cells;
  if (current != nullptr) {
    ASSIGN_OR_RETURN(cells, ReadCells(*current, read, rows.empty() ? nullptr : &rows));
  }
  if (rows.empty()) {
    for (const CounterCell& cell : cells) {
      if (rows.empty() || rows.back() != cell.place.row) rows.push_back(cell.place.row);
    }
  } else {
    rows = action.rows;  // in the order asked for
  }
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  std::vector<int64_t> counts;
  for (const uint32_t row : rows) {
    auto at = std::lower_bound(cells.begin(), cells.end(), CounterCell{{row, 0}, 0}, Before);
    for (; at != cells.end() && at->place.row == row; ++at) {
      columns.push_back(at->place.column);
      counts.push_back(at->count);
    }
    RETURN_IF_ERROR(CheckAnsweredCells(columns.size()));  // a row may be asked for more than once
    offsets.push_back(columns.size());
  }
  StateChange change{.answer = AnswerOf(current, false)};
  change.answer.columns = {Packed(rows), Packed(offsets), Packed(columns), Packed(counts)};
  return change;
}

}  // namespace mneme
