#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/limits.h"
#include "common/vector_codec.h"
#include "index/codecs.h"
#include "index/kernels/scan_distance.h"

namespace mneme {
namespace {

class HalfQueries final : public CodeQueries {
 public:
  HalfQueries(const CodecFrame& frame, const float* queries)
      : shape_{frame.IsL2() ? Metric::kL2 : Metric::kInnerProduct, Dtype::kF16, frame.spec.dimension},
        queries_(queries) {}

  // The whole key is coded: `bases` say nothing that it does not.
  void Scan(absl::Span<const uint32_t> queries, const float* /*bases*/, const float* cuts, const char* blocks,
            size_t rows, CodeHits* hits) const override {
    const size_t width = ScanWidth(queries.size());
    const float* vectors[kScanQueries];
    for (size_t q = 0; q < width; ++q) {
      vectors[q] = queries_ + size_t{queries[std::min(q, queries.size() - 1)]} * shape_.dimension;
    }
    for (size_t q = 0; q < queries.size(); ++q) hits[q].count = 0;
    float costs[kCodeBlockRows * kScanQueries];
    for (size_t first = 0; first < rows; first += kCodeBlockRows) {
      const size_t count = std::min(kCodeBlockRows, rows - first);
      ScanCosts(shape_, vectors, width, blocks + first * shape_.KeyBytes(), count, nullptr, costs);
      for (size_t row = 0; row < count; ++row) {
        for (size_t q = 0; q < queries.size(); ++q) {
          const float cost = costs[row * width + q];
          if (cost > cuts[q]) continue;
          // A key that halves cannot hold is NaN.
          hits[q].costs[hits[q].count] = std::isnan(cost) ? -std::numeric_limits<float>::infinity() : cost;
          hits[q].rows[hits[q].count++] = static_cast<uint32_t>(first + row);
        }
      }
    }
  }

 private:
  const KeyShape shape_;
  const float* const queries_;
};

class HalfCodec final : public Codec {
 public:
  explicit HalfCodec(const CodecFrame& frame) : frame_(frame) {}

  CodecChoice choice() const override { return {CodecKind::kF16, 0, 0}; }
  size_t block_bytes() const override { return kCodeBlockRows * frame_.spec.dimension * DtypeBytes(Dtype::kF16); }
  std::string Parameters() const override { return {}; }

  void Encode(const float* /*centroid*/, const float* keys, size_t count, char* block) const override {
    std::memset(block, 0, block_bytes());
    const size_t components = count * frame_.spec.dimension;
    std::vector<float> held(keys, keys + components);
    for (float& value : held) {
      if (std::abs(value) > limits::kMaxHalf) value = std::numeric_limits<float>::quiet_NaN();
    }
    EncodeVector(Dtype::kF16, held.data(), components, block);
  }

  std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t /*count*/) const override {
    return std::make_unique<HalfQueries>(frame_, queries);
  }

 private:
  const CodecFrame frame_;
};

}  // namespace

std::unique_ptr<Codec> NewHalfCodec(const CodecFrame& frame) { return std::make_unique<HalfCodec>(frame); }

}  // namespace mneme
