// ReshardTarget: a shard of the deployment that a backup is restored onto, while it is written.
#ifndef MNEME_STORAGE_RESHARD_TARGET_H_
#define MNEME_STORAGE_RESHARD_TARGET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "storage/entry_store.h"

namespace mneme {

// Gathers what it is given into batches that are large and not synced: what is cut is no data directory. Every id is
// mapped. Not thread-safe.
class ReshardTarget {
 public:
  // Borrows the store, which is new and maps server-given ids. Everything is written at `sequence`; about `batch_bytes`
  // are held before they are.
  ReshardTarget(EntryStore* store, Sequence sequence, size_t batch_bytes)
      : store_(store), sequence_(sequence), batch_bytes_(batch_bytes) {}

  // Entries of a partition, from BeginPartition() to EndPartition(), get the rows from `first_row` on.
  void BeginPartition(const PartitionKey& key, size_t value_bytes, Row first_row);
  absl::Status Add(const EntryView& entry);
  // `indexed`: it had index files. Where it wants some again, it names files that are not there, so that whoever opens
  // the shard builds them as if they had been lost (I2), instead of holding all of its rows in ram.
  absl::Status EndPartition(bool indexed);

  // At a sequence that is not above that of everything.
  absl::Status Add(const RememberedRequest& request);

  // What is added here is of about so many bytes.
  StateWrites& states() { return batch_.states; }
  absl::Status Added(size_t bytes);

  // Writes what is left, and makes all of it durable.
  absl::Status Finish();

 private:
  // What was added since it last did becomes runs of the batch.
  void EndRuns();
  absl::Status Commit();

  EntryStore* const store_;
  const Sequence sequence_;
  const size_t batch_bytes_;

  StoreBatch batch_;
  std::vector<std::unique_ptr<EntryColumns>> columns_;  // that the runs of the batch borrow
  size_t held_ = 0;
  uint64_t next_file_ = 1;

  // Of the partition.
  PartitionHead head_;
  Row first_row_ = 0;
  size_t value_bytes_ = 0;
  EntryColumns* open_ = nullptr;  // what is not in a run yet, whose first row is
  Row open_row_ = 0;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_RESHARD_TARGET_H_
