// Erase: rewrites the tables of a RocksDB that may hold rows which were deleted.
//
// A deletion writes a tombstone; what it hides stays in the log and in tables until RocksDB happens to compact both
// into one. This makes that happen, and only where something was deleted.
#ifndef MNEME_STORAGE_ERASE_H_
#define MNEME_STORAGE_ERASE_H_

#include <rocksdb/db.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/batch_encoder.h"
#include "storage/receipt.h"

namespace mneme {

// The files that may go on to hold what was erased: logs below the one, and tables up to the other that are not in use.
struct OldFiles {
  uint64_t first_log = 0;
  uint64_t last_table = 0;
};

// All that the receipts are about was flushed from memtables before, so that the current log has nothing of it. Other
// than that as EntryStore::Erase().
absl::StatusOr<OldFiles> EraseRows(rocksdb::DB& db, const EntryFamilies& families,
                                   absl::Span<const DeletionReceipt> receipts, std::atomic<bool>& cancelled);

// Whether the directory `path` of the database has none of them.
absl::StatusOr<bool> AreGone(rocksdb::DB& db, const std::string& path, const OldFiles& files);

}  // namespace mneme

#endif  // MNEME_STORAGE_ERASE_H_
