#include "index/index_version.h"

#include <algorithm>

namespace mneme {

uint64_t IndexVersion::tail_rows() const {
  const Row first = std::max(tail.first_row, tail_from);
  return tail.end_row > first ? tail.end_row - first : 0;
}

uint64_t IndexVersion::rows() const {
  uint64_t rows = tail_rows();
  for (const auto& segment : segments) rows += segment->rows();
  return rows;
}

}  // namespace mneme
