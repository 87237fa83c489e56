// OperationLines: operations on registers as lines of JSON.
#ifndef MNEME_CLIENT_CLI_OPERATION_LINES_H_
#define MNEME_CLIENT_CLI_OPERATION_LINES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mneme/v1/working_memory.pb.h"

namespace mneme::cli {

// Those of a file, one a line; empty lines are none. Returns NOT_FOUND if it cannot be read, INVALID_ARGUMENT, naming
// file, line, field and what it must be, for a line that is no operation.
absl::StatusOr<std::vector<v1::StateOperation>> ReadOperations(const std::string& path);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_OPERATION_LINES_H_
