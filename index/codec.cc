#include "index/codec.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "index/codecs.h"

namespace mneme {
namespace {

// Up to here a byte a component is read faster than exact distances of the candidates of shorter codes are computed.
constexpr uint32_t kInt8Dimension = 512;

}  // namespace

std::vector<float> CodecFrame::Mean() const {
  std::vector<float> mean(spec.dimension, 0.0F);
  if (!IsL2() || centroids.empty()) return mean;
  std::vector<double> sums(spec.dimension, 0.0);
  const size_t lists = centroids.size() / spec.dimension;
  for (size_t list = 0; list < lists; ++list) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += centroids[list * sums.size() + i];
  }
  for (size_t i = 0; i < sums.size(); ++i) mean[i] = static_cast<float>(sums[i] / static_cast<double>(lists));
  return mean;
}

CodecChoice ResolveCodec(const CodecChoice& choice, const IndexSpec& spec) {
  const bool halves_of_halves = choice.kind == CodecKind::kF16 && spec.key_dtype == Dtype::kF16;
  if (halves_of_halves) return {CodecKind::kFlat, 0, 0};
  if (choice.kind != CodecKind::kAuto) return choice;
  if (spec.dimension <= kInt8Dimension) return {CodecKind::kInt8, 0, 0};
  return {CodecKind::kRabitq, 0, 1};
}

absl::StatusOr<std::unique_ptr<Codec>> TrainCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                  absl::Span<const float> residuals) {
  switch (choice.kind) {
    case CodecKind::kAuto:
    case CodecKind::kFlat: break;
    case CodecKind::kF16: return NewHalfCodec(frame);
    case CodecKind::kInt8: return TrainInt8Codec(frame, residuals);
    case CodecKind::kPq: return TrainPqCodec(choice, frame, residuals);
    case CodecKind::kRabitq: return NewRabitqCodec(choice, frame);
    case CodecKind::kPca:
    case CodecKind::kOpq: return TrainProjectedCodec(choice, frame, residuals);
  }
  return std::unique_ptr<Codec>();
}

absl::StatusOr<std::unique_ptr<Codec>> OpenCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                 std::string_view parameters) {
  switch (choice.kind) {
    case CodecKind::kFlat: return std::unique_ptr<Codec>();
    case CodecKind::kF16: return NewHalfCodec(frame);
    case CodecKind::kInt8: return OpenInt8Codec(frame, parameters);
    case CodecKind::kPq: return OpenPqCodec(choice, frame, parameters);
    case CodecKind::kPca:
    case CodecKind::kOpq: return OpenProjectedCodec(choice, frame, parameters);
    case CodecKind::kRabitq:
      if (choice.bits == 0 || choice.bits > limits::kMaxRabitqBits) break;
      return NewRabitqCodec(choice, frame);
    case CodecKind::kAuto: break;
  }
  return absl::DataLossError(
      absl::StrCat("codec ", static_cast<int>(choice.kind), " of ", choice.bits, " bits is unknown"));
}

}  // namespace mneme
