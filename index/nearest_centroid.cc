#include "index/nearest_centroid.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "index/kernels/scan_distance.h"

namespace mneme {
namespace {

// Centroids of one pass: 512 of 128 components are 256 KiB and stay in the second-level cache.
constexpr size_t kCentroidsPerPass = 512;

// Calls visit(first vector, width, first centroid, centroids, costs) for every group of vectors and pass of centroids.
template <typename Visit>
void ForEachPass(const CentroidShape& shape, const float* vectors, size_t count, const float* centroids, size_t lists,
                 const Visit& visit) {
  const KeyShape keys{shape.metric == Metric::kL2 ? Metric::kL2 : Metric::kInnerProduct, Dtype::kF32, shape.dimension};
  std::vector<float> costs(kCentroidsPerPass * kScanQueries);
  for (size_t first = 0; first < count; first += kScanQueries) {
    const size_t taken = std::min(kScanQueries, count - first);
    const size_t width = ScanWidth(taken);
    const float* group[kScanQueries];
    for (size_t q = 0; q < width; ++q) group[q] = vectors + (first + std::min(q, taken - 1)) * shape.dimension;
    for (size_t c = 0; c < lists; c += kCentroidsPerPass) {
      const size_t pass = std::min(kCentroidsPerPass, lists - c);
      ScanCosts(keys, group, width, reinterpret_cast<const char*>(centroids + c * shape.dimension), pass, nullptr,
                costs.data());
      for (size_t q = 0; q < taken; ++q) visit(first + q, c, pass, costs.data() + q, width);
    }
  }
}

}  // namespace

void CentroidCosts(const CentroidShape& shape, const float* vectors, size_t count, const float* centroids, size_t lists,
                   float* costs) {
  ForEachPass(shape, vectors, count, centroids, lists,
              [&](size_t vector, size_t first, size_t pass, const float* strided, size_t stride) {
                float* out = costs + vector * lists + first;
                for (size_t c = 0; c < pass; ++c) out[c] = strided[c * stride];
              });
}

void NearestCentroids(const CentroidShape& shape, const float* vectors, size_t count, const float* centroids,
                      size_t lists, uint32_t* nearest, float* costs) {
  std::vector<float> least(count, std::numeric_limits<float>::infinity());
  std::fill_n(nearest, count, 0U);
  ForEachPass(shape, vectors, count, centroids, lists,
              [&](size_t vector, size_t first, size_t pass, const float* strided, size_t stride) {
                for (size_t c = 0; c < pass; ++c) {
                  if (strided[c * stride] >= least[vector]) continue;
                  least[vector] = strided[c * stride];
                  nearest[vector] = static_cast<uint32_t>(first + c);
                }
              });
  if (costs != nullptr) std::copy(least.begin(), least.end(), costs);
}

}  // namespace mneme
