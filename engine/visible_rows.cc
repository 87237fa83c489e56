#include "engine/visible_rows.h"

#include "common/status_macros.h"

namespace mneme {
namespace {

// Rows between two questions whether to stop.
constexpr size_t kCheckRows = 65'536;

absl::Status VisitBlock(const RowBlock& block, const DeadRows& dead, const RowFilter& filter, const CallLimits& limits,
                        const std::function<void(const RowBlock&, size_t)>& visit) {
  for (size_t i = 0; i < block.count; ++i) {
    if (i % kCheckRows == 0) RETURN_IF_ERROR(limits.Check());
    if (!dead.Contains(block.RowAt(i)) && filter.Accepts(block, i)) visit(block, i);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ForEachVisibleRow(const IndexVersion& version, const RowFilter& filter, const CallLimits& limits,
                               const std::function<void(const RowBlock&, size_t)>& visit) {
  for (const auto& segment : version.segments) {
    RETURN_IF_ERROR(VisitBlock(segment->All(), version.dead, filter, limits, visit));
  }
  for (const Tail::Snapshot::Part& part : version.tail.parts) {
    RETURN_IF_ERROR(VisitBlock(BlockOf(part, version.tail_from), version.dead, filter, limits, visit));
  }
  return absl::OkStatus();
}

}  // namespace mneme
