// Distances from a few vectors to many centroids, in blocks, by the fast pass.
#ifndef MNEME_INDEX_NEAREST_CENTROID_H_
#define MNEME_INDEX_NEAREST_CENTROID_H_

#include <cstddef>
#include <cstdint>

#include "common/types.h"

namespace mneme {

// How a vector is compared with a centroid.
struct CentroidShape {
  Metric metric = Metric::kL2;  // kL2: nearest by distance; else by inner product
  size_t dimension = 0;
};

// costs [count x lists]: smaller is nearer.
void CentroidCosts(const CentroidShape& shape, const float* vectors, size_t count, const float* centroids, size_t lists,
                   float* costs);

// nearest[i]: the centroid with the least cost, the lower number of equal ones. `costs` [count], when not null: that
// cost.
void NearestCentroids(const CentroidShape& shape, const float* vectors, size_t count, const float* centroids,
                      size_t lists, uint32_t* nearest, float* costs);

}  // namespace mneme

#endif  // MNEME_INDEX_NEAREST_CENTROID_H_
