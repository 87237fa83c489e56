#include "storage/rocksdb_status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"

namespace mneme {

absl::Status FromRocksDb(const rocksdb::Status& status, const char* doing) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat("storage could not ", doing, ": ", status.ToString());
  // A full disk is said in the subcode, whatever the code.
  if (status.subcode() == rocksdb::Status::kNoSpace || status.subcode() == rocksdb::Status::kSpaceLimit) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat("the disk is full; ", message)), reason::kStorageFull);
  }
  switch (status.code()) {
    case rocksdb::Status::kOk:
      return absl::OkStatus();
    case rocksdb::Status::kNotFound:
      return absl::NotFoundError(message);
    case rocksdb::Status::kCorruption:
      return absl::DataLossError(message);
    case rocksdb::Status::kIOError:
      // A file that the manifest names and that is gone is lost data; any other failed I/O may pass on another try.
      return status.subcode() == rocksdb::Status::kPathNotFound ? absl::DataLossError(message)
                                                                : absl::UnavailableError(message);
    case rocksdb::Status::kBusy:
    case rocksdb::Status::kTryAgain:
    case rocksdb::Status::kTimedOut:
    case rocksdb::Status::kIncomplete:
    case rocksdb::Status::kShutdownInProgress:
      return absl::UnavailableError(message);
    case rocksdb::Status::kAborted:
      return absl::AbortedError(message);
    case rocksdb::Status::kNotSupported:
    case rocksdb::Status::kInvalidArgument:
    case rocksdb::Status::kMergeInProgress:
    case rocksdb::Status::kExpired:
    case rocksdb::Status::kCompactionTooLarge:
    case rocksdb::Status::kColumnFamilyDropped:
    case rocksdb::Status::kMaxCode:
      return absl::InternalError(message);
  }
  return absl::InternalError(message);
}

}  // namespace mneme
