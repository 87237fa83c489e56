// Tables of RocksDB as files, wherever they lie.
#ifndef MNEME_STORAGE_TABLE_FILE_H_
#define MNEME_STORAGE_TABLE_FILE_H_

#include <string>

#include "absl/status/status.h"

namespace mneme {

// Reads every block: one that was damaged before the file was copied has the right checksum of a file. DATA_LOSS.
absl::Status VerifyTable(const std::string& path);

}  // namespace mneme

#endif  // MNEME_STORAGE_TABLE_FILE_H_
