// FirstId: where the ids of rows begin that come without ids of their own.
#ifndef MNEME_CLIENT_CLI_FIRST_ID_H_
#define MNEME_CLIENT_CLI_FIRST_ID_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/session.h"

namespace mneme::cli {

// The word that asks for the id after the largest.
inline constexpr char kAppend[] = "append";

// The id after the largest that clients gave in a partition; 0 where there is none. Reads every entry, without keys:
// the server keeps no largest id. Another writer may take the id in the meantime.
absl::StatusOr<uint64_t> IdAfterLargest(const std::string& memory, uint64_t partition, Session& session);

// Whether --first-id may be given so: a number below 2^62, or kAppend.
bool IsFirstId(const std::string& text);
inline constexpr char kFirstIdBound[] = "a number below 2^62, or append";

// --first-id as given, a number or kAppend, for `rows` rows of `partition`.
// Returns a usage error if it is neither, or if the last id would not be below 2^62.
absl::StatusOr<uint64_t> FirstId(const std::string& given, uint64_t rows, const std::string& memory,
                                 uint64_t partition, Session& session);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_FIRST_ID_H_
