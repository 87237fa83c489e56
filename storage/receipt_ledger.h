// ReceiptLedger: the receipts and runs of erasure of a shard, beside its remembered requests.
#ifndef MNEME_STORAGE_RECEIPT_LEDGER_H_
#define MNEME_STORAGE_RECEIPT_LEDGER_H_

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/receipt.h"

namespace mneme {

// Thread-safe; `db` and `family` must outlive it.
class ReceiptLedger {
 public:
  ReceiptLedger(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}

  // As those of EntryStore.
  absl::StatusOr<std::vector<DeletionReceipt>> Receipts(Sequence first, size_t limit) const;
  absl::StatusOr<std::vector<ErasureRun>> Runs(Sequence first, size_t limit) const;

  rocksdb::Status Encode(absl::Span<const DeletionReceipt> receipts, rocksdb::WriteBatch& out) const;
  // `run`, and that everything below `keep_from` is forgotten.
  rocksdb::Status Encode(const ErasureRun& run, Sequence keep_from, rocksdb::WriteBatch& out) const;

 private:
  rocksdb::DB& db_;
  rocksdb::ColumnFamilyHandle* const family_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_RECEIPT_LEDGER_H_
