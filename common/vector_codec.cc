#include "common/vector_codec.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace mneme {

namespace {

// Components of one turn: a loop of a known length vectorises.
constexpr size_t kTogether = 16;

// Without a branch, for the same reason.
inline float Widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t magnitude = half & 0x7FFFU;
  // NaN and infinity: the exponent becomes all ones again.
  const uint32_t endless = (0U - static_cast<uint32_t>(magnitude >= 0x7C00U)) & 0x7F800000U;
  const uint32_t normal = ((magnitude << 13) + (112U << 23)) | endless;
  // Zero and subnormal halves: mantissa x 2^-24, exact in f32.
  const uint32_t small = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24F);
  const uint32_t is_small = 0U - static_cast<uint32_t>(magnitude < 0x400U);
  return std::bit_cast<float>(sign | (small & is_small) | (normal & ~is_small));
}

}  // namespace

float HalfToFloat(uint16_t half) { return Widen(half); }

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
      for (; count >= kTogether; count -= kTogether, packed += 2 * kTogether, out += kTogether) {
        uint16_t halves[kTogether];
        std::memcpy(halves, packed, sizeof(halves));
        for (size_t i = 0; i < kTogether; ++i) out[i] = Widen(halves[i]);
      }
      for (size_t i = 0; i < count; ++i) {
        uint16_t half;
        std::memcpy(&half, packed + 2 * i, sizeof(half));
        out[i] = Widen(half);
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
