// Codes after a projection W with orthonormal rows. A residual r is coded as y^, the code of y = W r, and r^ = W^T y^.
// So every product is one of projections, <q', r^> = <W q', y^>, and the code of another codec on keys, centroids and
// mean that went through W is a code of r, with the same split of its cost.
//
// PCA leaves out what r has outside of its subspace. For L2 its square, |r|^2 - |y|^2, is known when a row is coded and
// goes into the row's term; what is lost is only its product with the query's own part outside.
#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "index/codecs.h"
#include "index/kernels/int8_scan.h"
#include "index/projection.h"

namespace mneme {
namespace {

// A loss below this share of the mean squared residual is rounding.
constexpr double kLeastLoss = 1e-3;

double SquaredNorm(const float* vector, size_t dimension) {
  double squares = 0.0;
  for (size_t i = 0; i < dimension; ++i) squares += double{vector[i]} * vector[i];
  return squares;
}

// What else a projection learns.
struct Projected {
  Projection projection;
  double mean_squared_loss = 0.0;  // of the sample: what residuals have outside of the subspace
};

// What the inner codec is made from. It wants the mean of its centroids: `mean`, which must live until it is made.
CodecFrame InnerFrame(const CodecFrame& frame, const Projection& projection, const std::vector<float>& mean) {
  CodecFrame inner = frame;
  inner.spec.dimension = static_cast<uint32_t>(projection.to());
  inner.centroids = mean;
  return inner;
}

class ProjectedCodec final : public Codec {
 public:
  ProjectedCodec(const CodecChoice& choice, const CodecFrame& frame, Projected projected, std::unique_ptr<Codec> inner)
      : choice_(choice), frame_(frame), projected_(std::move(projected)), inner_(std::move(inner)) {}

  CodecChoice choice() const override { return choice_; }
  size_t block_bytes() const override { return inner_->block_bytes(); }

  std::string Parameters() const override {
    const absl::Span<const float> rows = projection().rows();
    std::string bytes(reinterpret_cast<const char*>(&projected_.mean_squared_loss), sizeof(double));
    bytes.append(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(float));
    return bytes + inner_->Parameters();
  }

  void Encode(const float* centroid, const float* keys, size_t count, char* block) const override {
    const std::vector<float> turned_centroid = projection().Apply(centroid, 1);
    const std::vector<float> turned_keys = projection().Apply(keys, count);
    inner_->Encode(turned_centroid.data(), turned_keys.data(), count, block);
    if (choice_.kind != CodecKind::kPca) return;
    const size_t from = projection().from();
    const size_t to = projection().to();
    std::vector<float> residuals(keys, keys + count * from);
    for (size_t i = 0; i < residuals.size(); ++i) residuals[i] -= centroid[i % from];
    const std::vector<float> kept = projection().Apply(residuals.data(), count);
    for (size_t row = 0; row < count; ++row) {
      const double loss = SquaredNorm(residuals.data() + row * from, from) - SquaredNorm(kept.data() + row * to, to);
      AddLoss(std::max(0.0, loss), block + Int8TermOffset(to, row));
    }
  }

  // The inner codecs copy what they take of a query.
  std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t count) const override {
    return inner_->Prepare(projection().Apply(queries, count).data(), count);
  }

 private:
  const Projection& projection() const { return projected_.projection; }

  void AddLoss(double loss, char* at) const {
    float term = 0.0F;
    std::memcpy(&term, at, sizeof(term));
    if (frame_.IsL2()) term += static_cast<float>(loss);
    const double usual = std::max(projected_.mean_squared_loss, kLeastLoss * frame_.mean_squared_residual);
    if (loss > CodecFrame::kFarOut * usual) term = -std::numeric_limits<float>::infinity();
    std::memcpy(at, &term, sizeof(term));
  }

  const CodecChoice choice_;
  const CodecFrame frame_;
  const Projected projected_;
  const std::unique_ptr<Codec> inner_;
};

absl::StatusOr<std::unique_ptr<Codec>> TrainInner(const CodecChoice& choice, const CodecFrame& frame,
                                                  absl::Span<const float> residuals) {
  if (choice.kind == CodecKind::kPca) return TrainInt8Codec(frame, residuals);
  return TrainPqCodec({CodecKind::kPq, choice.columns, choice.bits}, frame, residuals);
}

absl::StatusOr<std::unique_ptr<Codec>> OpenInner(const CodecChoice& choice, const CodecFrame& frame,
                                                 std::string_view parameters) {
  if (choice.kind == CodecKind::kPca) return OpenInt8Codec(frame, parameters);
  return OpenPqCodec({CodecKind::kPq, choice.columns, choice.bits}, frame, parameters);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Codec>> TrainProjectedCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                           absl::Span<const float> residuals) {
  const size_t d = frame.spec.dimension;
  const bool pca = choice.kind == CodecKind::kPca;
  ASSIGN_OR_RETURN(Projection projection, pca ? Projection::Principal(residuals, d, choice.columns)
                                              : Projection::ForQuantiser(residuals, d, choice.columns, choice.bits));
  const size_t count = residuals.size() / d;
  const std::vector<float> kept = projection.Apply(residuals.data(), count);
  const double lost = SquaredNorm(residuals.data(), residuals.size()) - SquaredNorm(kept.data(), kept.size());
  const std::vector<float> mean = projection.Apply(frame.Mean().data(), 1);
  ASSIGN_OR_RETURN(std::unique_ptr<Codec> inner, TrainInner(choice, InnerFrame(frame, projection, mean), kept));
  Projected projected{std::move(projection), std::max(0.0, lost / static_cast<double>(count))};
  return std::unique_ptr<Codec>(
      std::make_unique<ProjectedCodec>(choice, frame, std::move(projected), std::move(inner)));
}

absl::StatusOr<std::unique_ptr<Codec>> OpenProjectedCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                          std::string_view parameters) {
  const size_t d = frame.spec.dimension;
  const size_t kept = choice.kind == CodecKind::kPca ? choice.columns : d;
  const bool possible = kept != 0 && kept <= d && d <= limits::kMaxProjectedDimension;
  const size_t bytes = possible ? sizeof(double) + kept * d * sizeof(float) : 0;
  if (!possible || parameters.size() < bytes) {
    return absl::DataLossError(absl::StrCat("a projection of ", d, " components to ", kept, " has ", parameters.size(),
                                            " bytes of parameters; must have at least ", bytes));
  }
  double mean_squared_loss = 0.0;
  std::vector<float> rows(kept * d);
  std::memcpy(&mean_squared_loss, parameters.data(), sizeof(double));
  std::memcpy(rows.data(), parameters.data() + sizeof(double), rows.size() * sizeof(float));
  Projected projected{{d, kept, std::move(rows)}, mean_squared_loss};
  const std::vector<float> mean = projected.projection.Apply(frame.Mean().data(), 1);
  ASSIGN_OR_RETURN(std::unique_ptr<Codec> inner,
                   OpenInner(choice, InnerFrame(frame, projected.projection, mean), parameters.substr(bytes)));
  return std::unique_ptr<Codec>(
      std::make_unique<ProjectedCodec>(choice, frame, std::move(projected), std::move(inner)));
}

}  // namespace mneme
