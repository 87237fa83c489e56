#include <algorithm>
#include <optional>
#include <unordered_map>

#include "common/status_macros.h"
#include "index/batch_scan.h"
#include "index/row_finder.h"
#include "index/search.h"

namespace mneme {
namespace {

// A version's rows, whose blocks are `blocks[first_block]` on.
struct Finder {
  RowFinder rows;
  uint32_t first_block = 0;
};

}  // namespace

absl::StatusOr<SearchResult> ScoreRows(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                       const SearchRequest& request, absl::Span<const size_t> offsets,
                                       absl::Span<const RowReference> rows) {
  std::vector<ScanBlock> blocks;
  std::unordered_map<PartitionId, Finder> finders;
  for (const auto& version : versions) {
    const Finder finder{RowFinder(*version), static_cast<uint32_t>(blocks.size())};
    for (const RowBlock& block : finder.rows.blocks()) blocks.push_back({block, version.get()});
    finders.emplace(version->partition, finder);
  }

  SearchResult result;
  result.neighbours.values.width = request.spec.value_bytes;
  if (request.with_keys) result.neighbours.key_bytes = request.spec.KeyBytes();
  const KeyShape shape{request.spec.metric, request.spec.key_dtype, request.spec.dimension};
  for (size_t q = 0; q < request.query_count; ++q) {
    std::vector<RankedRow> ranked;
    for (size_t i = offsets[q]; i < offsets[q + 1]; ++i) {
      const auto finder = finders.find(rows[i].partition);
      if (finder == finders.end()) continue;
      const auto place = finder->second.rows.Find(rows[i].row);
      if (!place) continue;
      const auto number = finder->second.first_block + static_cast<uint32_t>(place->block);
      const ScanBlock& block = blocks[number];
      if (!RowMayAnswer(request, *block.version, block.rows, place->position, q)) continue;
      RankedRow row{0.0, block.rows.ids[place->position], rows[i].partition, number, place->position};
      const char* key = block.rows.Sparse(block.rows.keys) + place->position * shape.KeyBytes();
      ExactScores(shape, request.queries + q * shape.dimension, &key, 1, &row.score);
      ranked.push_back(row);
    }
    result.statistics.rows_reranked += ranked.size();
    std::sort(ranked.begin(), ranked.end());
    const auto same = [](const RankedRow& a, const RankedRow& b) { return a.id == b.id && a.partition == b.partition; };
    ranked.erase(std::unique(ranked.begin(), ranked.end(), same), ranked.end());
    RETURN_IF_ERROR(AppendNeighbours(ranked, blocks, request, result.neighbours));
  }
  return result;
}

}  // namespace mneme
