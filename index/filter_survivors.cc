// A list of ids, labels or sources is bisected in the segment's order of that column: what it names are runs of
// positions. Their unions meet as CRoaring bitmaps, and only what is left is looked at row by row. Where a segment has
// no such order, or a list is long beside it, all rows are looked at.
#include "index/filter_survivors.h"

#include <algorithm>
#include <optional>
#include <roaring/roaring.hh>

#include "absl/types/span.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// A share of one in a hundred is seen twenty times in so many rows.
constexpr size_t kSampledRows = 2048;
constexpr size_t kRowsBetweenStops = 65'536;
// Bisections of a list that cost as much as looking at this many rows each.
constexpr size_t kRowsPerBisection = 64;
// Less than this share of the rows is counted in the orders, and the sample spared.
constexpr uint64_t kFewOneIn = 50;

using Positions = absl::Span<const uint32_t>;

// The rows that one list of a filter names, as runs of an order of positions.
struct NamedRows {
  std::vector<Positions> runs;
  uint64_t count = 0;
};

// What `list` names in a segment of `rows` rows whose `column` has the given order; nullopt when that is not known so
// cheaply, and when the list is absent.
template <typename T>
std::optional<NamedRows> Named(const std::optional<std::vector<T>>& list, const T* column, Positions order,
                               size_t rows) {
  if (!list) return std::nullopt;
  NamedRows named;
  if (column == nullptr) {  // every row has the default
    if (std::binary_search(list->begin(), list->end(), T{})) return std::nullopt;
    return named;
  }
  if (order.empty() || list->size() > rows / kRowsPerBisection) return std::nullopt;
  auto from = order.begin();
  for (const T value : *list) {
    const auto first = std::lower_bound(from, order.end(), value, [column](uint32_t p, T v) { return column[p] < v; });
    from = std::upper_bound(first, order.end(), value, [column](T v, uint32_t p) { return v < column[p]; });
    if (first == from) continue;
    named.runs.push_back(order.subspan(first - order.begin(), from - first));
    named.count += named.runs.back().size();
  }
  return named;
}

// Of each list that is known as runs.
std::vector<NamedRows> NamedBy(const Segment& segment, const RowFilter& filter) {
  const RowBlock rows = segment.All();
  std::vector<NamedRows> all;
  const auto add = [&all](std::optional<NamedRows> named) {
    if (named) all.push_back(*std::move(named));
  };
  add(Named(filter.ids, rows.ids, segment.ById(), rows.count));
  add(Named(filter.labels, rows.labels, segment.ByLabel(), rows.count));
  add(Named(filter.sources, rows.sources, segment.BySource(), rows.count));
  std::sort(all.begin(), all.end(), [](const NamedRows& a, const NamedRows& b) { return a.count < b.count; });
  return all;
}

// Positions in all of `named`, the smallest of which is the first.
std::vector<uint32_t> Intersection(const std::vector<NamedRows>& named, size_t rows) {
  Roaring all;
  for (size_t i = 0; i < named.size(); ++i) {
    // A list of most rows costs more than looking at the few that are left.
    if (i > 0 && named[i].count > rows / kFewOneIn) break;
    Roaring one;
    for (const Positions& run : named[i].runs) one.addMany(run.size(), run.data());
    if (i == 0) {
      all = std::move(one);
    } else {
      all &= one;
    }
  }
  std::vector<uint32_t> positions(all.cardinality());
  all.toUint32Array(positions.data());
  return positions;
}

bool Survives(const IndexVersion& version, const RowBlock& rows, size_t position, const RowFilter& filter) {
  if (version.dead.count() != 0 && version.dead.Contains(rows.RowAt(position))) return false;
  return filter.Accepts(rows, position);
}

}  // namespace

double EstimateSelectivity(const IndexVersion& version, const RowFilter& filter) {
  uint64_t total = 0;
  uint64_t most = 0;
  for (const auto& segment : version.segments) {
    total += segment->rows();
    const std::vector<NamedRows> named = NamedBy(*segment, filter);
    most += named.empty() ? segment->rows() : named.front().count;
  }
  if (total == 0) return 1.0;
  if (most < total / kFewOneIn) return static_cast<double>(most) / static_cast<double>(total);
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

absl::StatusOr<std::vector<uint32_t>> FindSurvivors(const IndexVersion& version, const Segment& segment,
                                                    const RowFilter& filter,
                                                    const std::function<absl::Status()>& stop) {
  const RowBlock rows = segment.All();
  const std::vector<NamedRows> named = NamedBy(segment, filter);
  std::vector<uint32_t> positions;
  if (!named.empty()) {
    positions = Intersection(named, rows.count);
    std::erase_if(positions, [&](uint32_t at) { return !Survives(version, rows, at, filter); });
    return positions;
  }
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
