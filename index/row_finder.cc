#include "index/row_finder.h"

#include <algorithm>

namespace mneme {

RowFinder::RowFinder(const IndexVersion& version) : version_(version) {
  for (const auto& segment : version.segments) blocks_.push_back(segment->All());
  for (const auto& part : version.tail.parts) blocks_.push_back(BlockOf(part, version.tail_from));
}

std::optional<RowFinder::Place> RowFinder::Find(Row row) const {
  for (size_t s = 0; s < version_.segments.size(); ++s) {
    const Segment& segment = *version_.segments[s];
    if (row < segment.first_row() || row >= segment.end_row()) continue;
    const std::optional<size_t> position = segment.PositionOf(row);
    if (!position) return std::nullopt;
    return Place{s, *position};
  }
  return FindInTail(row);
}

std::optional<RowFinder::Place> RowFinder::FindInTail(Row row) const {
  const auto tail = blocks_.begin() + static_cast<ptrdiff_t>(version_.segments.size());
  const auto after = std::upper_bound(
      tail, blocks_.end(), row, [](Row wanted, const RowBlock& block) { return wanted < block.first_row; });
  if (after == tail) return std::nullopt;
  const auto found = after - 1;
  if (row - found->first_row >= found->count) return std::nullopt;
  return Place{static_cast<size_t>(found - blocks_.begin()), static_cast<size_t>(row - found->first_row)};
}

}  // namespace mneme
