// Walks the rows of an immutable version that a filter accepts: counting, scanning, deleting by filter.
#ifndef MNEME_ENGINE_VISIBLE_ROWS_H_
#define MNEME_ENGINE_VISIBLE_ROWS_H_

#include <functional>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "index/row_filter.h"
#include "index/search.h"

namespace mneme {

// Calls `visit(block, i)` for each live row that `filter` accepts (expired rows are hidden), in no particular order.
// Returns what `limits` says when it says stop; asked every few thousand rows looked at.
absl::Status ForEachVisibleRow(const IndexVersion& version, const RowFilter& filter, const CallLimits& limits,
                               const std::function<void(const RowBlock&, size_t)>& visit);

}  // namespace mneme

#endif  // MNEME_ENGINE_VISIBLE_ROWS_H_
