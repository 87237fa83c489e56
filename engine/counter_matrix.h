// CounterMatrix: a matrix of counts in pieces, so that an addition costs what it touches.
//
// The state of the matrix lists its pieces (docs/formats.md): piece i holds the cells from its first place up to the
// first place of piece i + 1. A piece that grows beyond kMaxPieceBytes is split; one that shrinks below kMinPieceBytes
// takes in the one after it. Pure: pieces are read by a function, and what becomes of them is handed back.
#ifndef MNEME_ENGINE_COUNTER_MATRIX_H_
#define MNEME_ENGINE_COUNTER_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/counter_cells.h"
#include "engine/state_change.h"
#include "storage/states.h"

namespace mneme {

// One addition rewrites the list, of some ten bytes a piece, and the pieces that it touches: at 32 KiB both cost about
// as much in the largest matrix.
inline constexpr size_t kMaxPieceBytes = 32 * 1024;
inline constexpr size_t kMinPieceBytes = kMaxPieceBytes / 8;

// `matrix` is a matrix of either kind (StateKind::kCounters is one that lies in its payload), or null: an empty one.
// `added` ascend. What is handed back has the payload and the pieces of the next state. INVALID_ARGUMENT when a sum
// does not fit 64 bits; DATA_LOSS when what is stored is damaged.
struct NextMatrix {
  std::string payload;
  StatePieces pieces;
};
absl::StatusOr<NextMatrix> AddCells(const StateRecord* matrix, const PieceReader& read,
                                    absl::Span<const CounterCell> added);

// All cells of the rows, which ascend; all there are when `rows` is null. RESOURCE_EXHAUSTED when they are more than a
// message holds.
absl::StatusOr<std::vector<CounterCell>> ReadCells(const StateRecord& matrix, const PieceReader& read,
                                                   const std::vector<uint32_t>* rows);

// RESOURCE_EXHAUSTED when so many cells are more than a message holds.
absl::Status CheckAnsweredCells(size_t cells);

// The same matrix as a state that lies in its payload whole, as a session's bytes hold it.
absl::StatusOr<StateRecord> WholeMatrix(const StateRecord& matrix, const PieceReader& read);

// The pieces of a matrix of StateKind::kCounterMatrix, and the bytes of them all.
absl::StatusOr<std::vector<uint32_t>> PieceNumbers(const StateRecord& matrix);
uint64_t PieceBytes(const StateRecord& matrix);

}  // namespace mneme

#endif  // MNEME_ENGINE_COUNTER_MATRIX_H_
