#include "index/filter_survivors.h"

#include <algorithm>

#include "common/status_macros.h"

namespace mneme {
namespace {

// A share of one in a hundred is seen twenty times in so many rows.
constexpr size_t kSampledRows = 2048;
constexpr size_t kRowsBetweenStops = 65'536;

bool Survives(const IndexVersion& version, const RowBlock& rows, size_t position, const RowFilter& filter) {
  if (version.dead.count() != 0 && version.dead.Contains(rows.RowAt(position))) return false;
  return filter.Accepts(rows, position);
}

}  // namespace

double EstimateSelectivity(const IndexVersion& version, const RowFilter& filter) {
  uint64_t total = 0;
  for (const auto& segment : version.segments) total += segment->rows();
  if (total == 0) return 1.0;
  const uint64_t stride = std::max<uint64_t>(1, total / kSampledRows);
  uint64_t seen = 0;
  uint64_t survived = 0;
  for (const auto& segment : version.segments) {
    const RowBlock rows = segment->All();
    for (uint64_t at = stride / 2; at < rows.count; at += stride) {
      ++seen;
      survived += Survives(version, rows, at, filter) ? 1 : 0;
    }
  }
  return seen == 0 ? 1.0 : static_cast<double>(survived) / static_cast<double>(seen);
}

absl::StatusOr<std::vector<uint32_t>> FindSurvivors(const IndexVersion& version, const RowBlock& rows,
                                                    const RowFilter& filter,
                                                    const std::function<absl::Status()>& stop) {
  std::vector<uint32_t> positions;
  for (size_t first = 0; first < rows.count; first += kRowsBetweenStops) {
    if (stop) RETURN_IF_ERROR(stop());
    const size_t end = std::min(rows.count, first + kRowsBetweenStops);
    for (size_t at = first; at < end; ++at) {
      if (Survives(version, rows, at, filter)) positions.push_back(static_cast<uint32_t>(at));
    }
  }
  return positions;
}

}  // namespace mneme
