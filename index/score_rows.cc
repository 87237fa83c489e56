#include <algorithm>
#include <optional>
#include <unordered_map>

#include "index/batch_scan.h"
#include "index/search.h"

namespace mneme {
namespace {

// Finds rows of one version: its segments, then its tail. Blocks are added to `blocks` when they are first needed.
class RowFinder {
 public:
  RowFinder(const IndexVersion& version, std::vector<ScanBlock>& blocks)
      : version_(version), blocks_(blocks), first_block_(static_cast<uint32_t>(blocks.size())) {
    for (const auto& segment : version.segments) blocks.push_back({segment->All(), &version});
    for (const auto& part : version.tail.parts) blocks.push_back({BlockOf(part, version.tail_from), &version});
  }

  // The block and the position of `row`; nullopt when the version does not hold it.
  std::optional<std::pair<uint32_t, uint64_t>> Find(Row row) const {
    for (size_t s = 0; s < version_.segments.size(); ++s) {
      const Segment& segment = *version_.segments[s];
      if (row < segment.first_row() || row >= segment.end_row()) continue;
      const std::optional<size_t> position = segment.PositionOf(row);
      if (!position) return std::nullopt;
      return std::pair(first_block_ + static_cast<uint32_t>(s), uint64_t{*position});
    }
    return FindInTail(row);
  }

 private:
  std::optional<std::pair<uint32_t, uint64_t>> FindInTail(Row row) const {
    const auto tail = blocks_.begin() + first_block_ + static_cast<ptrdiff_t>(version_.segments.size());
    const auto end = tail + static_cast<ptrdiff_t>(version_.tail.parts.size());
    const auto after = std::upper_bound(tail, end, row, [](Row wanted, const ScanBlock& block) {
      return wanted < block.rows.first_row;
    });
    if (after == tail) return std::nullopt;
    const auto found = after - 1;
    if (row - found->rows.first_row >= found->rows.count) return std::nullopt;
    return std::pair(static_cast<uint32_t>(found - blocks_.begin()), row - found->rows.first_row);
  }

  const IndexVersion& version_;
  const std::vector<ScanBlock>& blocks_;
  const uint32_t first_block_;
};

}  // namespace

absl::StatusOr<SearchResult> ScoreRows(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                       const SearchRequest& request, absl::Span<const size_t> offsets,
                                       absl::Span<const RowReference> rows) {
  std::vector<ScanBlock> blocks;
  std::unordered_map<PartitionId, RowFinder> finders;
  for (const auto& version : versions) finders.try_emplace(version->partition, *version, blocks);

  SearchResult result;
  result.neighbours.values.width = request.spec.value_bytes;
  if (request.with_keys) result.neighbours.key_bytes = request.spec.KeyBytes();
  const KeyShape shape{request.spec.metric, request.spec.key_dtype, request.spec.dimension};
  for (size_t q = 0; q < request.query_count; ++q) {
    std::vector<RankedRow> ranked;
    for (size_t i = offsets[q]; i < offsets[q + 1]; ++i) {
      const auto finder = finders.find(rows[i].partition);
      if (finder == finders.end()) continue;
      const auto place = finder->second.Find(rows[i].row);
      if (!place) continue;
      const ScanBlock& block = blocks[place->first];
      if (!RowMayAnswer(request, *block.version, block.rows, place->second, q)) continue;
      RankedRow row{0.0, block.rows.ids[place->second], rows[i].partition, place->first, place->second};
      const char* key = block.rows.keys + place->second * shape.KeyBytes();
      ExactScores(shape, request.queries + q * shape.dimension, &key, 1, &row.score);
      ranked.push_back(row);
    }
    result.statistics.rows_reranked += ranked.size();
    std::sort(ranked.begin(), ranked.end());
    const auto same = [](const RankedRow& a, const RankedRow& b) { return a.id == b.id && a.partition == b.partition; };
    ranked.erase(std::unique(ranked.begin(), ranked.end(), same), ranked.end());
    AppendNeighbours(ranked, blocks, request, result.neighbours);
  }
  return result;
}

}  // namespace mneme
