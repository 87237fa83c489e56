#include "storage/file_pieces.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "common/limits.h"
#include "common/running_checksum.h"
#include "common/status_macros.h"
#include "storage/files.h"

namespace mneme {
namespace {

absl::StatusOr<int> OpenToRead(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return ErrnoStatus("open", path);
  return fd;
}

// Fills `piece` from `offset` on, and cuts it where the file ends.
absl::Status Fill(int fd, const std::string& path, uint64_t offset, std::string& piece) {
  size_t size = 0;
  while (size < piece.size()) {
    const ssize_t got = ::pread(fd, piece.data() + size, piece.size() - size, static_cast<off_t>(offset + size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus("read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  piece.resize(size);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SummedFile> SumFile(const std::string& path, const std::function<absl::Status(uint64_t)>& read) {
  ASSIGN_OR_RETURN(const int fd, OpenToRead(path));
  const absl::Cleanup close = [fd] { ::close(fd); };
  SummedFile summed;
  RunningChecksum checksum;
  std::string piece;
  do {
    piece.resize(limits::kCheckpointChunkBytes);
    RETURN_IF_ERROR(Fill(fd, path, summed.bytes, piece));
    checksum.Add(piece);
    summed.bytes += piece.size();
    RETURN_IF_ERROR(read(piece.size()));
  } while (piece.size() == limits::kCheckpointChunkBytes);
  summed.checksum = checksum.Sum();
  return summed;
}

absl::StatusOr<std::string> ReadPiece(const std::string& path, uint64_t offset, size_t most_bytes) {
  ASSIGN_OR_RETURN(const int fd, OpenToRead(path));
  const absl::Cleanup close = [fd] { ::close(fd); };
  std::string piece(most_bytes, '\0');
  RETURN_IF_ERROR(Fill(fd, path, offset, piece));
  return piece;
}

absl::Status SyncFile(const std::string& path) {
  ASSIGN_OR_RETURN(const int fd, OpenToRead(path));
  const absl::Cleanup close = [fd] { ::close(fd); };
  if (::fsync(fd) != 0) return ErrnoStatus("sync", path);
  return absl::OkStatus();
}

}  // namespace mneme
