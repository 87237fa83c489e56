// StoreModel: what an EntryStore must hold, as plain maps; and random batches to drive both.
#ifndef MNEME_TESTS_STORAGE_STORE_MODEL_H_
#define MNEME_TESTS_STORAGE_STORE_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/entry_store.h"

namespace mneme {

// A batch with the columns it borrows.
struct OwnedBatch {
  StoreBatch batch;
  std::vector<std::unique_ptr<EntryColumns>> columns;
};

// The brute-force twin: every container is a map from what identifies a thing to its text.
class StoreModel {
 public:
  void Apply(const StoreBatch& batch);
  void DropMemory(MemoryNumber memory);
  // A batch that a shard could write next: inserts, overwrites, deletes, drops, segments, requests.
  // `entries` bounds the entries of one run, `value_bytes` their values.
  OwnedBatch RandomBatch(std::mt19937_64& random, size_t entries = 12, size_t value_bytes = 24) const;

  // Everything it holds, as text that DumpStore() of an equal store equals.
  std::string Dump() const;

  Sequence applied() const { return applied_; }

 private:
  struct Partition {
    std::map<Row, std::string> rows;
    std::map<EntryId, Row> ids;
    std::set<Row> dead;
    std::map<uint64_t, SegmentRecord> segments;
    Row next_row = 0;
    bool has_head = false;
    uint64_t live_rows = 0;
    EntryId id_bound = 0;
    EntryId next_new_id = 0;  // above all that were mapped since the last drop
  };
  const Partition& At(const PartitionKey& key) const;
  void AddRun(std::mt19937_64& random, const PartitionKey& key, size_t entries, size_t value_bytes,
              OwnedBatch& out) const;

  Sequence applied_ = 0;
  std::map<PartitionKey, Partition> partitions_;
  std::map<uint64_t, RememberedRequest> requests_;  // by id.high
};

// Everything a store holds, read through every method of its interface; or the first error met.
absl::StatusOr<std::string> DumpStore(const EntryStore& store);

}  // namespace mneme

#endif  // MNEME_TESTS_STORAGE_STORE_MODEL_H_
