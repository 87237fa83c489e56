#include "storage/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// What a small file most often has: bounds are far above it.
constexpr size_t kFirstBytes = 4096;

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ErrnoStatus(const char* doing, const std::string& path) {
  const int error = errno;
  const std::string reason = std::generic_category().message(error);
  const std::string message = absl::StrCat("could not ", doing, " ", path, ": ", reason);
  if (error == ENOSPC || error == EDQUOT) {
    return WithReason(absl::ResourceExhaustedError(message), reason::kStorageFull);
  }
  if (error == EACCES || error == EPERM || error == EROFS) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

absl::StatusOr<std::optional<std::string>> ReadSmallFile(const std::string& path, size_t bound) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 && errno == ENOENT) return std::optional<std::string>();
  if (fd < 0) return ErrnoStatus("open", path);
  const absl::Cleanup close = [fd] { ::close(fd); };
  std::string bytes;
  size_t size = 0;
  while (size <= bound) {
    if (size == bytes.size()) bytes.resize(std::min(bound + 1, std::max(kFirstBytes, 2 * size)));
    const ssize_t got = ::read(fd, bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus("read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > bound) return absl::DataLossError(absl::StrCat(path, " is larger than ", bound, " bytes"));
  bytes.resize(size);
  return std::optional<std::string>(std::move(bytes));
}

absl::Status ReplaceFile(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoStatus("create", temporary);
  absl::Cleanup close = [fd] { ::close(fd); };
  RETURN_IF_ERROR(WriteAll(fd, bytes, temporary));
  if (::fsync(fd) != 0) return ErrnoStatus("sync", temporary);
  std::move(close).Cancel();
  if (::close(fd) != 0) return ErrnoStatus("close", temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus("rename", temporary);
  return SyncDirectory(std::filesystem::path(path).parent_path().string());
}

absl::Status MakeDirectory(const std::string& wanted) {
  std::error_code error;
  std::string path = wanted;
  while (path.size() > 1 && path.back() == '/') path.pop_back();  // else the parent is the directory itself
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) == 0) return SyncDirectory(parent.string());
  if (errno != EEXIST) return ErrnoStatus("create", path);
  return absl::OkStatus();
}

absl::StatusOr<int> LockDirectory(const std::string& path, const std::string& held) {
  const std::string lock = path + "/LOCK";
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoStatus("open", lock);
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  const absl::Status status = errno == EWOULDBLOCK ? absl::FailedPreconditionError(held) : ErrnoStatus("lock", lock);
  ::close(fd);
  return status;
}

absl::Status MovePath(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (!error) return SyncDirectory(std::filesystem::path(to).parent_path().string());
  return absl::UnavailableError(absl::StrCat("could not move ", from, " to ", to, ": ", error.message()));
}

absl::Status SyncDirectory(const std::string& path) {
  const std::string directory = path.empty() ? "." : path;
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("open", directory);
  const absl::Cleanup close = [fd] { ::close(fd); };
  if (::fsync(fd) != 0) return ErrnoStatus("sync", directory);
  return absl::OkStatus();
}

}  // namespace mneme
