#include "server/listen_error.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/options.h"

namespace mneme {
namespace {

constexpr char kUnix[] = "unix:";

std::string ErrorText(int error) { return error == EADDRINUSE ? "is taken" : std::strerror(error); }

// Empty when the address can be listened on.
std::string TryToListen(const sockaddr* address, socklen_t size) {
  const int socket_fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) return ErrorText(errno);
  const int yes = 1;
  setsockopt(socket_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const bool listens = bind(socket_fd, address, size) == 0 && listen(socket_fd, 1) == 0;
  const std::string error = listens ? "" : ErrorText(errno);
  close(socket_fd);
  return error;
}

std::string WhyNotUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::StrCat("has a path of ", path.size(), " bytes; must be below ", sizeof(address.sun_path));
  }
  path.copy(address.sun_path, path.size());
  const std::string error = TryToListen(reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (error.empty()) unlink(path.c_str());
  return error;
}

std::string WhyNotTcp(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (code != 0) return gai_strerror(code);
  std::string error;
  for (const addrinfo* each = found; each != nullptr && error.empty(); each = each->ai_next) {
    error = TryToListen(each->ai_addr, each->ai_addrlen);
  }
  freeaddrinfo(found);
  return error;
}

std::string WhyNot(const std::string& address) {
  if (absl::StartsWith(address, kUnix)) return WhyNotUnix(address.substr(sizeof(kUnix) - 1));
  const auto parts = SplitAddress(address);
  return parts.ok() ? WhyNotTcp(parts->first, parts->second) : std::string(parts.status().message());
}

}  // namespace

absl::Status ListenError(const std::string& what, const std::string& address) {
  const std::string reason = WhyNot(address);
  const std::string name = absl::StrCat(what, " ", address);
  if (reason.empty()) return absl::UnavailableError(absl::StrCat(name, " was taken a moment ago; try again"));
  if (reason == "is taken") return absl::UnavailableError(absl::StrCat(name, " is taken"));
  return absl::UnavailableError(absl::StrCat(name, " cannot be listened on: ", reason));
}

}  // namespace mneme
