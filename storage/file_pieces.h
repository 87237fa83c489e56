// Files that are too long to be read at once.
#ifndef MNEME_STORAGE_FILE_PIECES_H_
#define MNEME_STORAGE_FILE_PIECES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"

namespace mneme {

struct SummedFile {
  uint64_t bytes = 0;
  Hash128 checksum;  // Checksum128 of them
};

// Reads a file from its beginning to its end, and tells `read` how many bytes each piece had; its error ends it. Errors
// as ErrnoStatus() says.
absl::StatusOr<SummedFile> SumFile(const std::string& path, const std::function<absl::Status(uint64_t bytes)>& read);

// At most `most_bytes` of a file from `offset` on; fewer only where it ends.
absl::StatusOr<std::string> ReadPiece(const std::string& path, uint64_t offset, size_t most_bytes);

// Syncs what a file has, whoever wrote it.
absl::Status SyncFile(const std::string& path);

}  // namespace mneme

#endif  // MNEME_STORAGE_FILE_PIECES_H_
