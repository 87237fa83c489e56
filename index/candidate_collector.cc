#include "index/candidate_collector.h"

#include <algorithm>
#include <cmath>

#include "index/kernels/scan_distance.h"
#include "index/key_norms.h"

namespace mneme {
namespace {

constexpr float kUnknown = -std::numeric_limits<float>::infinity();
// Room beside 2 k, so that small k do not compact at every turn.
constexpr size_t kSpare = 64;
// Exact scores of one call, which bounds the arrays on the way.
constexpr size_t kRerankBatch = 256;

// The least float that is not below `value`.
float RoundUp(double value) {
  if (value >= static_cast<double>(std::numeric_limits<float>::max())) return std::numeric_limits<float>::infinity();
  const float rounded = static_cast<float>(value);
  return static_cast<double>(rounded) < value ? std::nextafter(rounded, std::numeric_limits<float>::infinity())
                                              : rounded;
}

}  // namespace

CandidateCollector::CandidateCollector(const KeyShape& shape, const float* query, uint32_t k, double max_norm,
                                       const std::vector<ScanBlock>& blocks)
    : shape_(shape), query_(query), k_(k), blocks_(blocks), capacity_(2 * size_t{k} + kSpare) {
  const size_t d = shape.dimension;
  switch (shape.metric) {
    case Metric::kL2:
      relative_error_ = ScanRelativeError(d);
      absolute_error_ = ScanUnderflow(d);
      break;
    case Metric::kInnerProduct: {
      const KeyShape f32{shape.metric, Dtype::kF32, d};
      const double norm = NormBound(ExactNorm(f32, reinterpret_cast<const char*>(query)));
      absolute_error_ = ScanRelativeError(d) * norm * max_norm + ScanUnderflow(d);
      break;
    }
    case Metric::kCosine:
      // Eight more roundings than a product of unit vectors pay for the scaled query, the inverse norm and its product;
      // no inverse norm of the fast pass is above 1 / kMinScannedNorm.
      absolute_error_ = ScanRelativeError(d + 8) + ScanUnderflow(d) / kMinScannedNorm;
      break;
  }
}

double CandidateCollector::HighestCost(float cost) const {
  return (double{cost} + absolute_error_) / (1.0 - relative_error_);
}

void CandidateCollector::LowerCut(double highest) {
  cut_ = std::min(cut_, RoundUp(highest * (1.0 + relative_error_) + absolute_error_));
}

void CandidateCollector::Offer(float cost, uint32_t block, uint64_t position) {
  const bool known = std::isfinite(cost);
  if (!known) ++unknown_;
  pending_.push_back({known ? cost : kUnknown, block, position});
  ++offered_;
  if (pending_.size() >= capacity_) Compact();
}

void CandidateCollector::Compact() {
  // Unknown costs sort first and say nothing about the k-th least.
  const size_t kth = unknown_ + k_ - 1;
  if (kth < pending_.size()) {
    const auto nearer = [](const Candidate& a, const Candidate& b) { return a.cost < b.cost; };
    std::nth_element(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(kth), pending_.end(), nearer);
    LowerCut(HighestCost(pending_[kth].cost));
    std::erase_if(pending_, [this](const Candidate& c) { return c.cost > cut_; });
  }
  // Unless a quarter of the room is free again, the next compaction would come too soon.
  if (pending_.size() > capacity_ / 4 * 3) Refine();
}

void CandidateCollector::Refine() {
  const char* keys[kRerankBatch];
  double scores[kRerankBatch];
  for (size_t first = 0; first < pending_.size(); first += kRerankBatch) {
    const size_t batch = std::min(kRerankBatch, pending_.size() - first);
    for (size_t i = 0; i < batch; ++i) {
      const Candidate& c = pending_[first + i];
      keys[i] = blocks_[c.block].rows.keys + c.position * shape_.KeyBytes();
    }
    ExactScores(shape_, query_, keys, batch, scores);
    for (size_t i = 0; i < batch; ++i) {
      const Candidate& c = pending_[first + i];
      const ScanBlock& block = blocks_[c.block];
      ranked_.push_back({scores[i], block.rows.ids[c.position], block.version->partition, c.block, c.position});
    }
  }
  reranked_ += pending_.size();
  pending_.clear();
  unknown_ = 0;
  if (ranked_.size() < k_) return;
  std::nth_element(ranked_.begin(), ranked_.begin() + (k_ - 1), ranked_.end());
  ranked_.resize(k_);
  LowerCut(-ranked_.back().score);
}

std::vector<RankedRow> CandidateCollector::Finish() {
  if (pending_.size() > k_) Compact();
  Refine();
  std::sort(ranked_.begin(), ranked_.end());
  return std::move(ranked_);
}

}  // namespace mneme
