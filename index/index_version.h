// IndexVersion: what a query sees of one partition.
#ifndef MNEME_INDEX_INDEX_VERSION_H_
#define MNEME_INDEX_INDEX_VERSION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "common/types.h"
#include "index/codebook.h"
#include "index/dead_rows.h"
#include "index/segment.h"
#include "index/tail.h"

namespace mneme {

// Stands for one history of a partition: of two versions that share it, the newer has every row of the older under the
// same number, and whatever is dead in the older is dead in it. An identity without content; opening or emptying a
// partition begins another.
struct RowHistory {};

// An immutable version of the index of one partition (I3): segments ascending by row without overlap, then the tail
// from `tail_from` on.
struct IndexVersion {
  PartitionId partition = 0;
  std::vector<std::shared_ptr<const Segment>> segments;
  std::shared_ptr<const Codebook> codebook;  // of all the segments; null when there are none
  Tail::Snapshot tail;
  Row tail_from = 0;  // rows of the tail below it are in segments
  DeadRows dead;
  std::shared_ptr<const RowHistory> history;  // null: of none, as in tests of one version

  // Rows that a search may look at, live and dead.
  uint64_t rows() const;
  uint64_t tail_rows() const;
  // One past the newest. Versions of one history with the same end and as many dead rows have the same rows alive.
  Row end_row() const { return tail.end_row; }
  // True when a row, alive or dead, expires after `after_ms` and not after `until_ms`: then a filter of the one stamp
  // sees other rows than one of the other. Reads the columns of expiries.
  bool ExpiresWithin(int64_t after_ms, int64_t until_ms) const;
};

}  // namespace mneme

#endif  // MNEME_INDEX_INDEX_VERSION_H_
