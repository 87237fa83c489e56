#include "index/kmeans.h"

#include <faiss/Clustering.h>

#include <cstring>
#include <algorithm>
#include <exception>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "index/centroid_groups.h"
#include "index/nearest_centroid.h"
#include "index/one_openmp_thread.h"

namespace mneme {
namespace {

constexpr int kIterations = 10;
constexpr int kSeed = 20;
// Vectors assigned between two questions whether to go on: some tens of milliseconds.
constexpr size_t kVectorsBetweenStops = 4096;

// Leaves FAISS's loop when the training was cancelled.
struct CancelledTraining : std::exception {};

// The assignment step of FAISS's k-means with our kernels: Debian's FAISS would go through BLAS, whose threads are a
// setting of the whole process.
class CentroidIndex final : public faiss::Index {
 public:
  CentroidIndex(uint32_t dimension, const std::function<bool()>& cancelled)
      : faiss::Index(dimension), cancelled_(cancelled) {}

  void add(idx_t n, const float* x) override {
    centroids_.insert(centroids_.end(), x, x + n * d);
    ntotal += n;
  }
  void reset() override {
    centroids_.clear();
    ntotal = 0;
  }
  void search(idx_t n, const float* x, idx_t /*k is 1*/, float* distances, idx_t* labels,
              const faiss::SearchParameters* /*params*/) const override {
    const size_t count = static_cast<size_t>(n);
    const size_t lists = static_cast<size_t>(ntotal);
    std::vector<uint32_t> nearest(count);
    const CentroidShape shape{Metric::kL2, static_cast<size_t>(d)};
    std::optional<CentroidGroups> groups;
    if (lists >= CentroidGroups::kMinCentroids) groups.emplace(shape, centroids_.data(), lists);
    for (size_t first = 0; first < count; first += kVectorsBetweenStops) {
      if (cancelled_ && cancelled_()) throw CancelledTraining();
      const size_t some = std::min(kVectorsBetweenStops, count - first);
      if (groups) {
        groups->Assign(x + first * d, some, nearest.data() + first, distances + first);
      } else {
        NearestCentroids(shape, x + first * d, some, centroids_.data(), lists, nearest.data() + first,
                         distances + first);
      }
    }
    for (size_t i = 0; i < nearest.size(); ++i) labels[i] = nearest[i];
  }

 private:
  const std::function<bool()>& cancelled_;
  std::vector<float> centroids_;
};

AlignedBuffer RunFaiss(absl::Span<const float> sample, uint32_t dimension, uint32_t lists, CentroidNorm norm,
                       const std::function<bool()>& cancelled) {
  const OneOpenMpThread one_thread;
  faiss::ClusteringParameters parameters;
  parameters.niter = kIterations;
  parameters.seed = kSeed;
  parameters.spherical = norm == CentroidNorm::kUnit;
  parameters.min_points_per_centroid = 1;  // fewer would only print a warning
  parameters.max_points_per_centroid = 1 << 20;  // the caller chose the sample
  faiss::Clustering clustering(static_cast<int>(dimension), static_cast<int>(lists), parameters);
  CentroidIndex index(dimension, cancelled);
  clustering.train(static_cast<faiss::Index::idx_t>(sample.size() / dimension), sample.data(), index);
  AlignedBuffer centroids(clustering.centroids.size() * sizeof(float));
  std::memcpy(centroids.data(), clustering.centroids.data(), centroids.size());
  return centroids;
}

}  // namespace

absl::StatusOr<AlignedBuffer> TrainCentroids(absl::Span<const float> sample, uint32_t dimension, uint32_t lists,
                                             CentroidNorm norm, const std::function<bool()>& cancelled) noexcept {
  if (dimension == 0 || lists == 0 || sample.size() / dimension < lists) {
    return absl::InvalidArgumentError(absl::StrCat("lists is ", lists, "; must be in [1, rows of the sample]"));
  }
  try {
    return RunFaiss(sample, dimension, lists, norm, cancelled);
  } catch (const CancelledTraining&) {
    return absl::CancelledError("the training was cancelled");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("k-means failed: ", error.what()));
  }
}

}  // namespace mneme
