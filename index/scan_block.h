// What a search keeps of the blocks that it scans, and of the rows in them.
#ifndef MNEME_INDEX_SCAN_BLOCK_H_
#define MNEME_INDEX_SCAN_BLOCK_H_

#include <cstddef>
#include <cstdint>

#include "index/index_version.h"
#include "index/row_block.h"

namespace mneme {

// A block of one version, numbered by its place in the vector that a search keeps.
struct ScanBlock {
  RowBlock rows;
  const IndexVersion* version = nullptr;
};

// Where a row stands in the blocks of a search.
struct RowPlace {
  uint32_t block;
  uint32_t position;  // blocks hold fewer than 2^32 rows
};

}  // namespace mneme

#endif  // MNEME_INDEX_SCAN_BLOCK_H_
