#include "index/nibble_tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "index/kernels/nibble_scan.h"

namespace mneme {
namespace {

constexpr float kLeastRange = 1e-30F;

}  // namespace

NibbleTables::NibbleTables(size_t columns, size_t queries)
    : columns_(columns), table_bytes_(NibblePairs(columns) * 32), tables_(queries * table_bytes_), scales_(queries),
      offsets_(queries) {
  std::memset(tables_.data(), 0, tables_.size());
}

void NibbleTables::Set(size_t q, const float* tables) {
  double offset = 0.0;
  float widest = 0.0F;
  std::vector<float> least(columns_);
  for (size_t m = 0; m < columns_; ++m) {
    const auto [low, high] = std::minmax_element(tables + m * 16, tables + m * 16 + 16);
    least[m] = *low;
    offset += *low;
    widest = std::max(widest, *high - *low);
  }
  // Differences that f32 can hardly hold are none.
  const float step = widest > kLeastRange ? widest / 255.0F : 1.0F;
  uint8_t* bytes = tables_.as<uint8_t>() + q * table_bytes_;
  for (size_t m = 0; m < columns_; ++m) {
    for (size_t code = 0; code < 16; ++code) {
      const float steps = std::nearbyint((tables[m * 16 + code] - least[m]) / step);
      bytes[m * 16 + code] = static_cast<uint8_t>(steps < 255.0F ? steps : 255.0F);  // what is no number, too
    }
  }
  scales_[q] = step;
  offsets_[q] = static_cast<float>(offset);
}

void NibbleTables::Scan(absl::Span<const uint32_t> queries, const float* bases, const float* cuts, const char* blocks,
                        size_t rows, CodeHits* hits) const {
  NibbleQuery group[kCodeQueries];
  for (size_t i = 0; i < queries.size(); ++i) {
    const size_t q = queries[i];
    group[i] = {tables_.as<uint8_t>() + q * table_bytes_, scales_[q], offsets_[q], bases[i]};
  }
  ScanNibbles(group, queries.size(), columns_, blocks, rows, cuts, hits);
}

}  // namespace mneme
