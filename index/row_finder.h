// RowFinder: where the rows of a version stand, by their numbers.
#ifndef MNEME_INDEX_ROW_FINDER_H_
#define MNEME_INDEX_ROW_FINDER_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "index/index_version.h"
#include "index/row_block.h"

namespace mneme {

// Of one version, which outlives it. Thread-safe.
class RowFinder {
 public:
  struct Place {
    size_t block = 0;     // of blocks()
    size_t position = 0;  // in it
  };

  explicit RowFinder(const IndexVersion& version);

  // The segments, then the parts of the tail.
  const std::vector<RowBlock>& blocks() const { return blocks_; }
  // nullopt when the version does not hold `row`; whether it is alive is not asked. A few reads for each doubling of a
  // segment's rows.
  std::optional<Place> Find(Row row) const;

 private:
  std::optional<Place> FindInTail(Row row) const;

  const IndexVersion& version_;
  std::vector<RowBlock> blocks_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_ROW_FINDER_H_
