// Records: what all records of format.h have in common, a version first and DATA_LOSS for what no encoder wrote.
#ifndef MNEME_STORAGE_RECORD_H_
#define MNEME_STORAGE_RECORD_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "storage/byte_codec.h"

namespace mneme::format {

// Each kind of record has its own version. Stored on disk.
inline constexpr uint8_t kRecordVersion = 1;

inline absl::Status Damaged(const char* what) {
  return absl::DataLossError(absl::StrCat("a stored ", what, " is damaged"));
}

// Opens a versioned record.
inline absl::StatusOr<ByteReader> OpenRecord(std::string_view record, const char* what,
                                             uint8_t known = kRecordVersion) {
  ByteReader reader(record);
  const auto version = reader.Fixed<uint8_t>();
  if (!reader.ok()) return Damaged(what);
  if (version != known) {
    return absl::DataLossError(absl::StrCat("a stored ", what, " has version ", static_cast<int>(version),
                                            "; this program knows ", static_cast<int>(known)));
  }
  return reader;
}

inline std::string OpenedRecord() { return std::string(1, static_cast<char>(kRecordVersion)); }

}  // namespace mneme::format

#endif  // MNEME_STORAGE_RECORD_H_
