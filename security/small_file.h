// SmallFile: a file of an operator's (tokens, keys, certificates), looked at and read in one.
#ifndef MNEME_SECURITY_SMALL_FILE_H_
#define MNEME_SECURITY_SMALL_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace mneme {

struct SmallFile {
  std::string text;
  mode_t mode = 0;  // of what was read, whatever has its name by now
};

// Waits for nobody: a pipe, a directory and the like are INVALID_ARGUMENT, as is what has more than `max_bytes`;
// NOT_FOUND where there is none, PERMISSION_DENIED where it may not be read. Messages go on after the file's name.
absl::StatusOr<SmallFile> ReadOperatorFile(const std::string& path, size_t max_bytes);

}  // namespace mneme

#endif  // MNEME_SECURITY_SMALL_FILE_H_
