#include "engine/visible_rows.h"

namespace mneme {
namespace {

// False when the visitor stopped.
bool VisitBlock(const RowBlock& block, const DeadRows& dead, const RowFilter& filter,
                const std::function<bool(const RowBlock&, size_t)>& visit) {
  for (size_t i = 0; i < block.count; ++i) {
    if (dead.Contains(block.RowAt(i)) || !filter.Accepts(block, i)) continue;
    if (!visit(block, i)) return false;
  }
  return true;
}

}  // namespace

void ForEachVisibleRow(const IndexVersion& version, const RowFilter& filter,
                       const std::function<bool(const RowBlock&, size_t)>& visit) {
  for (const auto& segment : version.segments) {
    if (!VisitBlock(segment->All(), version.dead, filter, visit)) return;
  }
  for (const Tail::Snapshot::Part& part : version.tail.parts) {
    if (!VisitBlock(BlockOf(part, version.tail_from), version.dead, filter, visit)) return;
  }
}

}  // namespace mneme
