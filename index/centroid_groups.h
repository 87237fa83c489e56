// CentroidGroups: the nearest of many centroids by looking at a few groups of them.
//
// About sqrt(n) groups of neighbouring centroids, made by k-means over the centroids. A vector is compared with all
// group centres and with the members of the nearest few of them: for 2,392 centroids with 48 + 300 instead of all.
// Some vectors then join the second nearest centroid instead of the nearest; which, depends on the vector alone.
#ifndef MNEME_INDEX_CENTROID_GROUPS_H_
#define MNEME_INDEX_CENTROID_GROUPS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/aligned_buffer.h"
#include "index/nearest_centroid.h"

namespace mneme {

// Thread-safe once made.
class CentroidGroups {
 public:
  // Fewer centroids are compared one by one.
  static constexpr size_t kMinCentroids = 512;

  // Copies `centroids` [count x shape.dimension].
  CentroidGroups(const CentroidShape& shape, const float* centroids, size_t count);

  // nearest[i]: a centroid near to vectors[i] [count x dimension], the nearest with few exceptions. `costs` [count],
  // when not null: its squared distance or negated product.
  void Assign(const float* vectors, size_t count, uint32_t* nearest, float* costs) const;

 private:
  void AssignSome(const float* vectors, size_t count, uint32_t* nearest, float* costs) const;

  CentroidShape shape_;
  size_t groups_ = 0;
  AlignedBuffer members_;              // the centroids, group by group
  std::vector<uint32_t> begins_;       // [groups + 1]: group g has the members [begins[g], begins[g + 1])
  std::vector<uint32_t> numbers_;      // of the members, as they were given
  std::vector<float> offsets_;         // L2: half the squared norm of each member; else 0
  AlignedBuffer centres_;              // [groups x dimension]
  std::vector<float> centre_offsets_;  // as offsets_
};

}  // namespace mneme

#endif  // MNEME_INDEX_CENTROID_GROUPS_H_
