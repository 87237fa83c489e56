// Fingerprint: the option --fingerprint NAME=VALUE,.. of every verb that presents one.
#ifndef MNEME_CLIENT_CLI_FINGERPRINT_H_
#define MNEME_CLIENT_CLI_FINGERPRINT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

// Adds --fingerprint, whose parts go to `parts`; `description` is what its help says.
void AddFingerprintOption(Command verb, std::vector<std::string>& parts, const std::string& description);

// The help of verbs that present a fingerprint with their requests, for the server to compare.
inline constexpr char kPresentFingerprint[] = "Refuse unless the memory's keys were made so (model, layer, ..)";

// Returns a usage error, naming the part, unless each is NAME=VALUE of a field of the fingerprint.
absl::StatusOr<v1::Fingerprint> ParseFingerprint(const std::vector<std::string>& parts);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_FINGERPRINT_H_
