#include "engine/oldest_rows.h"

#include <algorithm>

#include "common/status_macros.h"

namespace mneme {
namespace {

// Rows read at once: one seek of the store for so many single inserts. A hundred thousand partitions may hold as many.
constexpr size_t kReadAhead = 64;

bool Below(const StoredRow& stored, Row row) { return stored.row < row; }

}  // namespace

absl::Status OldestRows::Find(const EntryStore& store, const PartitionKey& key, Row from, Row end, size_t count,
                              absl::FunctionRef<bool(Row)> gone, std::vector<StoredRow>& found) {
  const size_t wanted = found.size() + count;
  size_t at = static_cast<size_t>(std::lower_bound(rows_.begin(), rows_.end(), from, Below) - rows_.begin());
  while (found.size() < wanted) {
    if (at == rows_.size()) {
      if (read_to_ >= end) break;
      RETURN_IF_ERROR(ReadOn(store, key, end, std::max(wanted - found.size(), kReadAhead)));
      continue;
    }
    const StoredRow& stored = rows_[at++];
    if (!gone(stored.row)) found.push_back(stored);
  }
  return absl::OkStatus();
}

absl::Status OldestRows::ReadOn(const EntryStore& store, const PartitionKey& key, Row end, size_t count) {
  Row next = end;
  RETURN_IF_ERROR(store.ScanRows(key, read_to_, end, [&](Row row, const EntryView& entry) {
    rows_.push_back({row, entry.id});
    if (--count > 0) return true;
    next = row + 1;
    return false;
  }));
  read_to_ = next;
  return absl::OkStatus();
}

void OldestRows::Forget(Row row) {
  rows_.erase(rows_.begin(), std::lower_bound(rows_.begin(), rows_.end(), row, Below));
  read_to_ = std::max(read_to_, row);
}

}  // namespace mneme
