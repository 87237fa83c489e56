#include "server/accept_within_limits.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

namespace mneme {
namespace {

// A listener, clients of it, and a limit of descriptors that goes with the test.
class AcceptWithinLimitsTest : public testing::Test {
 protected:
  AcceptWithinLimitsTest() {
    getrlimit(RLIMIT_NOFILE, &before_);
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
    EXPECT_EQ(::listen(listener_, 128), 0);
    socklen_t length = sizeof address_;
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &length), 0);
  }
  ~AcceptWithinLimitsTest() override {
    Close();
    close(listener_);
    setrlimit(RLIMIT_NOFILE, &before_);
  }

  void SetUp() override { LetItCountAgain(); }

  // It counts sockets ten times a second.
  static void LetItCountAgain() { std::this_thread::sleep_for(std::chrono::milliseconds(120)); }

  static size_t Sockets() {
    size_t sockets = 0;
    for (int each = 0; each < 1'024; ++each) {
      struct stat status {};
      if (fstat(each, &status) == 0 && S_ISSOCK(status.st_mode)) ++sockets;
    }
    return sockets;
  }

  void OpenFiles(int count) {
    for (int i = 0; i < count; ++i) {
      open_.push_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
      ASSERT_GE(open_.back(), 0) << i;
    }
  }

  void Connect(int count) {
    for (int i = 0; i < count; ++i) {
      const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      ASSERT_GE(client, 0);
      ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
      open_.push_back(client);
    }
  }

  // As gRPC calls it.
  int Accept() {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    const int connection = ::accept4(listener_, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK);
    if (connection >= 0) {
      EXPECT_EQ(length, sizeof(sockaddr_in));
      EXPECT_NE(::fcntl(connection, F_GETFL) & O_NONBLOCK, 0);
      open_.push_back(connection);
    }
    return connection;
  }

  static void Limit(rlim_t files) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = files;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }

  void Close() {
    for (const int each : open_) close(each);
    open_.clear();
  }

  rlimit before_{};
  sockaddr_in address_{};
  int listener_ = -1;
  std::vector<int> open_;
};

TEST_F(AcceptWithinLimitsTest, ConnectionsLeaveFilesWhatIsKeptForThem) {
  Limit(128);
  EXPECT_FALSE(ReserveDescriptors(1'000));
  EXPECT_EQ(MostSockets(), 64U);
  // Files that were there before take nothing of what connections may have.
  OpenFiles(40);
  Connect(50);
  const uint64_t before = RefusedConnections();
  size_t accepted = 0;
  while (Accept() >= 0) ++accepted;
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_GT(accepted, 5U);
  EXPECT_EQ(Sockets(), 64U);
  EXPECT_EQ(RefusedConnections() - before, 50 - accepted);
  // What the store opens is there.
  OpenFiles(15);
  Close();
  LetItCountAgain();
  Connect(1);
  EXPECT_GE(Accept(), 0);
  EXPECT_TRUE(ReserveDescriptors(28));
  EXPECT_EQ(MostSockets(), 100U);
}

TEST_F(AcceptWithinLimitsTest, AWantOfDescriptorsIsNoErrorOfTheListener) {
  Connect(2);
  std::vector<int> files;
  Limit(64);
  for (int file = 0; (file = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) files.push_back(file);
  EXPECT_EQ(errno, EMFILE);
  EXPECT_EQ(Accept(), -1);
  EXPECT_EQ(errno, EAGAIN);
  for (const int each : files) close(each);
  EXPECT_GE(Accept(), 0);
  EXPECT_GE(Accept(), 0);
}

TEST_F(AcceptWithinLimitsTest, TheLimitIsRaisedToWhatIsAllowed) {
  Limit(100);
  RaiseDescriptorLimit();
  rlimit now{};
  getrlimit(RLIMIT_NOFILE, &now);
  EXPECT_EQ(now.rlim_cur, before_.rlim_max);
}

}  // namespace
}  // namespace mneme
