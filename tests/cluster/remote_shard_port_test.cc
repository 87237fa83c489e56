// What a front end does with writes for a shard that does not answer.
#include "cluster/remote_shard_port.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "engine/log_record.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::TokenMemory;

// Takes connections and says nothing, until it is gone.
class SilentShard {
 public:
  SilentShard() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentShard() { Go(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // Connections that it took are reset.
  void Go() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
  int port_ = 0;
};

class RemoteShardPortTest : public ::testing::Test {
 protected:
  using Told = std::future<absl::StatusOr<WriteResult>>;

  RemoteShardPortTest() {
    MemoryRecord record;
    record.number = 7;
    record.spec = TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  InsertOperation Insert() const {
    InsertOperation insert;
    insert.ticket.memory = memory_;
    insert.ticket.request = RequestIdentity{{1, 2}, 3};
    insert.entries = ColumnsOf(memory_->spec, {{.id = 1, .key = {0.5F, -1.0F}, .token = 4}});
    return insert;
  }
  uint64_t RecordBytes() const { return EncodeLogRecord(Insert()).value().size(); }
  absl::Status Submit(RemoteShardPort& port) {
    auto told = std::make_shared<std::promise<absl::StatusOr<WriteResult>>>();
    InsertOperation insert = Insert();
    insert.ticket.done = [told](absl::StatusOr<WriteResult> result) { told->set_value(std::move(result)); };
    const absl::Status handed = port.Submit(std::move(insert));
    if (handed.ok()) told_.push_back(told->get_future());
    return handed;
  }

  SilentShard shard_;
  MemoryHandle memory_;
  Canceller canceller_;
  ShardChannel channel_{internal_wire::Target(), shard_.address(), &canceller_};
  std::vector<Told> told_;
};

TEST_F(RemoteShardPortTest, WritesThatWaitHaveABoundAndEachIsToldOnce) {
  RemoteShardPort port(&channel_, 3 * RecordBytes());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit(port).ok());
  const absl::Status refused = Submit(port);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(shard_.address()));
  EXPECT_THAT(std::string(refused.message()), HasSubstr(absl::StrCat("the bound is ", 3 * RecordBytes())));
  shard_.Go();
  for (Told& told : told_) EXPECT_EQ(told.get().status().code(), absl::StatusCode::kUnavailable);
  // What was told waits no more.
  told_.clear();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Submit(port).ok());
  for (Told& told : told_) EXPECT_EQ(told.get().status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace mneme
