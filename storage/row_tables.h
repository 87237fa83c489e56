// RowTables: rows that reach the store as tables of their own, beside its log (bulk load).
//
// A row in the log is written twice, to the log and by a flush, and again by compactions. Here it is written once, to a
// sorted table that RocksDB takes in as it is. The rest of the batch (ids, heads, requests, sequence) goes through the
// log as ever and comes after: so a crash in between leaves rows that no head counts, and nothing else. Those are harmless,
// for a row's number is only ever given together with its bytes, and are removed when the store is opened.
#ifndef MNEME_STORAGE_ROW_TABLES_H_
#define MNEME_STORAGE_ROW_TABLES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "storage/durable_db.h"
#include "storage/entry_store.h"

namespace mneme {

// Not thread-safe: used by the thread that commits. `store` must outlive it.
class RowTables {
 public:
  RowTables(DurableDb& store, rocksdb::ColumnFamilyHandle* rows) : store_(store), rows_(rows) {}

  // Writes the rows of those runs of `batch` that go as tables, and takes the tables in; they survive power loss when it
  // returns OK. A batch without such runs costs nothing.
  absl::Status Ingest(const StoreBatch& batch);

  // Once, before anything else: when the last life did not end well, removes the rows above the heads.
  absl::Status Recover(const std::vector<PartitionHead>& heads);
  // A clean end, after which the next life need not look.
  void Close();

 private:
  using Runs = std::vector<const StoreBatch::Run*>;

  std::string MarkPath() const;
  absl::Status Mark();
  void Unmark();
  absl::Status WriteTable(const std::string& path, const Runs& runs) const;
  absl::Status RemoveRowsAboveHeads(const std::vector<PartitionHead>& heads);

  DurableDb& store_;
  rocksdb::ColumnFamilyHandle* const rows_;
  bool marked_ = false;
  uint64_t tables_ = 0;  // written in this life
};

}  // namespace mneme

#endif  // MNEME_STORAGE_ROW_TABLES_H_
