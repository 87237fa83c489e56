// What is checked of options that have a process do something else than serve (offline.h).
#ifndef MNEME_SERVER_OFFLINE_OPTIONS_H_
#define MNEME_SERVER_OFFLINE_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/log_replay.h"
#include "server/options.h"

namespace mneme {

// Of --until: a time of RFC 3339, or numbers with commas between them.
absl::StatusOr<ReplayPoint> ParseUntil(const std::string& text);
// Of options that are offline() what goes with them; of others that nothing of it is given.
absl::Status CheckOffline(const ServerOptions& options);

}  // namespace mneme

#endif  // MNEME_SERVER_OFFLINE_OPTIONS_H_
