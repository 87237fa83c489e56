// ReadOnlyDb: a database as it lies in a checkpoint or a backup.
#ifndef MNEME_STORAGE_READ_ONLY_DB_H_
#define MNEME_STORAGE_READ_ONLY_DB_H_

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/types.h"

namespace mneme {

// What one store has.
struct StoreContents {
  Sequence applied = 0;
  uint64_t entries = 0;  // that are alive; of the catalogue: memories
};

// Changes no file and makes none. Not thread-safe.
class ReadOnlyDb {
 public:
  // `env` outlives it. `cache`, which several may share, holds its blocks; null: one of RocksDB's own for each family.
  // DATA_LOSS when the files are damaged.
  static absl::StatusOr<std::unique_ptr<ReadOnlyDb>> Open(const std::string& path, rocksdb::Env* env,
                                                          std::shared_ptr<rocksdb::Cache> cache = nullptr);
  ~ReadOnlyDb();

  rocksdb::DB& db() const { return *db_; }
  // Null when there is no such family.
  rocksdb::ColumnFamilyHandle* family(std::string_view name) const;
  absl::StatusOr<StoreContents> ReadContents() const;

 private:
  ReadOnlyDb() = default;

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_READ_ONLY_DB_H_
