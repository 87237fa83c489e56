#include "storage/receipt_ledger.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// Calls `visit` with the first `limit` records whose keys begin with `prefix`, from that of `first` on.
absl::Status ReadFrom(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, const char* prefix, Sequence first,
                      size_t limit, const std::function<absl::Status(Sequence, std::string_view)>& visit) {
  const std::string end = format::PrefixEnd(prefix);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options, family));
  for (it->Seek(format::SequenceKey(prefix, first)); it->Valid() && limit > 0; it->Next(), --limit) {
    ASSIGN_OR_RETURN(const Sequence sequence, format::ParseSequenceKey(prefix, ToView(it->key())));
    RETURN_IF_ERROR(visit(sequence, ToView(it->value())));
  }
  return FromRocksDb(it->status(), "read receipts");
}

}  // namespace

absl::StatusOr<std::vector<DeletionReceipt>> ReceiptLedger::Receipts(Sequence first, size_t limit) const {
  std::vector<DeletionReceipt> receipts;
  RETURN_IF_ERROR(ReadFrom(db_, family_, format::kReceiptPrefix, first, limit,
                           [&](Sequence sequence, std::string_view record) -> absl::Status {
                             ASSIGN_OR_RETURN(DeletionReceipt receipt, format::DecodeReceipt(sequence, record));
                             receipts.push_back(std::move(receipt));
                             return absl::OkStatus();
                           }));
  return receipts;
}

absl::StatusOr<std::vector<ErasureRun>> ReceiptLedger::Runs(Sequence first, size_t limit) const {
  std::vector<ErasureRun> runs;
  RETURN_IF_ERROR(ReadFrom(db_, family_, format::kErasurePrefix, first, limit,
                           [&](Sequence through, std::string_view record) -> absl::Status {
                             ASSIGN_OR_RETURN(const ErasureRun run, format::DecodeErasure(through, record));
                             runs.push_back(run);
                             return absl::OkStatus();
                           }));
  return runs;
}

rocksdb::Status ReceiptLedger::Encode(absl::Span<const DeletionReceipt> receipts, rocksdb::WriteBatch& out) const {
  rocksdb::Status status;
  for (const DeletionReceipt& receipt : receipts) {
    status = out.Put(family_, format::SequenceKey(format::kReceiptPrefix, receipt.sequence),
                     format::EncodeReceipt(receipt));
    if (!status.ok()) break;
  }
  return status;
}

rocksdb::Status ReceiptLedger::Encode(const ErasureRun& run, Sequence keep_from, rocksdb::WriteBatch& out) const {
  rocksdb::Status status;
  // The run goes after the range that may hold it: the last operation on a key counts.
  for (const char* const prefix : {format::kReceiptPrefix, format::kErasurePrefix}) {
    if (keep_from == 0 || !status.ok()) break;
    status = out.DeleteRange(family_, format::SequenceKey(prefix, 0), format::SequenceKey(prefix, keep_from));
  }
  if (!status.ok()) return status;
  return out.Put(family_, format::SequenceKey(format::kErasurePrefix, run.through), format::EncodeErasure(run));
}

}  // namespace mneme
