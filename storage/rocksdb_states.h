// Working memory in a shard's RocksDB: the family `states`.
#ifndef MNEME_STORAGE_ROCKSDB_STATES_H_
#define MNEME_STORAGE_ROCKSDB_STATES_H_

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <memory>

#include "absl/status/status.h"
#include "storage/states.h"

namespace mneme {

// Appends `writes`. Called by the one thread that writes to `db`: what goes of a dropped space is read from it.
absl::Status EncodeStates(const StateWrites& writes, rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family,
                          rocksdb::WriteBatch& out);

// About as many bytes as EncodeStates() will append.
size_t EncodedBytes(const StateWrites& writes);

// A reader of this moment; `db` and `family` must outlive it.
std::unique_ptr<StateReader> NewRocksDbStateReader(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family);

}  // namespace mneme

#endif  // MNEME_STORAGE_ROCKSDB_STATES_H_
