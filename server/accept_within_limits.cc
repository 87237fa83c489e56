#include "server/accept_within_limits.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>

#include "absl/base/thread_annotations.h"
#include "common/limits.h"
#include "common/mutex.h"

namespace mneme {
namespace {

using Clock = std::chrono::steady_clock;

// Counting looks at every descriptor: no more often, for who is refused may come again at once.
constexpr Clock::duration kCountEvery = std::chrono::milliseconds(100);

std::atomic<size_t> reserved{limits::kDescriptorsOfShard + limits::kOtherDescriptors};
std::atomic<uint64_t> refused{0};

size_t DescriptorLimit() {
  rlimit files{};
  return getrlimit(RLIMIT_NOFILE, &files) == 0 ? static_cast<size_t>(files.rlim_cur) : 0;
}

// What the process has, one of which is `newest`. Descriptors are given from the lowest on: where there is no /proc
// there are not many more of any kind than its number. As many as there can be where none is left to look with.
size_t CountSockets(int newest) {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return errno == ENOENT ? static_cast<size_t>(newest) : DescriptorLimit();
  size_t sockets = 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    struct stat status {};
    if (fstat(std::atoi(entry->d_name), &status) == 0 && S_ISSOCK(status.st_mode)) ++sockets;
  }
  closedir(folder);
  return sockets;
}

// What the process has in sockets, counted now and then, and added to meanwhile.
class Sockets {
 public:
  // Of a connection that was just accepted: whether there are no more than `most` with it.
  bool Keep(int connection, size_t most) {
    MutexLock lock(&mutex_);
    const Clock::time_point now = Clock::now();
    if (now - counted_ >= kCountEvery) {
      sockets_ = CountSockets(connection);
      counted_ = now;
    } else {
      ++sockets_;
    }
    if (sockets_ <= most) return true;
    --sockets_;
    return false;
  }

 private:
  Mutex mutex_;
  size_t sockets_ ABSL_GUARDED_BY(mutex_) = 0;
  Clock::time_point counted_ ABSL_GUARDED_BY(mutex_);
};

bool MayKeep(int connection) {
  static Sockets sockets;
  return sockets.Keep(connection, MostSockets());
}

// What Linux hands over of a connection that broke before it was accepted (accept(2)): another may be waiting.
bool IsOfOneConnection(int error) {
  return error == ECONNABORTED || error == EPROTO || error == ENETDOWN || error == ENOPROTOOPT || error == EHOSTDOWN ||
         error == ENONET || error == EHOSTUNREACH || error == ENETUNREACH || error == EPERM;
}

bool IsOfWant(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

}  // namespace

void RaiseDescriptorLimit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);  // what it had is enough to begin with
}

bool ReserveDescriptors(size_t files) {
  reserved = files;
  return files <= DescriptorLimit() / 2;
}

size_t MostSockets() {
  const size_t limit = DescriptorLimit();
  return limit - std::min<size_t>(limit / 2, reserved);
}

uint64_t RefusedConnections() { return refused; }

}  // namespace mneme

extern "C" int accept4(int socket, sockaddr* address, socklen_t* length, int flags) {
  const socklen_t room = length == nullptr ? 0 : *length;
  while (true) {
    if (length != nullptr) *length = room;
    const int connection = static_cast<int>(syscall(SYS_accept4, socket, address, length, flags));
    if (connection >= 0 && mneme::MayKeep(connection)) return connection;
    if (connection >= 0) {
      ++mneme::refused;
      close(connection);
    } else if (!mneme::IsOfOneConnection(errno)) {
      // Whoever listens waits for the next connection, and takes those that wait with it.
      if (mneme::IsOfWant(errno)) errno = EAGAIN;
      return -1;
    }
  }
}
