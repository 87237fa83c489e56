// What mneme-server does instead of serving: verifying and restoring backups.
#ifndef MNEME_SERVER_OFFLINE_H_
#define MNEME_SERVER_OFFLINE_H_

#include <functional>

#include "server/options.h"

namespace mneme {

// Does what `options` say (ServerOptions::offline), with progress on stderr when that is a terminal, and one line on
// stdout at the end: a JSON object with LogFormat::kJson. `give_up` is asked all the while. Returns the exit code: 0;
// 1 with the reason on stderr; 130 when it was given up, and nothing of it is left.
int RunOffline(const ServerOptions& options, const std::function<bool()>& give_up);

}  // namespace mneme

#endif  // MNEME_SERVER_OFFLINE_H_
