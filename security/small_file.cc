#include "security/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace mneme {
namespace {

absl::Status CannotBeRead(int error) {
  const std::string why = absl::StrCat("cannot be read: ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(why) : absl::PermissionDeniedError(why);
}

}  // namespace

absl::StatusOr<SmallFile> ReadOperatorFile(const std::string& path, size_t max_bytes) {
  // To open a pipe would wait for its writer.
  const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return CannotBeRead(errno);
  const absl::Cleanup closes = [file] { close(file); };
  struct stat status = {};
  if (fstat(file, &status) != 0) return CannotBeRead(errno);
  if (!S_ISREG(status.st_mode)) return absl::InvalidArgumentError("cannot be read: it is no regular file");
  SmallFile out;
  out.mode = status.st_mode;
  char bytes[16'384];
  while (true) {
    const ssize_t got = read(file, bytes, sizeof(bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CannotBeRead(errno);
    if (got == 0) return out;
    out.text.append(bytes, static_cast<size_t>(got));
    if (out.text.size() > max_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("has more than ", max_bytes, " bytes"));
    }
  }
}

}  // namespace mneme
