// Search: the k nearest rows of an immutable version of a partition, exact or over probed lists.
//
// 1. A fast f32 pass over blocks of rows keeps every candidate whose distance is within its proven error bound of the
//    k-th best (not a fixed surplus), skipping dead, expired and filtered rows.
// 2. Candidates are scored again in f64 in one fixed order of virtual lanes (index/kernels/exact_distance.h), the same
//    on every instruction set, and ordered by (score descending, id ascending, partition ascending): invariant I4.
// So an exact answer depends on the stored keys alone, not on segments, shards or machines.
//
// An approximate search does the same over the lists that lie nearest to the query, and over the rows of the tail that
// are in those lists or in none yet. While it
// has found fewer than k it probes more lists: fewer than k found means that fewer match.
#ifndef MNEME_INDEX_SEARCH_H_
#define MNEME_INDEX_SEARCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/columns.h"
#include "index/index_version.h"
#include "index/row_filter.h"

namespace mneme {

struct SearchRequest {
  IndexSpec spec;
  const float* queries = nullptr;  // [query_count x dimension] f32
  size_t query_count = 0;
  uint32_t k = 0;
  bool exact = true;
  uint32_t probes = 0;             // approximate: lists per query; 0: by recall_target
  double recall_target = 0.0;      // approximate: in (0, 1]
  bool approximate_distances = false;  // approximate: ordered by the codec's own distances, without exact re-ranking
  const RowFilter* filter = nullptr;
  absl::Span<const EntryId> exclude_ids;       // [query_count] or empty: rows with this id do not answer that query
  absl::Span<const uint64_t> exclude_sources;  // [query_count] or empty
  bool with_keys = false;
  // Asked every few thousand rows; a search that is told to stop returns DEADLINE_EXCEEDED or CANCELLED as it says.
  std::function<absl::Status()> stop;
};

struct SearchResult {
  NeighbourColumns neighbours;
  SearchStatistics statistics;
};

// Searches `versions` (one per partition asked for) as one collection. Holds no lock. Not an error: fewer than k found.
// Returns INVALID_ARGUMENT for a k of 0 or a recall target outside of (0, 1]; what `stop` returned when it was not OK.
absl::StatusOr<SearchResult> Search(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                    const SearchRequest& request);

// Exact scores of given rows: query i against rows[offsets[i], offsets[i+1]) (for extra candidates). Rows that are
// repeated, dead, expired, filtered or not in `versions` are left out, `k` is not asked; the answer has the order of
// I4. `offsets` has query_count + 1 elements.
struct RowReference {
  PartitionId partition = 0;
  Row row = 0;
};
absl::StatusOr<SearchResult> ScoreRows(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                       const SearchRequest& request, absl::Span<const size_t> offsets,
                                       absl::Span<const RowReference> rows);

// Merges answers of disjoint collections (shards) into the k best per query, in the order of I4; entries with equal
// (id, partition) are kept once. Labels, sources and positions may be absent, from all of them.
NeighbourColumns MergeNeighbours(absl::Span<const NeighbourColumns* const> parts, uint32_t k);

}  // namespace mneme

#endif  // MNEME_INDEX_SEARCH_H_
