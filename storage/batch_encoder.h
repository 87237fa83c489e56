// EncodeBatch: a StoreBatch as operations of RocksDB.
#ifndef MNEME_STORAGE_BATCH_ENCODER_H_
#define MNEME_STORAGE_BATCH_ENCODER_H_

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include "storage/entry_store.h"

namespace mneme {

// Handles of a shard's column families; borrowed.
struct EntryFamilies {
  rocksdb::ColumnFamilyHandle* rows = nullptr;
  rocksdb::ColumnFamilyHandle* ids = nullptr;
  rocksdb::ColumnFamilyHandle* id_runs = nullptr;
  rocksdb::ColumnFamilyHandle* dead = nullptr;
  rocksdb::ColumnFamilyHandle* heads = nullptr;
  rocksdb::ColumnFamilyHandle* segments = nullptr;
  rocksdb::ColumnFamilyHandle* requests = nullptr;
};

// Everything of `batch` but its requests and states, in the order that StoreBatch states: dropped partitions, runs,
// deaths, heads, segments removed and added, marks cleared.
rocksdb::Status EncodeBatch(const StoreBatch& batch, const EntryFamilies& families, rocksdb::WriteBatch& out);

// Removes every key that starts with `prefix` from the families of entries.
rocksdb::Status EncodeDrop(const std::string& prefix, const EntryFamilies& families, rocksdb::WriteBatch& out);

// About as many bytes as EncodeBatch() will write, so that it allocates once.
size_t EncodedBytes(const StoreBatch& batch);

}  // namespace mneme

#endif  // MNEME_STORAGE_BATCH_ENCODER_H_
