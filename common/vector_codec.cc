#include "common/vector_codec.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace mneme {

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1FU;
  const uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  // Zero and subnormal halves: mantissa x 2^-24, exact in f32.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U);  // NaN
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);  // rounds to 65536 or more
  if (magnitude < 0x38800000U) {
    // Below the smallest normal half: let f32 addition round to a multiple of 2^-24, ties to even.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(0.5F)));
  }
  const uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

void DecodeVector(Dtype dtype, const char* packed, size_t count, float* out) {
  switch (dtype) {
    case Dtype::kF32:
      std::memcpy(out, packed, count * sizeof(float));
      return;
    case Dtype::kF16:
      for (size_t i = 0; i < count; ++i) {
        uint16_t half;
        std::memcpy(&half, packed + 2 * i, sizeof(half));
        out[i] = HalfToFloat(half);
      }
      return;
    case Dtype::kBF16:
      for (size_t i = 0; i < count; ++i) {
        uint16_t upper;
        std::memcpy(&upper, packed + 2 * i, sizeof(upper));
        out[i] = std::bit_cast<float>(static_cast<uint32_t>(upper) << 16);
      }
      return;
  }
}

void EncodeVector(Dtype dtype, const float* values, size_t count, char* packed) {
  if (dtype == Dtype::kF32) {
    std::memcpy(packed, values, count * sizeof(float));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    const uint16_t half = FloatToHalf(values[i]);
    std::memcpy(packed + 2 * i, &half, sizeof(half));
  }
}

size_t FindUnacceptable(const float* values, size_t count, float bound) {
  for (size_t i = 0; i < count; ++i) {
    if (!(std::fabs(values[i]) <= bound)) return i;
  }
  return count;
}

bool AllHalvesFinite(const char* packed, size_t count) {
  // The exponent of NaN and infinity is all ones; nothing else reaches it. Without a branch, so that it vectorises.
  constexpr uint16_t kExponent = 0x7C00U;
  uint16_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, packed + 2 * i, sizeof(half));
    found |= static_cast<uint16_t>((half & kExponent) == kExponent);
  }
  return found == 0;
}

}  // namespace mneme
