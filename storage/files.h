// Small durable files: read whole, replaced whole.
#ifndef MNEME_STORAGE_FILES_H_
#define MNEME_STORAGE_FILES_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme {

// The error that errno holds, as "could not <doing> <path>: <reason>". RESOURCE_EXHAUSTED when the disk is full;
// PERMISSION_DENIED when access is refused; else UNAVAILABLE.
absl::Status ErrnoStatus(const char* doing, const std::string& path);

// The bytes of a file of at most `bound` bytes; nullopt when it does not exist; DATA_LOSS when it is larger.
absl::StatusOr<std::optional<std::string>> ReadSmallFile(const std::string& path, size_t bound);

// Replaces a file (mode 0600) so that after a crash it holds the old bytes or the new ones: writes a temporary one,
// syncs it, renames it, syncs the directory.
absl::Status ReplaceFile(const std::string& path, std::string_view bytes);

// Makes a directory (mode 0700), and its parents, unless it is there; syncs the name of a new one.
absl::Status MakeDirectory(const std::string& path);

// Takes the lock of a directory, its file LOCK, for as long as the returned descriptor is open. FAILED_PRECONDITION,
// with `held` as its message, when another has it.
absl::StatusOr<int> LockDirectory(const std::string& path, const std::string& held);

// Moves a file or a directory within a file system, durably; not onto a directory that has anything. UNAVAILABLE.
absl::Status MovePath(const std::string& from, const std::string& to);

// Syncs a directory, so that names created or renamed in it last.
absl::Status SyncDirectory(const std::string& path);

}  // namespace mneme

#endif  // MNEME_STORAGE_FILES_H_
