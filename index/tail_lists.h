// TailLists: which rows of a tail belong to which list of a codebook, so that an approximate search scans of it only
// the lists that it probes. Made in the background some time after the rows are visible; until then, and for an exact
// search, they are scanned whole.
#ifndef MNEME_INDEX_TAIL_LISTS_H_
#define MNEME_INDEX_TAIL_LISTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "index/codebook.h"
#include "index/index_version.h"
#include "index/tail.h"

namespace mneme {

// Rows [first_row, end_row) by the lists of one codebook. Thread-safe (immutable).
struct TailLists {
  uint64_t codebook = 0;  // its number
  Row first_row = 0;
  Row end_row = 0;
  std::vector<uint32_t> offsets;  // [lists + 1]
  std::vector<uint32_t> rows;     // counted from first_row, ascending within a list

  absl::Span<const uint32_t> Of(uint32_t list) const {
    return absl::MakeSpan(rows).subspan(offsets[list], offsets[list + 1] - offsets[list]);
  }
  // The rows of `list` that are in [first, end).
  absl::Span<const uint32_t> Within(uint32_t list, Row first, Row end) const;
  // The list of each row.
  std::vector<uint32_t> ListOfEachRow() const;
};

// The lists of a version's tail, as far as they are those of its codebook and rows that it has; null without any.
std::shared_ptr<const TailLists> CurrentListsOf(const IndexVersion& version);

// Sorts the rows of the tail that are not in lists of the version's codebook yet, where they are at least `least_rows`.
// Searches that began before may see it or not. Nothing to do without a codebook. Any thread, but one at a time for a
// partition.
void SortTail(const IndexVersion& version, const IndexSpec& spec, size_t least_rows);

}  // namespace mneme

#endif  // MNEME_INDEX_TAIL_LISTS_H_
