// Projection: a linear map onto fewer or as many components that keeps products within the subspace it looks at (its
// rows are orthonormal). FAISS learns it and stays behind this door, with its exceptions.
#ifndef MNEME_INDEX_PROJECTION_H_
#define MNEME_INDEX_PROJECTION_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mneme {

// Thread-safe (immutable).
class Projection {
 public:
  // `rows` [to x from].
  Projection(size_t from, size_t to, std::vector<float> rows);
  // The `to` directions in which `sample` [count x from] is longest. Deterministic on one machine. FAILED_PRECONDITION
  // without a sample, INTERNAL with FAISS's own words when it fails. Uses the calling thread only.
  static absl::StatusOr<Projection> Principal(absl::Span<const float> sample, size_t from, size_t to) noexcept;
  // The rotation after which a product quantiser of `columns` columns of `bits` bits errs least on `sample`
  // (non-parametric OPQ: Ge, He, Ke and Sun 2013). As above.
  static absl::StatusOr<Projection> ForQuantiser(absl::Span<const float> sample, size_t from, size_t columns,
                                                 size_t bits) noexcept;

  size_t from() const { return from_; }
  size_t to() const { return to_; }
  absl::Span<const float> rows() const { return rows_; }
  // `vectors` [count x from] to a buffer [count x to].
  std::vector<float> Apply(const float* vectors, size_t count) const;

 private:
  size_t from_;
  size_t to_;
  std::vector<float> rows_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_PROJECTION_H_
