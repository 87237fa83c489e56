// ExitCode: how the CLI tells a script what happened.
#ifndef MNEME_CLIENT_CLI_EXIT_CODE_H_
#define MNEME_CLIENT_CLI_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"

namespace mneme::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
// A failed call: 64 plus the gRPC code (NOT_FOUND is 69), as grpcurl has it.
inline constexpr int kExitRpc = 64;

// An error in how the command was written, found after parsing.
absl::Status UsageError(const std::string& message);

// 0, 1, 2 or 64 + code. Ctrl-C is 130 (interrupt.h).
int ExitCode(const absl::Status& status);

// The one line to show for `status`, which is not OK: what, where and, where it is known, what to do. `server` is the
// address that calls went to.
std::string ErrorLine(const absl::Status& status, const std::string& server);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_EXIT_CODE_H_
