// RaBitQ (Gao and Long 2024; several bits: Gao et al. 2025). With y = P r for the rotation P, a code is the vector x of
// odd integers in [-(2^B - 1), 2^B - 1] that lies nearest to the direction of y; for any z,
//
//   <P r, z> ~ G <x, z>   with G = |r|^2 / <x, y>,
//
// without bias, and an error of the order of |r| |z| sqrt((1 - a^2) / a^2 / (d - 1)), a = <x, y> / |x| |y|. L2 applies
// it to z = P(q' - c') rather than P q', which is the shorter one near the query: <x, P c'> goes into the row's term.
//
// Bits are taken four components at a time, plane by plane: x = sum_b 2^b (2 bit_b - 1).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "index/codecs.h"
#include "index/kernels/nibble_scan.h"
#include "index/nibble_tables.h"
#include "index/rotation.h"

namespace mneme {
namespace {

// Steps of the search for the scale at which a grid of several bits lies nearest.
constexpr int kScaleSteps = 24;
// Residuals that f32 can hardly hold are none.
constexpr float kLeastRange = 1e-30F;

class RabitqCodec final : public Codec {
 public:
  RabitqCodec(const CodecChoice& choice, const CodecFrame& frame)
      : choice_(choice), frame_(frame), mean_(frame.Mean()), rotation_(frame.spec.dimension),
        plane_columns_((frame.spec.dimension + 3) / 4), columns_(plane_columns_ * choice.bits) {}

  CodecChoice choice() const override { return choice_; }
  size_t block_bytes() const override { return NibbleBlockBytes(columns_); }
  std::string Parameters() const override { return {}; }

  void Encode(const float* centroid, const float* keys, size_t count, char* block) const override {
    const size_t d = frame_.spec.dimension;
    std::memset(block, 0, block_bytes());
    std::vector<float> turned_centroid(d, 0.0F);
    if (frame_.IsL2()) {
      for (size_t i = 0; i < d; ++i) turned_centroid[i] = centroid[i] - mean_[i];
      rotation_.Apply(turned_centroid.data());
    }
    std::vector<float> y(d);
    std::vector<uint8_t> code(d);
    for (size_t row = 0; row < count; ++row) {
      for (size_t i = 0; i < d; ++i) y[i] = keys[row * d + i] - centroid[i];
      rotation_.Apply(y.data());
      EncodeRow(y, turned_centroid, row, code, block);
    }
  }

  std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t count) const override {
    const size_t d = frame_.spec.dimension;
    auto prepared = std::make_unique<NibbleTables>(columns_, count);
    std::vector<float> z(4 * plane_columns_, 0.0F);
    std::vector<float> tables(columns_ * 16);
    for (size_t q = 0; q < count; ++q) {
      for (size_t i = 0; i < d; ++i) z[i] = queries[q * d + i] - mean_[i];
      rotation_.Apply(z.data());
      for (size_t column = 0; column < plane_columns_; ++column) {
        FillTable(z.data() + 4 * column, tables.data() + column * 16);
      }
      const size_t plane = plane_columns_ * 16;
      for (size_t entry = plane; entry < tables.size(); ++entry) tables[entry] = 2.0F * tables[entry - plane];
      prepared->Set(q, tables.data());
    }
    return prepared;
  }

 private:
  // table[n] = sum_j (2 bit_j(n) - 1) z[j]
  static void FillTable(const float* z, float* table) {
    table[0] = -(z[0] + z[1] + z[2] + z[3]);
    for (unsigned n = 1; n < 16; ++n) {
      const unsigned bit = static_cast<unsigned>(__builtin_ctz(n));
      table[n] = table[n & (n - 1)] + 2.0F * z[bit];
    }
  }

  int Largest() const { return (1 << choice_.bits) - 1; }

  // Codes at a scale: code = (x + 2^B - 1) / 2. Returns <x, y> / |x|.
  double CodesAt(const std::vector<float>& y, float scale, std::vector<uint8_t>& code) const {
    double product = 0.0;
    double squares = 0.0;
    const float top = static_cast<float>(Largest());
    for (size_t i = 0; i < y.size(); ++i) {
      const float steps = std::clamp(std::floor((y[i] * scale + top + 1.0F) * 0.5F), 0.0F, top);
      code[i] = static_cast<uint8_t>(steps);
      const double x = 2.0 * steps - top;
      product += x * y[i];
      squares += x * x;
    }
    return product / std::sqrt(squares);
  }

  void ChooseCodes(const std::vector<float>& y, std::vector<uint8_t>& code) const {
    float largest = 0.0F;
    for (const float component : y) largest = std::max(largest, std::abs(component));
    if (choice_.bits == 1 || largest < kLeastRange) {
      CodesAt(y, 1.0F, code);
      return;
    }
    float best_scale = 1.0F;
    double best = -1.0;
    for (int step = 1; step <= kScaleSteps; ++step) {
      // From the scale at which the largest component is just within the grid to one that clamps most.
      const float scale = static_cast<float>(Largest()) / largest * (0.75F + 0.25F * static_cast<float>(step));
      const double cosine = CodesAt(y, scale, code);
      if (cosine <= best) continue;
      best = cosine;
      best_scale = scale;
    }
    CodesAt(y, best_scale, code);
  }

  void EncodeRow(const std::vector<float>& y, const std::vector<float>& turned_centroid, size_t row,
                 std::vector<uint8_t>& code, char* block) const {
    ChooseCodes(y, code);
    double norm = 0.0;
    double on_row = 0.0;
    double on_centroid = 0.0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double x = 2.0 * code[i] - Largest();
      norm += double{y[i]} * y[i];
      on_row += x * y[i];
      on_centroid += x * turned_centroid[i];
      for (uint32_t bit = 0; bit < choice_.bits; ++bit) {
        if ((code[i] >> bit & 1) == 0) continue;
        const size_t column = bit * plane_columns_ + i / 4;
        block[NibbleOffset(row, column)] |= static_cast<char>(1 << (i % 4 + column % 2 * 4));
      }
    }
    const double gain = on_row > 0.0 ? norm / on_row : 0.0;
    const bool l2 = frame_.IsL2();
    float term = l2 ? static_cast<float>(norm + 2.0 * gain * on_centroid) : 0.0F;
    if (frame_.IsFarOut(norm)) term = -std::numeric_limits<float>::infinity();
    const float factor = static_cast<float>(l2 ? -2.0 * gain : -gain);
    char* attributes = block + NibblePairs(columns_) * kCodeBlockRows + row * sizeof(float);
    std::memcpy(attributes, &term, sizeof(term));
    std::memcpy(attributes + kCodeBlockRows * sizeof(float), &factor, sizeof(factor));
  }

  const CodecChoice choice_;
  const CodecFrame frame_;
  const std::vector<float> mean_;
  const Rotation rotation_;
  const size_t plane_columns_;
  const size_t columns_;
};

}  // namespace

std::unique_ptr<Codec> NewRabitqCodec(const CodecChoice& choice, const CodecFrame& frame) {
  return std::make_unique<RabitqCodec>(choice, frame);
}

}  // namespace mneme
