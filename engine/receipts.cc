#include "engine/receipts.h"

#include <algorithm>
#include <set>

#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Receipts, of whatever memory, that are read at once.
constexpr size_t kReadAtOnce = 1024;

absl::StatusOr<ReceiptStatus> StatusOf(const EntryStore& store, const DeletionReceipt& receipt) {
  ReceiptStatus status;
  status.deleted = receipt.deleted;
  status.deleted_at_ms = receipt.stamp_ms;
  status.partitions.all = receipt.many_partitions;
  for (const DeletionReceipt::Rows& rows : receipt.rows) status.partitions.partitions.push_back(rows.partition);
  ASSIGN_OR_RETURN(const std::vector<ErasureRun> runs, store.ReadErasures(receipt.sequence, 1));
  const ErasureRun run = runs.empty() ? ErasureRun{} : runs.front();
  status.indexed_at_ms = run.indexed_ms;
  status.erased_at_ms = run.erased_ms;
  status.last_backup = run.last_backup;
  status.state = run.erased_ms != 0    ? ErasureState::kRocksDb
                 : run.indexed_ms != 0 ? ErasureState::kIndex
                                       : ErasureState::kHidden;
  return status;
}

// 0 is "not yet", which is later than any time.
int64_t Later(int64_t a, int64_t b) { return a == 0 || b == 0 ? 0 : std::max(a, b); }

}  // namespace

absl::StatusOr<ReceiptStatus> ReadReceiptStatus(const EntryStore& store, MemoryNumber memory, Sequence sequence) {
  ASSIGN_OR_RETURN(const std::vector<DeletionReceipt> found, store.ReadReceipts(sequence, 1));
  if (found.empty() || found.front().sequence != sequence || found.front().memory != memory) {
    return WithReason(absl::NotFoundError("no such receipt is kept: it is of another memory, or was forgotten"),
                      reason::kReceiptNotFound);
  }
  return StatusOf(store, found.front());
}

void JoinReceipt(const ReceiptStatus& part, ReceiptStatus& whole) {
  whole.state = std::min(whole.state, part.state);
  whole.deleted += part.deleted;
  whole.deleted_at_ms = std::max(whole.deleted_at_ms, part.deleted_at_ms);
  whole.indexed_at_ms = Later(whole.indexed_at_ms, part.indexed_at_ms);
  whole.erased_at_ms = Later(whole.erased_at_ms, part.erased_at_ms);
  whole.last_backup = std::max(whole.last_backup, part.last_backup);
  whole.partitions.all = whole.partitions.all || part.partitions.all;
  std::set<PartitionId> partitions(whole.partitions.partitions.begin(), whole.partitions.partitions.end());
  partitions.insert(part.partitions.partitions.begin(), part.partitions.partitions.end());
  whole.partitions.partitions.assign(partitions.begin(), partitions.end());
}

absl::StatusOr<std::optional<Sequence>> ReadReceiptPage(const EntryStore& store, uint32_t shard, MemoryNumber memory,
                                                        Sequence first, size_t limit, const CallLimits& limits,
                                                        ReceiptPage& page) {
  while (true) {
    RETURN_IF_ERROR(limits.Check());
    ASSIGN_OR_RETURN(const std::vector<DeletionReceipt> read, store.ReadReceipts(first, kReadAtOnce));
    for (const DeletionReceipt& receipt : read) {
      if (receipt.memory != memory) continue;
      if (page.items.size() >= limit) return std::optional<Sequence>(receipt.sequence);
      ReceiptPage::Item item;
      item.receipt.memory = memory;
      item.receipt.parts.push_back({shard, receipt.sequence});
      ASSIGN_OR_RETURN(item.status, StatusOf(store, receipt));
      page.items.push_back(std::move(item));
    }
    if (read.size() < kReadAtOnce) return std::optional<Sequence>();
    first = read.back().sequence + 1;
  }
}

}  // namespace mneme
