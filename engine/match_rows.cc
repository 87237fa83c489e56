#include "engine/match_rows.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "engine/visible_rows.h"

namespace mneme {
namespace {

absl::Status CheckBytes(const MatchSide& side, size_t rows) {
  if (rows * side.components.size() * sizeof(double) <= limits::kMaxMatchBytes) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("would read more than ", limits::kMaxMatchBytes, " bytes of memory \"",
                                            side.memory->spec.name, "\""));
}

}  // namespace

absl::StatusOr<MatchRows> ReadMatchRows(const MatchSide& side,
                                        absl::Span<const std::shared_ptr<const IndexVersion>> versions) {
  const MemorySpec& spec = side.memory->spec;
  const VisitCommand& selection = side.selection;
  MatchRows rows;
  rows.width = side.components.size();
  std::vector<float> key(spec.dimension);
  absl::Status refused;
  for (const auto& version : versions) {
    RETURN_IF_ERROR(
        ForEachVisibleRow(*version, selection.filter, selection.limits, [&](const RowBlock& block, size_t i) {
          if (refused.ok()) refused = CheckBytes(side, rows.ids.size() + 1);
          if (!refused.ok()) return;
          ++rows.read;
          rows.ids.push_back(block.ids[i]);
          rows.partitions.push_back(version->partition);
          DecodeVector(spec.key_dtype, block.keys + i * spec.KeyBytes(), spec.dimension, key.data());
          for (const uint32_t component : side.components) rows.values.push_back(key[component]);
        }));
    RETURN_IF_ERROR(refused);
  }
  return rows;
}

absl::Status AppendMatchRows(const MatchSide& side, const MatchRows& more, MatchRows& rows) {
  RETURN_IF_ERROR(CheckBytes(side, rows.ids.size() + more.ids.size()));
  rows.width = side.components.size();
  rows.read += more.read;
  rows.ids.insert(rows.ids.end(), more.ids.begin(), more.ids.end());
  rows.partitions.insert(rows.partitions.end(), more.partitions.begin(), more.partitions.end());
  rows.values.insert(rows.values.end(), more.values.begin(), more.values.end());
  return absl::OkStatus();
}

MatchRows Ordered(const MatchSide& side, const MatchRows& rows) {
  std::vector<size_t> sorted(rows.ids.size());
  std::iota(sorted.begin(), sorted.end(), size_t{0});
  std::sort(sorted.begin(), sorted.end(), [&](size_t a, size_t b) {
    return std::pair(rows.ids[a], rows.partitions[a]) < std::pair(rows.ids[b], rows.partitions[b]);
  });
  MatchRows ordered;
  ordered.width = side.components.size();
  ordered.read = rows.read;
  ordered.values.reserve(rows.values.size());
  for (const size_t i : sorted) {
    ordered.ids.push_back(rows.ids[i]);
    ordered.partitions.push_back(rows.partitions[i]);
    const auto row = rows.values.begin() + static_cast<std::ptrdiff_t>(i * ordered.width);
    ordered.values.insert(ordered.values.end(), row, row + static_cast<std::ptrdiff_t>(ordered.width));
  }
  if (side.memory->spec.metric == Metric::kCosine) UnitRows(absl::MakeSpan(ordered.values), ordered.width);
  return ordered;
}

absl::Status CheckProducts(const MatchRows& x, const MatchRows& z) {
  const double products =
      static_cast<double>(x.ids.size()) * static_cast<double>(z.ids.size()) * static_cast<double>(x.width);
  if (products <= limits::kMaxMatchProducts) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("compares ", x.ids.size(), " x ", z.ids.size(), " entries of ", x.width,
                                            " components: ", products, " products; must be at most ",
                                            limits::kMaxMatchProducts));
}

}  // namespace mneme
