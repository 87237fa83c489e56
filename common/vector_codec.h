// Packed vector codecs: little-endian f32, f16 and bf16 as they travel and as they are stored.
#ifndef MNEME_COMMON_VECTOR_CODEC_H_
#define MNEME_COMMON_VECTOR_CODEC_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/types.h"

namespace mneme {

// IEEE 754 binary16 <-> binary32; to half rounds to nearest even, overflow becomes infinity.
float HalfToFloat(uint16_t half);
uint16_t FloatToHalf(float value);

// Reads `count` packed components at `packed` (any alignment) into `out`. Exact for every dtype.
void DecodeVector(Dtype dtype, const char* packed, size_t count, float* out);

// Writes `count` components as `dtype` (kF32 or kF16), rounding to nearest even.
void EncodeVector(Dtype dtype, const float* values, size_t count, char* packed);

// The index of the first component that is NaN, infinite or of magnitude above `bound`; `count` when there is none.
size_t FindUnacceptable(const float* values, size_t count, float bound);

// True when none of `count` packed halves is NaN or infinite.
bool AllHalvesFinite(const char* packed, size_t count);

}  // namespace mneme

#endif  // MNEME_COMMON_VECTOR_CODEC_H_
