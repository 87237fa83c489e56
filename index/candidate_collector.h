// CandidateCollector: the candidates of one query, from the fast pass to the exact order.
//
// Why no row of the true top k is lost, ties included. Let D be a row's exact cost (minus its score) and c what the fast
// pass computed. The kernel proves bounds low(c) <= D <= high(c) that grow with c (kernels/scan_distance.h).
// 1. Let U = high(c_k) for the k-th least finite c among the admitted rows seen: k rows have D <= U.
// 2. A row with low(c) > U has D > U, so k rows are strictly better: it is not in the top k whatever the order among
//    equals is. Only such rows are dropped; `cut` is the largest c with low(c) <= U, rounded up.
// 3. U only falls as rows come, and a row of which c says nothing (NaN, infinite) is always kept.
// 4. When too many rows remain within the bound (ties, duplicates), they are scored exactly and the k best of them
//    kept: the row dropped there is beaten by k rows in the final order itself. So memory is bounded by k, not by ties.
#ifndef MNEME_INDEX_CANDIDATE_COLLECTOR_H_
#define MNEME_INDEX_CANDIDATE_COLLECTOR_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "index/index_version.h"
#include "index/kernels/exact_distance.h"
#include "index/row_block.h"

namespace mneme {

// A block of one version, numbered by its place in the vector that a search keeps.
struct ScanBlock {
  RowBlock rows;
  const IndexVersion* version = nullptr;
};

// A row with its exact score.
struct RankedRow {
  double score = 0.0;
  EntryId id = 0;
  PartitionId partition = 0;
  uint32_t block = 0;
  uint64_t position = 0;  // within the block

  // The order of I4.
  friend bool operator<(const RankedRow& a, const RankedRow& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.id != b.id ? a.id < b.id : a.partition < b.partition;
  }
};

// Not thread-safe. `query` and `blocks` must outlive it; blocks may be appended while it lives.
class CandidateCollector {
 public:
  // `query` is the caller's own, `max_norm` bounds the norm of every key that will be offered.
  CandidateCollector(const KeyShape& shape, const float* query, uint32_t k, double max_norm,
                     const std::vector<ScanBlock>& blocks);

  // A row whose finite cost is above this is not in the top k.
  float cut() const { return cut_; }
  // True when a row of this cost may be in the top k.
  bool Wants(float cost) const { return !(cost > cut_ && cost <= std::numeric_limits<float>::max()); }
  // Takes a row that the filters admit.
  void Offer(float cost, uint32_t block, uint64_t position);

  uint64_t offered() const { return offered_; }    // rows taken; at least min(k, admitted rows)
  uint64_t reranked() const { return reranked_; }  // exact scores computed
  // The k best of all rows offered, in the order of I4.
  std::vector<RankedRow> Finish();

 private:
  struct Candidate {
    float cost;
    uint32_t block;
    uint64_t position;
  };
  void Compact();
  void Refine();
  double HighestCost(float cost) const;
  void LowerCut(double highest);

  const KeyShape shape_;
  const float* const query_;
  const uint32_t k_;
  const std::vector<ScanBlock>& blocks_;
  double relative_error_ = 0.0;
  double absolute_error_ = 0.0;

  float cut_ = std::numeric_limits<float>::infinity();
  size_t capacity_ = 0;
  std::vector<Candidate> pending_;  // unknown costs as -infinity
  size_t unknown_ = 0;
  std::vector<RankedRow> ranked_;  // the best k at most of those scored exactly
  uint64_t offered_ = 0;
  uint64_t reranked_ = 0;
};

}  // namespace mneme

#endif  // MNEME_INDEX_CANDIDATE_COLLECTOR_H_
