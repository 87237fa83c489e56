#include "index/index_version.h"

#include <algorithm>

namespace mneme {
namespace {

bool ExpiresIn(const RowBlock& block, int64_t after_ms, int64_t until_ms) {
  if (block.expiries_ms == nullptr) return false;
  uint64_t found = 0;  // counted to the end: a loop without a way out runs several rows at a time
  for (size_t i = 0; i < block.count; ++i) {
    const int64_t expiry = block.expiries_ms[i];
    found += static_cast<uint64_t>(expiry != 0) & static_cast<uint64_t>(expiry > after_ms) &
             static_cast<uint64_t>(expiry <= until_ms);
  }
  return found != 0;
}

}  // namespace

uint64_t IndexVersion::tail_rows() const {
  const Row first = std::max(tail.first_row, tail_from);
  return tail.end_row > first ? tail.end_row - first : 0;
}

uint64_t IndexVersion::rows() const {
  uint64_t rows = tail_rows();
  for (const auto& segment : segments) rows += segment->rows();
  return rows;
}

bool IndexVersion::ExpiresWithin(int64_t after_ms, int64_t until_ms) const {
  const auto in_segment = [&](const auto& segment) { return ExpiresIn(segment->All(), after_ms, until_ms); };
  const auto in_part = [&](const Tail::Snapshot::Part& part) {
    return ExpiresIn(BlockOf(part, tail_from), after_ms, until_ms);
  };
  return std::any_of(segments.begin(), segments.end(), in_segment) ||
         std::any_of(tail.parts.begin(), tail.parts.end(), in_part);
}

}  // namespace mneme
