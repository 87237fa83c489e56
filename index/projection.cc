#include "index/projection.h"

#include <faiss/VectorTransform.h>
#include <faiss/impl/ProductQuantizer.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "index/nearest_centroid.h"
#include "index/one_openmp_thread.h"

// OpenBLAS alone has it; another BLAS keeps its own threads.
extern "C" void openblas_set_num_threads(int threads) __attribute__((weak));

namespace mneme {
namespace {

// Of OPQ: more change the rotation little, and each costs a training of all columns and a singular value decomposition.
constexpr int kRounds = 12;
constexpr size_t kOpqRows = 8192;

// Rows of `sample`, evenly taken when there are more than `most`, and again from the start when there are fewer than
// `least`: FAISS refuses to find more directions or sub-vectors than it has rows.
std::vector<float> Rows(absl::Span<const float> sample, size_t dimension, size_t least, size_t most) {
  const size_t count = sample.size() / dimension;
  const size_t taken = std::min(count, most);
  std::vector<float> rows;
  rows.reserve(std::max(least, taken) * dimension);
  for (size_t i = 0; i < std::max(least, taken); ++i) {
    const float* row = sample.data() + i % taken * count / taken * dimension;
    rows.insert(rows.end(), row, row + dimension);
  }
  return rows;
}

Projection Learn(faiss::LinearTransform& transform, const std::vector<float>& rows) {
  const OneOpenMpThread one_thread;
  // A setting of the whole process, in which nothing else calls BLAS: its threads would take the searches' cores.
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  const size_t from = static_cast<size_t>(transform.d_in);
  const size_t to = static_cast<size_t>(transform.d_out);
  transform.train(static_cast<faiss::Index::idx_t>(rows.size() / from), rows.data());
  return {from, to, {transform.A.begin(), transform.A.begin() + static_cast<ptrdiff_t>(from * to)}};
}

absl::Status Failed(const char* what, const std::exception& error) {
  return absl::InternalError(absl::StrCat(what, " failed: ", error.what()));
}

absl::Status NoSample() { return absl::FailedPreconditionError("no row is left to learn a projection from"); }

}  // namespace

Projection::Projection(size_t from, size_t to, std::vector<float> rows)
    : from_(from), to_(to), rows_(std::move(rows)) {}

absl::StatusOr<Projection> Projection::Principal(absl::Span<const float> sample, size_t from, size_t to) noexcept {
  if (sample.empty()) return NoSample();
  try {
    faiss::PCAMatrix transform(static_cast<int>(from), static_cast<int>(to));
    return Learn(transform, Rows(sample, from, from, sample.size() / from));
  } catch (const std::exception& error) {
    return Failed("PCA", error);
  }
}

absl::StatusOr<Projection> Projection::ForQuantiser(absl::Span<const float> sample, size_t from, size_t columns,
                                                    size_t bits) noexcept {
  if (sample.empty()) return NoSample();
  try {
    faiss::ProductQuantizer quantiser(from, columns, bits);
    quantiser.cp.min_points_per_centroid = 1;  // fewer would only print a warning
    faiss::OPQMatrix transform(static_cast<int>(from), static_cast<int>(columns));
    transform.pq = &quantiser;
    transform.niter = kRounds;
    transform.max_train_points = kOpqRows;
    return Learn(transform, Rows(sample, from, std::max(from, size_t{1} << bits), kOpqRows));
  } catch (const std::exception& error) {
    return Failed("OPQ", error);
  }
}

std::vector<float> Projection::Apply(const float* vectors, size_t count) const {
  std::vector<float> out(count * to_);
  CentroidCosts({Metric::kInnerProduct, from_}, vectors, count, rows_.data(), to_, out.data());
  for (float& component : out) component = -component;  // a cost is a negated product
  return out;
}

}  // namespace mneme
