// Vectors are compared by half of |c|^2 - 2 x.c, one multiplication a component where a squared difference has two
// operations; its rounding decides only between centroids that are as good as each other.
#include "index/centroid_groups.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "index/kernels/kth_smallest.h"
#include "index/kernels/scan_distance.h"
#include "index/kmeans.h"

namespace mneme {
namespace {

// Of the groups, the share that a vector is compared with, and at least so many.
constexpr size_t kSearchedOneIn = 8;
constexpr size_t kSearchedAtLeast = 4;
// Vectors whose wishes are sorted by group together: enough that a group is read for many at once.
constexpr size_t kBatch = 4096;

std::vector<float> Offsets(const CentroidShape& shape, const float* centroids, size_t count) {
  std::vector<float> offsets(count, 0.0F);
  if (shape.metric != Metric::kL2) return offsets;
  for (size_t c = 0; c < count; ++c) {
    const float* centroid = centroids + c * shape.dimension;
    offsets[c] = static_cast<float>(0.5 * std::inner_product(centroid, centroid + shape.dimension, centroid, 0.0));
  }
  return offsets;
}

// Products of huge components may be infinite, and their sum no number: as far as can be.
float Tame(float cost) {
  constexpr float kFarthest = std::numeric_limits<float>::max();
  return cost >= -kFarthest && cost <= kFarthest ? cost : kFarthest;
}

// Compares up to kScanQueries vectors with `count` centroids side by side.
class Comparison {
 public:
  explicit Comparison(size_t dimension) : shape_{Metric::kInnerProduct, Dtype::kF32, dimension} {}

  // costs()[i * kScanQueries + q], less the offset of centroid i.
  void Run(const float* const* vectors, const float* centroids, size_t count) {
    costs_.resize(std::max(costs_.size(), count * kScanQueries));
    ScanCosts(shape_, vectors, kScanQueries, reinterpret_cast<const char*>(centroids), count, nullptr, costs_.data());
  }
  const float* costs() const { return costs_.data(); }

 private:
  KeyShape shape_;
  std::vector<float> costs_;
};

}  // namespace

CentroidGroups::CentroidGroups(const CentroidShape& shape, const float* centroids, size_t count)
    : shape_(shape), groups_(std::max<size_t>(1, static_cast<size_t>(std::sqrt(static_cast<double>(count))))) {
  const size_t d = shape.dimension;
  const CentroidNorm norm = shape.metric == Metric::kCosine ? CentroidNorm::kUnit : CentroidNorm::kFree;
  absl::StatusOr<AlignedBuffer> centres =
      TrainCentroids({centroids, count * d}, static_cast<uint32_t>(d), static_cast<uint32_t>(groups_), norm, {});
  if (centres.ok()) {
    centres_ = *std::move(centres);
  } else {  // one group of all
    groups_ = 1;
    centres_.Append({reinterpret_cast<const char*>(centroids), d * sizeof(float)});
  }
  centre_offsets_ = Offsets(shape, centres_.as<float>(), groups_);
  std::vector<uint32_t> group_of(count);
  NearestCentroids(shape, centroids, count, centres_.as<float>(), groups_, group_of.data(), nullptr);
  begins_.assign(groups_ + 1, 0);
  for (const uint32_t group : group_of) ++begins_[group + 1];
  std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
  numbers_.resize(count);
  members_.Resize(count * d * sizeof(float));
  std::vector<uint32_t> next(begins_.begin(), begins_.end() - 1);
  for (uint32_t c = 0; c < count; ++c) {
    const uint32_t place = next[group_of[c]]++;
    numbers_[place] = c;
    std::memcpy(members_.as<float>() + place * d, centroids + c * d, d * sizeof(float));
  }
  offsets_ = Offsets(shape, members_.as<float>(), count);
}

void CentroidGroups::Assign(const float* vectors, size_t count, uint32_t* nearest, float* costs) const {
  for (size_t first = 0; first < count; first += kBatch) {
    AssignSome(vectors + first * shape_.dimension, std::min(kBatch, count - first), nearest + first,
               costs == nullptr ? nullptr : costs + first);
  }
}

void CentroidGroups::AssignSome(const float* vectors, size_t count, uint32_t* nearest, float* costs) const {
  const size_t d = shape_.dimension;
  const size_t searched = std::min(groups_, std::max(kSearchedAtLeast, groups_ / kSearchedOneIn));
  Comparison comparison(d);

  // The groups of each vector.
  std::vector<uint32_t> wishes(count * searched);
  std::vector<uint32_t> ends(groups_ + 1, 0);
  std::vector<float> own(groups_);
  const float* group[kScanQueries];
  for (size_t first = 0; first < count; first += kScanQueries) {
    const size_t taken = std::min(kScanQueries, count - first);
    for (size_t q = 0; q < kScanQueries; ++q) group[q] = vectors + (first + std::min(q, taken - 1)) * d;
    comparison.Run(group, centres_.as<float>(), groups_);
    for (size_t q = 0; q < taken; ++q) {
      for (size_t g = 0; g < groups_; ++g) own[g] = Tame(comparison.costs()[g * kScanQueries + q] + centre_offsets_[g]);
      const float last = KthSmallest(own.data(), groups_, searched);
      // Of groups as far as the last, those with the lowest numbers.
      size_t nearer = std::count_if(own.begin(), own.end(), [last](float cost) { return cost < last; });
      uint32_t* wish = wishes.data() + (first + q) * searched;
      for (uint32_t g = 0; g < groups_; ++g) {
        if (own[g] > last || (own[g] == last && nearer++ >= searched)) continue;
        *wish++ = g;
        ++ends[g + 1];
      }
    }
  }

  // Who wants which group, by a counting sort.
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<uint32_t> wanting(ends.back());
  std::vector<uint32_t> next(ends.begin(), ends.end() - 1);
  for (size_t i = 0; i < wishes.size(); ++i) wanting[next[wishes[i]]++] = static_cast<uint32_t>(i / searched);

  std::vector<float> least(count, std::numeric_limits<float>::infinity());
  std::vector<uint32_t> places(count, 0);
  float group_least[kScanQueries];
  uint32_t group_places[kScanQueries];
  for (size_t g = 0; g < groups_; ++g) {
    const size_t size = begins_[g + 1] - begins_[g];
    for (size_t first = ends[g]; first < ends[g + 1] && size > 0; first += kScanQueries) {
      const size_t taken = std::min<size_t>(kScanQueries, ends[g + 1] - first);
      for (size_t q = 0; q < kScanQueries; ++q) {
        const uint32_t vector = wanting[first + std::min(q, taken - 1)];
        group[q] = vectors + size_t{vector} * d;
        group_least[q] = least[vector];
        group_places[q] = places[vector];
      }
      comparison.Run(group, members_.as<float>() + begins_[g] * d, size);
      KeepLeast(comparison.costs(), offsets_.data() + begins_[g], size, begins_[g], group_least, group_places);
      for (size_t q = 0; q < taken; ++q) {
        least[wanting[first + q]] = group_least[q];
        places[wanting[first + q]] = group_places[q];
      }
    }
  }
  for (size_t i = 0; i < count; ++i) {
    nearest[i] = numbers_[places[i]];
    if (costs == nullptr) continue;
    const float* vector = vectors + i * d;
    costs[i] = least[i];
    if (shape_.metric != Metric::kL2) continue;
    const double square = std::inner_product(vector, vector + d, vector, 0.0);
    costs[i] = static_cast<float>(std::max(0.0, square + 2.0 * least[i]));
  }
}

}  // namespace mneme
