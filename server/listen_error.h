// Why an address could not be listened on. The libraries that listen say only that they could not.
#ifndef MNEME_SERVER_LISTEN_ERROR_H_
#define MNEME_SERVER_LISTEN_ERROR_H_

#include <string>

#include "absl/status/status.h"

namespace mneme {

// UNAVAILABLE that names the address and the reason: "admin address 127.0.0.1:7701 is taken". Tries the address once
// more to learn it. `what` is how the operator knows the address; `address` is HOST:PORT or unix:PATH. Thread-safe.
absl::Status ListenError(const std::string& what, const std::string& address);

}  // namespace mneme

#endif  // MNEME_SERVER_LISTEN_ERROR_H_
