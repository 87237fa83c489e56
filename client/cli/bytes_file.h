// BytesFile: whole files as bytes.
#ifndef MNEME_CLIENT_CLI_BYTES_FILE_H_
#define MNEME_CLIENT_CLI_BYTES_FILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme::cli {

// Returns NOT_FOUND, naming the path, if the file cannot be read.
absl::StatusOr<std::string> ReadBytes(const std::string& path);
// Its lines, without line ends.
absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path);
// Returns UNAVAILABLE, naming the path, if the file cannot be written whole.
absl::Status WriteBytes(const std::string& path, const std::string& bytes);
// Makes a folder and those above it. Returns UNAVAILABLE, naming it, if it cannot be made.
absl::Status MakeFolder(const std::string& path);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_BYTES_FILE_H_
