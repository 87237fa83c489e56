#include "index/candidate_collector.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "index/kernels/kth_smallest.h"
#include "index/kernels/scan_distance.h"
#include "index/key_norms.h"

namespace mneme {
namespace {

constexpr float kUnknown = -std::numeric_limits<float>::infinity();
// Room beside 2 k, so that small k do not compact at every turn.
constexpr size_t kSpare = 64;
// Codes keep more rows within reach of the k-th: room for them saves exact scores that a later, lower cut makes idle.
constexpr size_t kSlackRoom = 8;
constexpr size_t kSlackSpare = 1024;
// Fewer rows are sorted by comparing them.
constexpr size_t kMinRadixRows = 128;

// The least float that is not below `value`.
float RoundUp(double value) {
  if (value >= static_cast<double>(std::numeric_limits<float>::max())) return std::numeric_limits<float>::infinity();
  const float rounded = static_cast<float>(value);
  return static_cast<double>(rounded) < value ? std::nextafter(rounded, std::numeric_limits<float>::infinity())
                                              : rounded;
}

}  // namespace

CandidateCollector::CandidateCollector(const KeyShape& shape, const float* query, uint32_t k, double max_norm,
                                       KeyScorer* scorer)
    : shape_(shape), query_(query), k_(k), scorer_(scorer), capacity_(2 * size_t{k} + kSpare) {
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

void CandidateCollector::AllowSlack(double slack, double floor) {
  slack_ = std::max(slack_, slack);
  slack_floor_ = std::max(slack_floor_, floor);
  capacity_ = std::max(capacity_, kSlackRoom * k_ + kSlackSpare);
  if (shape_.metric != Metric::kInnerProduct) return;
  slack_unit_ = ExactNorm({shape_.metric, Dtype::kF32, shape_.dimension}, reinterpret_cast<const char*>(query_));
}

double CandidateCollector::Slack(double cost) const {
  if (slack_ == 0.0) return 0.0;
  return slack_ * (shape_.metric == Metric::kL2 ? std::sqrt(std::max(0.0, cost) + slack_floor_) : slack_unit_);
}

double CandidateCollector::HighestCost(float cost) const {
  // Codes may say less than nothing of a row that is very near.
  const double possible = shape_.metric == Metric::kL2 ? std::max(0.0F, cost) : cost;
  return (possible + absolute_error_) / (1.0 - relative_error_);
}

void CandidateCollector::LowerCut(double highest) {
  cut_ = std::min(cut_, RoundUp(highest * (1.0 + relative_error_) + absolute_error_ + Slack(highest)));
}

void CandidateCollector::Offer(float cost, uint32_t block, uint64_t position) {
  const bool known = std::isfinite(cost);
  if (!known) ++unknown_;
  costs_.push_back(known ? cost : kUnknown);
  places_.push_back({block, static_cast<uint32_t>(position)});
  ++offered_;
  if (costs_.size() >= capacity_) Compact();
}

void CandidateCollector::OfferAll(absl::Span<const float> costs, uint32_t block, uint64_t first,
                                  absl::Span<const uint32_t> positions) {
  while (!costs.empty()) {
    const size_t old = costs_.size();
    const size_t taken = std::min(costs.size(), std::max(capacity_, old + 1) - old);
    costs_.insert(costs_.end(), costs.begin(), costs.begin() + static_cast<ptrdiff_t>(taken));
    places_.resize(old + taken);
    for (size_t i = 0; i < taken; ++i) {
      places_[old + i] = {block, static_cast<uint32_t>(first + positions[i])};
    }
    offered_ += taken;
    unknown_ += static_cast<size_t>(std::count(costs.begin(), costs.begin() + static_cast<ptrdiff_t>(taken), kUnknown));
    costs.remove_prefix(taken);
    positions.remove_prefix(taken);
    if (costs_.size() >= capacity_) Compact();
  }
}

void CandidateCollector::DropBeyondCut() {
  size_t kept = 0;
  for (size_t i = 0; i < costs_.size(); ++i) {
    costs_[kept] = costs_[i];
    places_[kept] = places_[i];
    kept += costs_[i] <= cut_ ? 1 : 0;
  }
  costs_.resize(kept);
  places_.resize(kept);
}

void CandidateCollector::Compact() {
  // Unknown costs sort first and say nothing about the k-th least.
  const size_t kth = unknown_ + k_;
  if (kth <= costs_.size()) {
    LowerCut(HighestCost(KthSmallest(costs_.data(), costs_.size(), kth)));
    DropBeyondCut();
  }
  // Unless a quarter of the room is free again, the next compaction would come too soon.
  if (costs_.size() <= capacity_ / 4 * 3) return;
  if (by_cost_) return TakeByCost();
  ScoreWaiting();
  KeepBest();
}

void CandidateCollector::ScoreWaiting() {
  std::vector<double> scores(places_.size());
  const KeyScorer::Rows rows{query_, places_, scores.data()};
  scorer_->Score({&rows, 1});
  TakeScores(scores);
}

// They are those of the first that wait.
void CandidateCollector::TakeScores(absl::Span<const double> scores) {
  for (size_t i = 0; i < scores.size(); ++i) {
    const RowPlace& place = places_[i];
    const ScanBlock& block = scorer_->blocks()[place.block];
    unknown_ -= costs_[i] == kUnknown ? 1 : 0;
    ranked_.push_back(
        {scores[i], block.rows.ids[place.position], block.version->partition, place.block, place.position});
  }
  reranked_ += scores.size();
  costs_.erase(costs_.begin(), costs_.begin() + static_cast<ptrdiff_t>(scores.size()));
  places_.erase(places_.begin(), places_.begin() + static_cast<ptrdiff_t>(scores.size()));
}

void CandidateCollector::KeepBest() {
  if (ranked_.size() < k_) return;
  if (ranked_.size() > k_) {
    std::nth_element(ranked_.begin(), ranked_.begin() + (k_ - 1), ranked_.end());
    ranked_.resize(k_);
  }
  double farthest = -std::numeric_limits<double>::infinity();
  for (const RankedRow& row : ranked_) farthest = std::max(farthest, -row.score);
  LowerCut(farthest);
}

void CandidateCollector::TakeByCost() {
  for (size_t i = 0; i < costs_.size(); ++i) {
    const ScanBlock& block = scorer_->blocks()[places_[i].block];
    // A squared distance is not below zero, whatever a code says.
    double score = shape_.metric == Metric::kL2 ? -std::max(0.0, double{costs_[i]}) : -double{costs_[i]};
    if (costs_[i] == kUnknown) {
      const char* key = scorer_->KeyAt(places_[i]);
      ExactScores(shape_, query_, &key, 1, &score);
    }
    ranked_.push_back(
        {score, block.rows.ids[places_[i].position], block.version->partition, places_[i].block, places_[i].position});
  }
  costs_.clear();
  places_.clear();
  unknown_ = 0;
  if (ranked_.size() < k_) return;
  std::nth_element(ranked_.begin(), ranked_.begin() + (k_ - 1), ranked_.end());
  ranked_.resize(k_);
  cut_ = std::min(cut_, RoundUp(-ranked_.back().score));
}

// The k nearest by cost; their number.
size_t CandidateCollector::PutNearestFirst() {
  const float kth = KthSmallest(costs_.data(), costs_.size(), k_);
  size_t nearer = 0;
  for (size_t i = 0; i < costs_.size(); ++i) {
    if (costs_[i] > kth) continue;
    std::swap(costs_[i], costs_[nearer]);
    std::swap(places_[i], places_[nearer]);
    ++nearer;
  }
  return nearer;
}

absl::Span<const RowPlace> CandidateCollector::RowsToScore() {
  if (!finishing_) {
    finishing_ = true;
    if (costs_.size() > k_) Compact();
    if (by_cost_) TakeByCost();
    // The exact scores of the nearest lower the cut for the others.
    if (slack_ > 0.0 && costs_.size() > k_) return {places_.data(), PutNearestFirst()};
  } else if (!costs_.empty()) {
    KeepBest();
    DropBeyondCut();
  }
  return places_;
}

std::vector<RankedRow> CandidateCollector::Ranked() {
  SortRanked(ranked_);
  if (ranked_.size() > k_) ranked_.resize(k_);
  return std::move(ranked_);
}

void SortRanked(std::vector<RankedRow>& ranked) {
  if (ranked.size() < kMinRadixRows) {
    std::sort(ranked.begin(), ranked.end());
    return;
  }
  // By the score rounded to f32, eleven bits at a time; rounding keeps the order but for ties, which are then put
  // right.
  struct Item {
    uint32_t key;
    uint32_t index;
  };
  constexpr size_t kBits = 11;
  constexpr size_t kBuckets = size_t{1} << kBits;
  std::vector<Item> items(ranked.size());
  std::vector<Item> sorted(ranked.size());
  for (uint32_t i = 0; i < ranked.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(-ranked[i].score) + 0.0F);  // one zero
    items[i] = {(bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U, i};
  }
  for (size_t shift = 0; shift < 32; shift += kBits) {
    std::array<uint32_t, kBuckets + 1> starts{};
    for (const Item& item : items) ++starts[(item.key >> shift & (kBuckets - 1)) + 1];
    for (size_t b = 1; b <= kBuckets; ++b) starts[b] += starts[b - 1];
    for (const Item& item : items) sorted[starts[item.key >> shift & (kBuckets - 1)]++] = item;
    items.swap(sorted);
  }
  std::vector<RankedRow> ordered;
  ordered.reserve(ranked.size());
  for (const Item& item : items) ordered.push_back(ranked[item.index]);
  for (size_t begin = 0; begin < items.size();) {
    size_t end = begin + 1;
    while (end < items.size() && items[end].key == items[begin].key) ++end;
    std::sort(ordered.begin() + static_cast<ptrdiff_t>(begin), ordered.begin() + static_cast<ptrdiff_t>(end));
    begin = end;
  }
  ranked.swap(ordered);
}

}  // namespace mneme
