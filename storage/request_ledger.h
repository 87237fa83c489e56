// RequestLedger: the remembered requests of a shard, by id and by age.
#ifndef MNEME_STORAGE_REQUEST_LEDGER_H_
#define MNEME_STORAGE_REQUEST_LEDGER_H_

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/entry_store.h"

namespace mneme {

// Keeps both keys of a request together whatever a batch says, so that a request is never remembered twice or half.
// Thread-safe; `db` and `family` must outlive it.
class RequestLedger {
 public:
  RequestLedger(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}

  absl::StatusOr<std::optional<RememberedRequest>> Find(const Hash128& id) const;
  absl::StatusOr<std::vector<RememberedRequest>> Oldest(size_t limit) const;
  absl::StatusOr<std::optional<RememberedRequest>> Latest() const;
  // Appends what `batch` forgets and then what it remembers; returns by how much the count of requests changes.
  // A request is forgotten only at the sequence that the batch names: a newer one under its id stays.
  absl::StatusOr<int64_t> Encode(const StoreBatch& batch, rocksdb::WriteBatch& out) const;

 private:
  rocksdb::DB& db_;
  rocksdb::ColumnFamilyHandle* const family_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_REQUEST_LEDGER_H_
