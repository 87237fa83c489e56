// BatchScan: one batch of queries on its way over blocks of rows, each block read once for all queries that want it.
#ifndef MNEME_INDEX_BATCH_SCAN_H_
#define MNEME_INDEX_BATCH_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/aligned_buffer.h"
#include "index/candidate_collector.h"
#include "index/codec.h"
#include "index/key_scorer.h"
#include "index/search.h"

namespace mneme {

// Not thread-safe. The request and the versions whose blocks it is given must outlive it.
class BatchScan {
 public:
  // `max_norm` bounds the norm of every key that will be scanned.
  BatchScan(const SearchRequest& request, double max_norm);

  // Scans one block for the queries of these numbers. Returns what the request's `stop` returned when it was not OK.
  absl::Status Scan(const IndexVersion& version, const RowBlock& rows, absl::Span<const uint32_t> queries);

  // Makes a block known whose rows are then scanned by their places; its number.
  uint32_t AddBlock(const IndexVersion& version, const RowBlock& rows);
  // Scans single rows of blocks that were added, wherever they lie.
  absl::Status ScanRows(absl::Span<const RowPlace> places, absl::Span<const uint32_t> queries);

  // Scans the codes of one list, whose rows are `rows`, for these queries: bases[i] is the cost of query queries[i] and
  // the list's centroid. Answers are approximate from then on.
  absl::Status ScanCodes(const IndexVersion& version, const RowBlock& rows, const char* codes,
                         const CodeQueries& prepared, absl::Span<const uint32_t> queries,
                         absl::Span<const float> bases);

  // The queries as codecs take them (unit for cosine), [query_count x dimension].
  const float* code_queries() const { return unit_queries_.empty() ? request_.queries : unit_queries_.data(); }
  // Widens what every query keeps: see CandidateCollector::AllowSlack.
  void AllowSlack(double slack, double floor);
  bool used_codes() const { return used_codes_; }
  // Looks whether pages are missing, so that codes are better asked for ahead.
  bool ReadsAhead();

  // Rows that this query has taken so far; at least min(k, rows that match it among those scanned).
  uint64_t Offered(uint32_t query) const { return collectors_[query].offered(); }
  uint64_t rows_scanned() const { return rows_scanned_; }  // summed over queries

  // Ends the scan: the answer of each query in the order of I4, and the statistics that only the scan knows. Returns
  // what the request's `stop` returned when it was not OK; errors as of AppendNeighbours().
  absl::StatusOr<SearchResult> Finish();

 private:
  struct Group;
  bool AdmitsAll(const ScanBlock& block) const;
  void TakeHits(uint32_t block, size_t first, uint32_t query, const CodeHits& hits);
  // A run of keys side by side: key i is that of places[i], or of position first + i of `block` without places.
  struct Piece {
    uint32_t block = 0;
    const char* keys = nullptr;
    const float* inverse_norms = nullptr;
    size_t first = 0;
    size_t count = 0;
    const RowPlace* places = nullptr;
  };
  void ScanPiece(const Piece& piece, absl::Span<const uint32_t> queries);
  bool Admits(const ScanBlock& block, size_t position, uint32_t query) const;
  absl::Status AskToStop(size_t pairs);
  absl::Status Rank(absl::Span<CandidateCollector> collectors);
  void ReadValuesAhead(const std::vector<RankedRow>& ranked) const;

  const SearchRequest& request_;
  const KeyShape shape_;
  size_t piece_rows_;
  std::vector<float> unit_queries_;  // cosine only: what the fast pass compares
  std::vector<ScanBlock> blocks_;
  KeyScorer scorer_;
  std::vector<CandidateCollector> collectors_;  // one per query
  std::vector<float> costs_;
  std::vector<uint32_t> selected_;
  AlignedBuffer gathered_keys_;  // of one piece
  std::vector<float> gathered_norms_;
  std::vector<float> hit_costs_;  // [kCodeQueries x piece]
  std::vector<uint32_t> hit_rows_;
  bool used_codes_ = false;
  uint64_t rows_scanned_ = 0;
  size_t pairs_since_asked_ = 0;
  size_t unlooked_bytes_ = 0;  // scanned since the last look at missing pages
};

// True when `version` has the row, alive, and the request's filter and exclusions let it answer `query`.
bool RowMayAnswer(const SearchRequest& request, const IndexVersion& version, const RowBlock& rows, size_t position,
                  size_t query);

// Writes ranked rows as columns. INVALID_ARGUMENT when values that have no width of their own, which nobody could count
// before, would take more than kMaxAttendedBytes.
absl::Status AppendNeighbours(const std::vector<RankedRow>& ranked, const std::vector<ScanBlock>& blocks,
                              const SearchRequest& request, NeighbourColumns& out);

}  // namespace mneme

#endif  // MNEME_INDEX_BATCH_SCAN_H_
