#include "common/vector_codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <iostream>
#include <limits>
#include <random>
#include <vector>

namespace mneme {
namespace {

// The definition of binary16, in double arithmetic: an oracle with no bit tricks.
double HalfValue(uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const int mantissa = half & 0x3FF;
  const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

bool IsNanHalf(uint16_t half) { return (half & 0x7C00) == 0x7C00 && (half & 0x3FF) != 0; }

TEST(VectorCodecTest, AllHalvesDecodeToTheirValues) {
  for (uint32_t bits = 0; bits < 65'536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (IsNanHalf(half)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(value), HalfValue(half)) << bits;
      ASSERT_EQ(std::signbit(value), (half & 0x8000) != 0) << bits;
    }
  }
}

TEST(VectorCodecTest, AllHalvesComeBackFromFloat) {
  for (uint32_t bits = 0; bits < 65'536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (IsNanHalf(half)) {
      ASSERT_TRUE(IsNanHalf(FloatToHalf(HalfToFloat(half)))) << bits;
    } else {
      ASSERT_EQ(FloatToHalf(HalfToFloat(half)), half) << bits;
    }
  }
}

// Between any two neighbouring halves lie three floats that decide: just below the middle, the middle, just above it.
TEST(VectorCodecTest, RoundsToTheNearestHalfAndTiesToEven) {
  for (uint16_t low = 0; low < 0x7C00; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    // Above the largest finite half, IEEE 754 puts infinity where 65536 would be.
    const double upper = high == 0x7C00 ? 65'536.0 : HalfValue(high);
    const auto middle = static_cast<float>((HalfValue(low) + upper) / 2);
    ASSERT_EQ(static_cast<double>(middle), (HalfValue(low) + upper) / 2);
    const uint16_t even = (low & 1) == 0 ? low : high;
    ASSERT_EQ(FloatToHalf(middle), even) << low;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0F)), low) << low;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, INFINITY)), high) << low;
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000) << low;
  }
}

TEST(VectorCodecTest, ExtremesBecomeZeroOrInfinity) {
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(FloatToHalf(-0.0F), 0x8000);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::max()), 0x7C00);
  EXPECT_EQ(FloatToHalf(-INFINITY), 0xFC00);
  EXPECT_TRUE(IsNanHalf(FloatToHalf(NAN)));
}

TEST(VectorCodecTest, DecodesEveryDtypeFromAnyAlignment) {
  const std::vector<float> values = {1.0F, -2.5F, 0.0F, 65'504.0F, 0x1p-24F};
  for (const size_t shift : {0, 1, 2, 3}) {
    std::vector<char> packed(shift + 4 * values.size());
    std::vector<float> out(values.size());
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16}) {
      EncodeVector(dtype, values.data(), values.size(), packed.data() + shift);
      DecodeVector(dtype, packed.data() + shift, values.size(), out.data());
      EXPECT_EQ(out, values);
    }
    const uint16_t brain[] = {0x3F80, 0xC020, 0x7F80};
    std::memcpy(packed.data() + shift, brain, sizeof(brain));
    DecodeVector(Dtype::kBF16, packed.data() + shift, 3, out.data());
    EXPECT_EQ(out[0], 1.0F);
    EXPECT_EQ(out[1], -2.5F);
    EXPECT_EQ(out[2], INFINITY);
  }
}

TEST(VectorCodecTest, EncodesAsTheOneByOneFunctionsDo) {
  const uint32_t seed = 7;
  std::cout << "seed " << seed << std::endl;
  std::mt19937 random(seed);
  std::vector<float> values(4096);
  for (float& value : values) value = std::bit_cast<float>(static_cast<uint32_t>(random()));
  std::vector<uint16_t> packed(values.size());
  EncodeVector(Dtype::kF16, values.data(), values.size(), reinterpret_cast<char*>(packed.data()));
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(packed[i], FloatToHalf(values[i])) << i;
}

TEST(VectorCodecTest, FindsTheFirstUnacceptableComponent) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values = {1.0F, -10.0F, 10.5F, nan};
  EXPECT_EQ(FindUnacceptable(values.data(), 4, 10.0F), 2U);
  EXPECT_EQ(FindUnacceptable(values.data(), 4, 11.0F), 3U);
  EXPECT_EQ(FindUnacceptable(values.data(), 2, 10.0F), 2U);
  const float infinite = -INFINITY;
  EXPECT_EQ(FindUnacceptable(&infinite, 1, std::numeric_limits<float>::max()), 0U);
  EXPECT_EQ(FindUnacceptable(nullptr, 0, 1.0F), 0U);
}

TEST(VectorCodecTest, TellsFiniteHalvesFromTheOthers) {
  for (uint32_t bits = 0; bits < 65'536; ++bits) {
    std::vector<uint16_t> halves(37, 0x3C00U);
    halves[bits % halves.size()] = static_cast<uint16_t>(bits);
    const bool finite = std::isfinite(HalfToFloat(static_cast<uint16_t>(bits)));
    ASSERT_EQ(AllHalvesFinite(reinterpret_cast<const char*>(halves.data()), halves.size()), finite) << bits;
  }
}

}  // namespace
}  // namespace mneme
