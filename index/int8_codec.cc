#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/aligned_buffer.h"
#include "index/codecs.h"
#include "index/kernels/int8_scan.h"

namespace mneme {
namespace {

constexpr float kMaxCode = 255.0F;
constexpr float kMaxQueryCode = 127.0F;
// Components that f32 can hardly hold are zero.
constexpr float kLeastRange = 1e-30F;
// Components farther out than this many standard deviations are clamped: one outlier must not coarsen all others.
constexpr double kClampDeviations = 6.0;

// r^_i = low[i] + step[i] * code_i.
struct Scales {
  std::vector<float> low;
  std::vector<float> step;
};

class Int8Queries final : public CodeQueries {
 public:
  Int8Queries(const CodecFrame& frame, const Scales& scales, const std::vector<float>& mean, const float* queries,
              size_t count)
      : dimension_(frame.spec.dimension), padded_(4 * Int8Groups(dimension_)), codes_(count * padded_),
        values_(count * padded_ * sizeof(float)), scales_(count), offsets_(count) {
    const float weight = frame.IsL2() ? 2.0F : 1.0F;
    std::memset(codes_.data(), 0, codes_.size());
    std::memset(values_.data(), 0, values_.size());
    std::vector<float> scaled(dimension_);
    for (size_t q = 0; q < count; ++q) {
      double on_low = 0.0;
      float largest = 0.0F;
      for (size_t i = 0; i < dimension_; ++i) {
        const float component = queries[q * dimension_ + i] - mean[i];
        on_low += double{component} * scales.low[i];
        scaled[i] = component * scales.step[i];
        largest = std::max(largest, std::abs(scaled[i]));
      }
      const float unit = largest > kLeastRange ? largest / kMaxQueryCode : 1.0F;
      int8_t* codes = codes_.as<int8_t>() + q * padded_;
      float* values = values_.as<float>() + q * padded_;
      for (size_t i = 0; i < dimension_; ++i) {
        codes[i] = static_cast<int8_t>(std::lrintf(scaled[i] / unit));
        values[i] = codes[i];
      }
      scales_[q] = -weight * unit;
      offsets_[q] = static_cast<float>(-double{weight} * on_low);
    }
  }

  void Scan(absl::Span<const uint32_t> queries, const float* bases, const float* cuts, const char* blocks, size_t rows,
            CodeHits* hits) const override {
    Int8Query group[kCodeQueries];
    for (size_t i = 0; i < queries.size(); ++i) {
      const size_t q = queries[i];
      group[i] = {codes_.as<int8_t>() + q * padded_, values_.as<float>() + q * padded_, scales_[q],
                  bases[i] + offsets_[q]};
    }
    ScanInt8(group, queries.size(), dimension_, blocks, rows, cuts, hits);
  }

 private:
  const size_t dimension_;
  const size_t padded_;
  AlignedBuffer codes_;
  AlignedBuffer values_;
  std::vector<float> scales_;
  std::vector<float> offsets_;
};

class Int8Codec final : public Codec {
 public:
  Int8Codec(const CodecFrame& frame, Scales scales)
      : frame_(frame), mean_(frame.Mean()), scales_(std::move(scales)) {
    for (const float step : scales_.step) squared_steps_ += double{step} * step;
  }

  CodecChoice choice() const override { return {CodecKind::kInt8, 0, 0}; }
  size_t block_bytes() const override { return Int8BlockBytes(frame_.spec.dimension); }

  std::string Parameters() const override {
    std::string bytes(reinterpret_cast<const char*>(scales_.low.data()), scales_.low.size() * sizeof(float));
    bytes.append(reinterpret_cast<const char*>(scales_.step.data()), scales_.step.size() * sizeof(float));
    return bytes;
  }

  void Encode(const float* centroid, const float* keys, size_t count, char* block) const override {
    const size_t d = frame_.spec.dimension;
    std::memset(block, 0, block_bytes());
    for (size_t row = 0; row < count; ++row) {
      double term = 0.0;
      double error = 0.0;
      for (size_t i = 0; i < d; ++i) {
        const float residual = keys[row * d + i] - centroid[i];
        const float code =
            scales_.step[i] > 0.0F
                ? std::clamp(std::nearbyint((residual - scales_.low[i]) / scales_.step[i]), 0.0F, kMaxCode)
                : 0.0F;
        block[Int8Offset(d, row, i)] = static_cast<char>(static_cast<uint8_t>(code));
        const double coded = double{scales_.low[i]} + double{scales_.step[i]} * code;
        error += (residual - coded) * (residual - coded);
        if (frame_.IsL2()) term += coded * (coded + 2.0 * (double{centroid[i]} - mean_[i]));
      }
      // Rounding errs by half a step at most, so a row beyond this was clamped by a lot.
      const float rounded =
          error > squared_steps_ ? -std::numeric_limits<float>::infinity() : static_cast<float>(term);
      std::memcpy(block + Int8TermOffset(d, row), &rounded, sizeof(rounded));
    }
  }

  std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t count) const override {
    return std::make_unique<Int8Queries>(frame_, scales_, mean_, queries, count);
  }

 private:
  const CodecFrame frame_;
  const std::vector<float> mean_;
  const Scales scales_;
  double squared_steps_ = 0.0;
};

}  // namespace

std::unique_ptr<Codec> TrainInt8Codec(const CodecFrame& frame, absl::Span<const float> residuals) {
  const size_t d = frame.spec.dimension;
  const size_t count = residuals.size() / d;
  std::vector<float> least(d, std::numeric_limits<float>::max());
  std::vector<float> largest(d, std::numeric_limits<float>::lowest());
  std::vector<double> sum(d, 0.0);
  std::vector<double> squares(d, 0.0);
  for (size_t row = 0; row < count; ++row) {
    for (size_t i = 0; i < d; ++i) {
      const float value = residuals[row * d + i];
      least[i] = std::min(least[i], value);
      largest[i] = std::max(largest[i], value);
      sum[i] += value;
      squares[i] += double{value} * value;
    }
  }
  Scales scales{std::vector<float>(d, 0.0F), std::vector<float>(d, 0.0F)};
  for (size_t i = 0; i < d && count > 0; ++i) {
    const double mean = sum[i] / static_cast<double>(count);
    const double reach =
        kClampDeviations * std::sqrt(std::max(0.0, squares[i] / static_cast<double>(count) - mean * mean));
    const double low = std::max<double>(least[i], mean - reach);
    const double high = std::min<double>(largest[i], mean + reach);
    scales.low[i] = static_cast<float>(low);
    scales.step[i] = static_cast<float>(std::max(0.0, high - low) / double{kMaxCode});
  }
  return std::make_unique<Int8Codec>(frame, std::move(scales));
}

absl::StatusOr<std::unique_ptr<Codec>> OpenInt8Codec(const CodecFrame& frame, std::string_view parameters) {
  const size_t d = frame.spec.dimension;
  if (parameters.size() != 2 * d * sizeof(float)) {
    return absl::DataLossError(absl::StrCat("int8 parameters have ", parameters.size(), " bytes; must have ",
                                            2 * d * sizeof(float)));
  }
  Scales scales{std::vector<float>(d), std::vector<float>(d)};
  std::memcpy(scales.low.data(), parameters.data(), d * sizeof(float));
  std::memcpy(scales.step.data(), parameters.data() + d * sizeof(float), d * sizeof(float));
  return std::unique_ptr<Codec>(std::make_unique<Int8Codec>(frame, std::move(scales)));
}

}  // namespace mneme
