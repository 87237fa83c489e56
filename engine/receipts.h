// Receipts: what can be asked of a deletion, and how far it is (docs/deletion.md).
#ifndef MNEME_ENGINE_RECEIPTS_H_
#define MNEME_ENGINE_RECEIPTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "storage/entry_store.h"

namespace mneme {

// Each includes those before it.
enum class ErasureState : uint8_t {
  kHidden = 1,     // no read that begins after the acknowledgement finds it
  kIndex = 2,      // no index has it, in ram or in a file
  kRocksDb = 3,    // no table or log of the store that is in use has it
  kSnapshots = 4,  // nor any backup that the server knows
};

// A backup that may still have what was deleted.
struct HoldingBackup {
  uint64_t number = 0;
  int64_t created_ms = 0;  // 0: its manifest is damaged
};

// Of one deletion, or of its part on one shard.
struct ReceiptStatus {
  ErasureState state = ErasureState::kRocksDb;
  uint64_t deleted = 0;
  int64_t deleted_at_ms = 0;
  int64_t indexed_at_ms = 0;  // 0: not yet
  int64_t erased_at_ms = 0;   // 0: not yet
  uint64_t last_backup = 0;   // as ErasureRun::last_backup
  PartitionSelection partitions;         // `all`: of more than are named
  bool backups_known = false;            // whether this process can look at them
  std::vector<HoldingBackup> backups = {};  // by number
};

// NOT_FOUND (RECEIPT_NOT_FOUND) when the store has none of this memory at this sequence.
absl::StatusOr<ReceiptStatus> ReadReceiptStatus(const EntryStore& store, MemoryNumber memory, Sequence sequence);
// What both parts together have come to: the least of it.
void JoinReceipt(const ReceiptStatus& part, ReceiptStatus& whole);

// The receipts of one memory, those of each shard by age. A deletion has one on each shard that it went to.
struct ReceiptPage {
  struct Item {
    Version receipt;  // of one part
    ReceiptStatus status;
  };
  std::vector<Item> items;
  std::optional<ScanPosition> next;  // its row is a sequence; absent on the last page
};
// Appends those of one shard from `first` on to `page`, until that has `limit`; returns the sequence to go on at,
// nullopt at the end. What `limits` says now and then: those of all memories are read.
absl::StatusOr<std::optional<Sequence>> ReadReceiptPage(const EntryStore& store, uint32_t shard, MemoryNumber memory,
                                                        Sequence first, size_t limit, const CallLimits& limits,
                                                        ReceiptPage& page);

}  // namespace mneme

#endif  // MNEME_ENGINE_RECEIPTS_H_
