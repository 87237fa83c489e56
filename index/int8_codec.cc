#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/aligned_buffer.h"
#include "index/codecs.h"
#include "index/kernels/int8_scan.h"

namespace mneme {
namespace {

constexpr float kMaxCode = 255.0F;
constexpr float kMaxQueryCode = 127.0F;
// Added to a small float and taken off again it leaves the nearest integer, ties to even.
constexpr float kRounder = 12'582'912.0F;  // 1.5 x 2^23
// Components that are coded in one turn: a loop of a known length vectorises.
constexpr size_t kTogether = 16;
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

// What codes residuals, padded to whole turns with components that are always zero.
class ResidualCoder {
 public:
  explicit ResidualCoder(const Scales& scales)
      : padded_((scales.low.size() + kTogether - 1) / kTogether * kTogether), low_(padded_, 0.0F), step_(padded_, 0.0F),
        divisor_(padded_, 1.0F), most_(padded_, 0.0F) {
    for (size_t i = 0; i < scales.low.size(); ++i) {
      low_[i] = scales.low[i];
      step_[i] = scales.step[i];
      if (!(scales.step[i] > 0.0F)) continue;
      divisor_[i] = scales.step[i];
      most_[i] = kMaxCode;
    }
  }

  size_t padded() const { return padded_; }

  // Sums over the components: (r - r^)^2, and r^ (r^ + twice).
  struct Sums {
    double error = 0.0;
    double term = 0.0;
  };
  // `residuals` and `twice` are [padded]; so is `codes`, which it sets.
  Sums Code(const float* residuals, const double* twice, uint8_t* codes) const {
    double error[kTogether] = {};
    double term[kTogether] = {};
    for (size_t first = 0; first < padded_; first += kTogether) {
      float rounded[kTogether];
      for (size_t i = 0; i < kTogether; ++i) {
        const float scaled = (residuals[first + i] - low_[first + i]) / divisor_[first + i];
        const float positive = scaled > 0.0F ? scaled : 0.0F;
        const float bounded = positive < most_[first + i] ? positive : most_[first + i];
        rounded[i] = (bounded + kRounder) - kRounder;
      }
      for (size_t i = 0; i < kTogether; ++i) {
        const double coded = double{low_[first + i]} + double{step_[first + i]} * double{rounded[i]};
        const double off = double{residuals[first + i]} - coded;
        error[i] += off * off;
        term[i] += coded * (coded + twice[first + i]);
      }
      for (size_t i = 0; i < kTogether; ++i) codes[first + i] = static_cast<uint8_t>(rounded[i]);
    }
    return {std::accumulate(error, error + kTogether, 0.0), std::accumulate(term, term + kTogether, 0.0)};
  }

 private:
  const size_t padded_;
  std::vector<float> low_;
  std::vector<float> step_;
  std::vector<float> divisor_;  // the step, or 1
  std::vector<float> most_;     // the greatest code
};

class Int8Codec final : public Codec {
 public:
  Int8Codec(const CodecFrame& frame, Scales scales)
      : frame_(frame), mean_(frame.Mean()), scales_(std::move(scales)), coder_(scales_) {
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
    std::vector<float> residuals(coder_.padded(), 0.0F);
    std::vector<uint8_t> codes(coder_.padded());
    std::vector<double> twice(coder_.padded(), 0.0);  // 2 c'
    for (size_t i = 0; i < d; ++i) twice[i] = 2.0 * (double{centroid[i]} - mean_[i]);
    for (size_t row = 0; row < count; ++row) {
      for (size_t i = 0; i < d; ++i) residuals[i] = keys[row * d + i] - centroid[i];
      const ResidualCoder::Sums sums = coder_.Code(residuals.data(), twice.data(), codes.data());
      for (size_t i = 0; i < d; i += 4) std::memcpy(block + Int8Offset(d, row, i), codes.data() + i, 4);
      // Rounding errs by half a step at most, so a row beyond this was clamped by a lot.
      const float term = sums.error > squared_steps_ ? -std::numeric_limits<float>::infinity()
                         : frame_.IsL2()             ? static_cast<float>(sums.term)
                                                     : 0.0F;
      std::memcpy(block + Int8TermOffset(d, row), &term, sizeof(term));
    }
  }

  std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t count) const override {
    return std::make_unique<Int8Queries>(frame_, scales_, mean_, queries, count);
  }

 private:
  const CodecFrame frame_;
  const std::vector<float> mean_;
  const Scales scales_;
  const ResidualCoder coder_;
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
