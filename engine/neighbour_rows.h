// NeighbourRows: taking answers of a batch apart by query, and putting them together.
#ifndef MNEME_ENGINE_NEIGHBOUR_ROWS_H_
#define MNEME_ENGINE_NEIGHBOUR_ROWS_H_

#include <cstddef>
#include <vector>

#include "common/columns.h"

namespace mneme {

// The neighbours of queries [first, first + count) of `all`.
NeighbourColumns NeighboursOf(const NeighbourColumns& all, size_t first, size_t count);

// Joins answers of consecutive queries; at least one.
NeighbourColumns Concatenate(std::vector<NeighbourColumns> parts);

// Leaves out labels, sources and positions.
void DropAttributes(NeighbourColumns& neighbours);
// Leaves out ids and partitions.
void DropIds(NeighbourColumns& neighbours);
// Rounds scores to f32.
void RoundScores(NeighbourColumns& neighbours);

}  // namespace mneme

#endif  // MNEME_ENGINE_NEIGHBOUR_ROWS_H_
