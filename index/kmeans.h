// K-means by FAISS, whose exceptions and threads stay behind this door.
#ifndef MNEME_INDEX_KMEANS_H_
#define MNEME_INDEX_KMEANS_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/aligned_buffer.h"

namespace mneme {

// Centroids [lists x dimension] f32 of `sample` [count x dimension] f32, by squared Euclidean distance; `spherical`
// keeps them at unit length. Deterministic on one machine; uses the calling thread only. Returns INVALID_ARGUMENT when
// the sample has fewer rows than lists, CANCELLED when `cancelled` (may be empty; asked every few thousand vectors)
// says so, INTERNAL with FAISS's own words when it fails.
enum class CentroidNorm { kFree, kUnit };
absl::StatusOr<AlignedBuffer> TrainCentroids(absl::Span<const float> sample, uint32_t dimension, uint32_t lists,
                                             CentroidNorm norm, const std::function<bool()>& cancelled) noexcept;

}  // namespace mneme

#endif  // MNEME_INDEX_KMEANS_H_
