#include "storage/table_file.h"

#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>

#include "common/status_macros.h"
#include "storage/rocksdb_status.h"

namespace mneme {

absl::Status VerifyTable(const std::string& path) {
  rocksdb::SstFileReader reader{rocksdb::Options()};
  RETURN_IF_ERROR(FromRocksDb(reader.Open(path), "open a table that was copied"));
  return FromRocksDb(reader.VerifyChecksum(), "read a table that was copied");
}

}  // namespace mneme
