// A disk that stalls: syncs of this program wait until the test lets them go on. What a caller's deadline ends is told
// in time, though the write goes on; whatever needs no sync goes on meanwhile; and what was written is there once.
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tests/server/test_server.h"

namespace {

std::atomic<bool> disk_stalls{false};
std::atomic<int> syncs_that_wait{0};

int SyncOnceItGoesOn(long call, int file) {
  ++syncs_that_wait;
  while (disk_stalls) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  --syncs_that_wait;
  return static_cast<int>(syscall(call, file));
}

}  // namespace

extern "C" {
int fsync(int file) { return SyncOnceItGoesOn(SYS_fsync, file); }
int fdatasync(int file) { return SyncOnceItGoesOn(SYS_fdatasync, file); }
}

namespace mneme {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Far from what a call takes whose disk does not stall, and from what the machine may be late by.
constexpr milliseconds kDeadline{300};
constexpr std::chrono::seconds kLate{10};

class StalledDiskTest : public ::testing::Test {
 protected:
  ~StalledDiskTest() override { disk_stalls = false; }

  template <typename Request, typename Response>
  grpc::Status CallWithin(std::chrono::milliseconds time,
                          grpc::Status (v1::MemoryService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                          Response*),
                          const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + time);
    return (server_.memory.get()->*method)(&context, request, response);
  }
  static v1::InsertRequest InsertOf(uint64_t first_id, const std::string& request_id, v1::Durability durability) {
    v1::InsertRequest request = GoodInsert("wiki");
    request.mutable_entries()->set_ids(Column<uint64_t>({first_id, first_id + 1}));
    request.set_request_id(request_id);
    request.set_durability(durability);
    return request;
  }
  template <typename Request, typename Response>
  void ExpectTooLate(grpc::Status (v1::MemoryService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request) {
    Response response;
    const auto begin = steady_clock::now();
    const grpc::Status status = CallWithin(kDeadline, method, request, &response);
    const auto took = steady_clock::now() - begin;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
    EXPECT_GE(took, kDeadline - milliseconds(5));
    EXPECT_LT(took, kLate);
  }

  TestServer server_{/*shards=*/1};
};

TEST_F(StalledDiskTest, ADeadlineIsKeptReadsGoOnAndARetryFindsWhatWasWritten) {
  using Stub = v1::MemoryService::Stub;
  ASSERT_TRUE(server_.Create("wiki", 2).ok());
  ASSERT_TRUE(server_.Insert(InsertOf(1, "before", v1::DURABILITY_SYNC)).ok());
  disk_stalls = true;
  const v1::InsertRequest insert = InsertOf(3, "stalled", v1::DURABILITY_SYNC);
  ExpectTooLate(&Stub::Insert, insert);
  EXPECT_GT(syncs_that_wait, 0) << "else the disk did not stall";
  ExpectTooLate(&Stub::Insert, insert);  // it is known by then, and no more durable
  v1::DeleteRequest erase;
  erase.set_memory("wiki");
  erase.set_ids(Column<uint64_t>({1}));
  erase.set_request_id("erased");
  ExpectTooLate(&Stub::Delete, erase);
  // What promises to outlive the process alone waits for no disk.
  v1::InsertResponse written;
  const v1::InsertRequest in_ram = InsertOf(5, "written", v1::DURABILITY_WRITTEN);
  const grpc::Status at_once = CallWithin(kLate, &Stub::Insert, in_ram, &written);
  EXPECT_TRUE(at_once.ok()) << at_once.error_message();
  for (int i = 0; i < 20; ++i) {
    v1::QueryResponse found;
    const grpc::Status read = CallWithin(kLate, &Stub::Query, GoodQuery("wiki"), &found);
    EXPECT_TRUE(read.ok()) << read.error_message();
  }
  EXPECT_GT(syncs_that_wait, 0) << "all of this while it stalled";
  disk_stalls = false;
  v1::InsertResponse again;
  const grpc::Status retried = server_.Insert(insert, &again);
  ASSERT_TRUE(retried.ok()) << retried.error_message();
  EXPECT_TRUE(again.replayed());
  EXPECT_EQ(again.inserted(), 2U) << "what it did the first time";
  v1::DeleteResponse gone;
  const grpc::Status deleted = TestServer::Call(&Stub::Delete, *server_.memory, erase, &gone);
  ASSERT_TRUE(deleted.ok()) << deleted.error_message();
  EXPECT_TRUE(gone.replayed());
  EXPECT_EQ(gone.receipt().deleted(), 1U);
  EXPECT_EQ(server_.Count("wiki"), 5U) << "2, 3 and 4, 5 and 6";
}

}  // namespace
}  // namespace mneme
