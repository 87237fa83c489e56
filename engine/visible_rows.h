// Walks the rows of an immutable version that a filter accepts: counting, scanning, deleting by filter.
#ifndef MNEME_ENGINE_VISIBLE_ROWS_H_
#define MNEME_ENGINE_VISIBLE_ROWS_H_

#include <functional>

#include "index/row_filter.h"
#include "index/search.h"

namespace mneme {

// Calls `visit(block, i)` for each live row that `filter` accepts (expired rows are hidden), in no particular order,
// until it returns false.
void ForEachVisibleRow(const IndexVersion& version, const RowFilter& filter,
                       const std::function<bool(const RowBlock&, size_t)>& visit);

}  // namespace mneme

#endif  // MNEME_ENGINE_VISIBLE_ROWS_H_
