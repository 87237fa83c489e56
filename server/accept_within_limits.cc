#include "server/accept_within_limits.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "common/limits.h"

namespace mneme {

int FirstReservedDescriptor() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return INT_MAX;
  const rlim_t first = files.rlim_cur - files.rlim_cur / limits::kReservedDescriptorParts;
  return static_cast<int>(std::min<rlim_t>(first, INT_MAX));
}

void RaiseDescriptorLimit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);  // what it had is enough to begin with
}

}  // namespace mneme

extern "C" int accept4(int socket, sockaddr* address, socklen_t* length, int flags) {
  const socklen_t room = length == nullptr ? 0 : *length;
  while (true) {
    if (length != nullptr) *length = room;
    const int connection = static_cast<int>(syscall(SYS_accept4, socket, address, length, flags));
    if (connection < 0) {
      // Whoever listens waits for the next connection, and takes those that wait with it.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) errno = EAGAIN;
      return -1;
    }
    if (connection < mneme::FirstReservedDescriptor()) return connection;
    close(connection);
  }
}
