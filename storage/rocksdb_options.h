// How RocksDB is set up: the shared resources of a process and the options of each column family.
#ifndef MNEME_STORAGE_ROCKSDB_OPTIONS_H_
#define MNEME_STORAGE_ROCKSDB_OPTIONS_H_

#include <rocksdb/cache.h>
#include <rocksdb/options.h>
#include <rocksdb/write_buffer_manager.h>

#include <memory>

#include "storage/rocksdb_entry_store.h"

namespace mneme {

// Behind StoreResources, which other folders see. Thread-safe.
struct StoreResources::State {
  std::shared_ptr<rocksdb::Cache> block_cache;
  std::shared_ptr<rocksdb::WriteBufferManager> write_buffers;
};

// What a column family is used for.
enum class FamilyUse {
  kRows,      // large records, written in order, scanned
  kLookup,    // small records, found by key; misses are common, so they carry a Bloom filter
  kOrdered,   // small records, read by range
};

rocksdb::DBOptions DatabaseOptions(const StoreResources::State& resources);
rocksdb::ColumnFamilyOptions FamilyOptions(const StoreResources::State& resources, FamilyUse use);

}  // namespace mneme

#endif  // MNEME_STORAGE_ROCKSDB_OPTIONS_H_
