// Search: the k nearest rows of an immutable version of a partition, exact or over probed lists.
//
// 1. A fast f32 pass over blocks of rows keeps every candidate whose distance is within its proven error bound of the
//    k-th best (not a fixed surplus), skipping dead, expired and filtered rows.
// 2. Candidates are scored again in f64 in one fixed order of virtual lanes (index/kernels/exact_distance.h), the same
//    on every instruction set, and ordered by (score descending, id ascending, partition ascending): invariant I4.
// So an exact answer depends on the stored keys alone, not on segments, shards or machines.
#ifndef MNEME_INDEX_SEARCH_H_
#define MNEME_INDEX_SEARCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/columns.h"
#include "index/codebook.h"
#include "index/dead_rows.h"
#include "index/row_filter.h"
#include "index/segment.h"
#include "index/tail.h"

namespace mneme {

// An immutable version of the index of one partition (I3): segments ascending by row without overlap, then the tail
// from `tail_from` on.
struct IndexVersion {
  PartitionId partition = 0;
  std::vector<std::shared_ptr<const Segment>> segments;
  std::shared_ptr<const Codebook> codebook;  // of all the segments; null when there are none
  Tail::Snapshot tail;
  Row tail_from = 0;  // rows of the tail below it are in segments
  DeadRows dead;

  uint64_t rows() const;  // live and dead
};

struct SearchRequest {
  IndexSpec spec;
  const float* queries = nullptr;  // [query_count x dimension] f32, 64-byte aligned
  size_t query_count = 0;
  uint32_t k = 0;
  bool exact = true;
  uint32_t probes = 0;             // approximate: lists per query; 0: by recall_target
  double recall_target = 0.0;      // approximate: in (0, 1]
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
absl::StatusOr<SearchResult> Search(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                    const SearchRequest& request);

// Exact scores of given rows: query i against rows[offsets[i], offsets[i+1]) (for extra candidates). Dead, expired and
// filtered rows are left out; the answer has the order of I4.
struct RowReference {
  PartitionId partition = 0;
  Row row = 0;
};
absl::StatusOr<SearchResult> ScoreRows(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                       const SearchRequest& request, absl::Span<const size_t> offsets,
                                       absl::Span<const RowReference> rows);

// Merges answers of disjoint collections (shards) into the k best per query, in the order of I4; entries with equal
// (id, partition) are kept once.
NeighbourColumns MergeNeighbours(absl::Span<const NeighbourColumns* const> parts, uint32_t k);

}  // namespace mneme

#endif  // MNEME_INDEX_SEARCH_H_
