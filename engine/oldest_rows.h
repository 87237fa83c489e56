// OldestRows: the stored rows of a partition in order of arrival, read ahead a few at a time. What a capacity evicts.
#ifndef MNEME_ENGINE_OLDEST_ROWS_H_
#define MNEME_ENGINE_OLDEST_ROWS_H_

#include <cstddef>
#include <deque>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "storage/entry_store.h"

namespace mneme {

struct StoredRow {
  Row row = 0;
  EntryId id = 0;
};

// Evictions go through a partition once, from its first row to its last: so each row is read once for that, by a scan
// that goes on where it stopped. Not thread-safe: the writer's own.
class OldestRows {
 public:
  // Appends to `found` the first `count` stored rows of [from, end) that `gone` does not name; fewer when there are no
  // more. `end` is at most the partition's stored next_row. Errors are the store's, and leave `found` unfinished.
  absl::Status Find(const EntryStore& store, const PartitionKey& key, Row from, Row end, size_t count,
                    absl::FunctionRef<bool(Row)> gone, std::vector<StoredRow>& found);
  // No row below `row` is alive any more.
  void Forget(Row row);

 private:
  absl::Status ReadOn(const EntryStore& store, const PartitionKey& key, Row end, size_t count);

  std::deque<StoredRow> rows_;  // ascending; some may have died since they were read
  Row read_to_ = 0;             // rows below it were read, or forgotten
};

}  // namespace mneme

#endif  // MNEME_ENGINE_OLDEST_ROWS_H_
