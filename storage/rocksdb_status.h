// FromRocksDb: the one place where a rocksdb::Status becomes an absl::Status.
#ifndef MNEME_STORAGE_ROCKSDB_STATUS_H_
#define MNEME_STORAGE_ROCKSDB_STATUS_H_

#include <rocksdb/slice.h>
#include <rocksdb/status.h>

#include <string_view>

#include "absl/status/status.h"

namespace mneme {

// `doing` says what was tried: "commit", "open". OK stays OK.
absl::Status FromRocksDb(const rocksdb::Status& status, const char* doing);

inline rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace mneme

#endif  // MNEME_STORAGE_ROCKSDB_STATUS_H_
