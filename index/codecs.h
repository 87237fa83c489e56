// The codecs one by one, for codec.cc; see codec.h for what they share.
#ifndef MNEME_INDEX_CODECS_H_
#define MNEME_INDEX_CODECS_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/codec.h"

namespace mneme {

// One byte a component, from the least to the largest of it in the sample.
std::unique_ptr<Codec> TrainInt8Codec(const CodecFrame& frame, absl::Span<const float> residuals);
absl::StatusOr<std::unique_ptr<Codec>> OpenInt8Codec(const CodecFrame& frame, std::string_view parameters);

// Halves of the keys themselves.
std::unique_ptr<Codec> NewHalfCodec(const CodecFrame& frame);

// Product quantisers of four and eight bits.
absl::StatusOr<std::unique_ptr<Codec>> TrainPqCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                    absl::Span<const float> residuals);
absl::StatusOr<std::unique_ptr<Codec>> OpenPqCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                   std::string_view parameters);

// Codes of residuals after a projection that was learnt from them: one byte for each of D principal components (PCA),
// or a product quantiser after a rotation (OPQ).
absl::StatusOr<std::unique_ptr<Codec>> TrainProjectedCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                           absl::Span<const float> residuals);
absl::StatusOr<std::unique_ptr<Codec>> OpenProjectedCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                          std::string_view parameters);

// B bits a component after a rotation; nothing is trained.
std::unique_ptr<Codec> NewRabitqCodec(const CodecChoice& choice, const CodecFrame& frame);

}  // namespace mneme

#endif  // MNEME_INDEX_CODECS_H_
