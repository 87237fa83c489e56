// What a store keeps of deletions: a receipt of each, and how far what they removed is gone (docs/deletion.md).
#ifndef MNEME_STORAGE_RECEIPT_H_
#define MNEME_STORAGE_RECEIPT_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "common/types.h"

namespace mneme {

// What one batch deleted for a client, and where: written with that batch.
struct DeletionReceipt {
  // The rows that went of a partition, from the least to one past the greatest.
  struct Rows {
    PartitionId partition = 0;
    Row first_row = 0;
    Row end_row = 0;
    friend bool operator==(const Rows&, const Rows&) = default;
  };
  Sequence sequence = 0;  // of the batch; its key
  MemoryNumber memory = 0;
  uint64_t deleted = 0;
  int64_t stamp_ms = 0;
  bool many_partitions = false;  // more than kMaxReceiptPartitions: rows are not named, and may be anywhere
  std::vector<Rows> rows = {};   // one for each partition
  friend bool operator==(const DeletionReceipt&, const DeletionReceipt&) = default;
};

// The erasure of everything that was deleted up to one sequence, and after the one that the run before it went to. Runs
// follow each other: the last is under way, or finished, and all before it are finished.
struct ErasureRun {
  // No directory of backups was known when it finished: any backup may have what was deleted.
  static constexpr uint64_t kAnyBackup = std::numeric_limits<uint64_t>::max();

  Sequence through = 0;  // its key
  int64_t begun_ms = 0;
  int64_t indexed_ms = 0;    // when no index had it any more; 0: not yet
  int64_t erased_ms = 0;     // when no file of the store had it any more; 0: not yet
  uint64_t last_backup = 0;  // the greatest number of a backup that was there then
  friend bool operator==(const ErasureRun&, const ErasureRun&) = default;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_RECEIPT_H_
