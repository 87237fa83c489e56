// CandidateCollector: the candidates of one query, from the fast pass to the exact order.
//
// Why no row of the true top k is lost, ties included. Let D be a row's exact cost (minus its score) and c what the
// fast pass computed. The kernel proves bounds low(c) <= D <= high(c) that grow with c (kernels/scan_distance.h).
// 1. Let U = high(c_k) for the k-th least finite c among the admitted rows seen: k rows have D <= U.
// 2. A row with low(c) > U has D > U, so k rows are strictly better: it is not in the top k whatever the order among
//    equals is. Only such rows are dropped; `cut` is the largest c with low(c) <= U, rounded up.
// 3. U only falls as rows come, and a row of which c says nothing (NaN, infinite) is always kept.
// 4. When too many rows remain within the bound (ties, duplicates), they are scored exactly and the k best of them
//    kept: the row dropped there is beaten by k rows in the final order itself. So memory is bounded by k, not by ties.
//
// Costs of codes (index/codec.h) have no such proof: for them `low` and `high` are widened by the slack that was
// measured when the codebook was trained, and the rows found are those of an approximate search.
#ifndef MNEME_INDEX_CANDIDATE_COLLECTOR_H_
#define MNEME_INDEX_CANDIDATE_COLLECTOR_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"
#include "index/kernels/exact_distance.h"
#include "index/key_scorer.h"
#include "index/scan_block.h"

namespace mneme {

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

// Not thread-safe. `query` and `scorer` must outlive it.
class CandidateCollector {
 public:
  // `query` is the caller's own, `max_norm` bounds the norm of every key that will be offered.
  CandidateCollector(const KeyShape& shape, const float* query, uint32_t k, double max_norm,
                     KeyScorer* scorer);

  // From now on costs may be those of codes: see Codebook::CodeSlack.
  void AllowSlack(double slack, double floor);
  // The order is that of the costs as they are offered: no exact scores are computed.
  void RankByCost() { by_cost_ = true; }

  // A row whose finite cost is above this is not in the top k.
  float cut() const { return cut_; }
  // True when a row of this cost may be in the top k.
  bool Wants(float cost) const { return !(cost > cut_ && cost <= std::numeric_limits<float>::max()); }
  // Takes a row that the filters admit.
  void Offer(float cost, uint32_t block, uint64_t position);
  // Takes rows that the filters admit, of costs that are finite or minus infinity; `positions` count from `first`.
  void OfferAll(absl::Span<const float> costs, uint32_t block, uint64_t first, absl::Span<const uint32_t> positions);

  uint64_t offered() const { return offered_; }    // rows taken; at least min(k, admitted rows)
  uint64_t reranked() const { return reranked_; }  // exact scores computed

  // Ends in steps, so that the rows of many queries can be read together: while there are rows to score, their scores
  // are to be taken. More cannot be offered then.
  absl::Span<const RowPlace> RowsToScore();
  const float* query() const { return query_; }
  void TakeScores(absl::Span<const double> scores);
  // Afterwards: the k best of all rows offered, in the order of I4.
  std::vector<RankedRow> Ranked();

 private:
  void Compact();
  void DropBeyondCut();
  void ScoreWaiting();
  size_t PutNearestFirst();
  void KeepBest();
  void TakeByCost();
  double HighestCost(float cost) const;
  void LowerCut(double highest);
  double Slack(double cost) const;

  const KeyShape shape_;
  const float* const query_;
  const uint32_t k_;
  KeyScorer* const scorer_;
  bool finishing_ = false;
  double relative_error_ = 0.0;
  double absolute_error_ = 0.0;
  double slack_ = 0.0;
  double slack_floor_ = 0.0;
  double slack_unit_ = 1.0;  // inner product: the query's norm
  bool by_cost_ = false;

  float cut_ = std::numeric_limits<float>::infinity();
  size_t capacity_ = 0;
  // Not yet scored exactly: costs_[i] is that of places_[i]; unknown costs are -infinity.
  std::vector<float> costs_;
  std::vector<RowPlace> places_;
  size_t unknown_ = 0;
  std::vector<RankedRow> ranked_;  // the best k at most of those scored exactly
  uint64_t offered_ = 0;
  uint64_t reranked_ = 0;
};

// Sorts by the order of I4.
void SortRanked(std::vector<RankedRow>& ranked);

}  // namespace mneme

#endif  // MNEME_INDEX_CANDIDATE_COLLECTOR_H_
