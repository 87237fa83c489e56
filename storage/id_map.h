// IdMap: which row a client id has. One record for each id, or one for a run of ids that came in order.
#ifndef MNEME_STORAGE_ID_MAP_H_
#define MNEME_STORAGE_ID_MAP_H_

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/batch_encoder.h"
#include "storage/entry_store.h"

namespace mneme {

// A run says where its ids went when they were new, and is never changed. So a record of the id itself goes before it,
// and what it says counts only while that row is stored: a row leaves the store with the write that overwrites or
// deletes it.
// Thread-safe; `db` and `families` must outlive it.
class IdMap {
 public:
  IdMap(rocksdb::DB& db, const EntryFamilies& families) : db_(db), families_(families) {}

  // The rows of `ids`, in their order, as one snapshot has them; nullopt for one that has none. DATA_LOSS when a record
  // is damaged.
  absl::StatusOr<std::vector<std::optional<Row>>> Find(const PartitionKey& key, absl::Span<const EntryId> ids) const;

  // Maps the ids of `run`.
  static rocksdb::Status Encode(const StoreBatch::Run& run, const EntryFamilies& families, rocksdb::WriteBatch& out);

 private:
  // Sets rows[i] for each i of `at` that a run holds.
  absl::Status FindInRuns(const rocksdb::ReadOptions& options, const PartitionKey& key, absl::Span<const EntryId> ids,
                          const std::vector<size_t>& at, std::vector<std::optional<Row>>& rows) const;
  // Clears those rows[i] that are not stored.
  absl::Status KeepStored(const rocksdb::ReadOptions& options, const PartitionKey& key, const std::vector<size_t>& at,
                          std::vector<std::optional<Row>>& rows) const;

  rocksdb::DB& db_;
  const EntryFamilies& families_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_ID_MAP_H_
