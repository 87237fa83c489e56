// Quotas of names on what is stored and answered, asked for as clients do.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/server/access_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

constexpr char kInsert[] = "/mneme.v1.MemoryService/Insert";
constexpr char kApply[] = "/mneme.v1.WorkingMemoryService/Apply";
constexpr char kCreate[] = "/mneme.v1.AdminService/CreateMemory";

class StoredBoundsTest : public AccessTest {
 protected:
  void Take(const std::vector<std::string>& lines) {
    WriteTokens(lines);
    server_->Reload();
  }
  static v1::InsertRequest Entries(const std::string& memory, uint64_t first, size_t count, uint64_t partition = 0) {
    v1::InsertRequest insert;
    insert.set_memory(memory);
    insert.set_partition(partition);
    *insert.mutable_entries()->mutable_keys() = F32(std::vector<float>(2 * count, 1), 2);
    insert.mutable_entries()->mutable_values()->set_tokens(Column(std::vector<uint32_t>(count, 7)));
    std::vector<uint64_t> ids(count);
    for (size_t i = 0; i < count; ++i) ids[i] = first + i;
    insert.mutable_entries()->set_ids(Column(ids));
    return insert;
  }
  grpc::Status Delete(const std::string& name, const std::string& memory, uint64_t id, uint64_t partition = 0) {
    v1::DeleteRequest erase;
    erase.set_memory(memory);
    erase.mutable_partitions()->add_partitions(partition);
    erase.set_ids(Column<uint64_t>({id}));
    return Ask(name, "/mneme.v1.MemoryService/Delete", erase);
  }
  static void ExpectFull(const grpc::Status& status, const std::string& told) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    EXPECT_EQ(DetailOf(status).reason, "STORED_QUOTA");
    EXPECT_FALSE(DetailOf(status).has_retry) << "only deleting helps";
    EXPECT_THAT(status.error_message(), HasSubstr(told));
  }
  std::unique_ptr<grpc::ClientContext> As(const std::string& name) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->AddMetadata("authorization", "Bearer " + TokenOf(name));
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return context;
  }
};

TEST_F(StoredBoundsTest, AMemoryTakesNoMoreThanItsWriterMayStore) {
  Take({"writer write:wiki stored-entries:10", "everything admin:*"});
  Make("wiki");
  EXPECT_TRUE(Ask("everything", kInsert, Entries("wiki", 1, 4)).ok());
  EXPECT_TRUE(Ask("writer", kInsert, Entries("wiki", 5, 6)).ok());
  ExpectFull(Ask("writer", kInsert, Entries("wiki", 11, 1)),
             "memory \"wiki\" holds 10 entries, and 1 more do not fit in the quota of 10 stored entries of \"writer\"");
  EXPECT_TRUE(Ask("everything", kInsert, Entries("wiki", 100, 1)).ok()) << "who has no bound";
  EXPECT_TRUE(Ask("writer", "/mneme.v1.MemoryService/Query", GoodQuery("wiki")).ok());
  EXPECT_TRUE(Ask("writer", kApply, GoodApply("wiki")).ok()) << "states are no entries";
  // What is deleted makes room at once.
  EXPECT_TRUE(Delete("writer", "wiki", 1).ok());
  ExpectFull(Ask("writer", kInsert, Entries("wiki", 11, 1)), "holds 10 entries");
  EXPECT_TRUE(Delete("writer", "wiki", 2).ok());
  EXPECT_TRUE(Ask("writer", kInsert, Entries("wiki", 11, 1)).ok());
  EXPECT_EQ(CountOf("wiki"), 10U);
}

TEST_F(StoredBoundsTest, ATenantFillsItsOwnPartitionAndNoOther) {
  Take({"tenant write:wiki/7 stored-entries:5", "other write:wiki/8 stored-entries:5", "everything admin:*"});
  Make("wiki");
  EXPECT_TRUE(Ask("everything", kInsert, Entries("wiki", 1, 50)).ok());
  EXPECT_TRUE(Ask("tenant", kInsert, Entries("wiki", 1, 5, 7)).ok());
  ExpectFull(Ask("tenant", kInsert, Entries("wiki", 6, 1, 7)), "partition 7 of memory \"wiki\" holds 5 entries");
  EXPECT_TRUE(Ask("other", kInsert, Entries("wiki", 1, 5, 8)).ok());
}

TEST_F(StoredBoundsTest, ABatchOfAStreamThatDoesNotFitEndsItAndThoseBeforeAreKept) {
  Take({"writer write:live stored-entries:10", "everything admin:*"});
  MakeWiki();
  const auto stub = v1::MemoryService::NewStub(channel_);
  const auto context = As("writer");
  const auto stream = stub->InsertStream(context.get());
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    v1::InsertStreamRequest batch;
    batch.set_sequence(sequence);
    *batch.mutable_insert() = Entries(sequence == 1 ? "live" : "", 4 * sequence, 4);
    if (!stream->Write(batch)) break;
  }
  stream->WritesDone();
  uint64_t acknowledged = 0;
  for (v1::InsertStreamResponse response; stream->Read(&response);) acknowledged = response.sequence();
  ExpectFull(stream->Finish(), "memory \"live\" holds 8 entries, and 4 more do not fit");
  EXPECT_EQ(acknowledged, 2U);
  EXPECT_EQ(CountOf("wiki"), 8U);
}

TEST_F(StoredBoundsTest, AStepThatAppendsBeyondTheBoundEndsItsStream) {
  Take({"writer write:wiki stored-entries:2", "everything admin:*"});
  Make("wiki");
  const auto stub = v1::MemoryService::NewStub(channel_);
  const auto context = As("writer");
  const auto stream = stub->QueryStream(context.get());
  int answered = 0;
  for (uint64_t number = 1; number <= 3; ++number) {
    v1::QueryStreamRequest step;
    step.set_step(number);
    *step.mutable_query() = GoodQuery("wiki");
    step.mutable_append()->mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7}));
    v1::QueryStreamResponse response;
    if (!stream->Write(step) || !stream->Read(&response)) break;
    ++answered;
  }
  stream->WritesDone();
  for (v1::QueryStreamResponse response; stream->Read(&response);) {
  }
  ExpectFull(stream->Finish(), "memory \"wiki\" holds 2 entries");
  EXPECT_EQ(answered, 2);
  EXPECT_EQ(CountOf("wiki"), 2U);
}

TEST_F(StoredBoundsTest, BytesAreOfEntriesAndSessionsAndWhatRemovesPasses) {
  // Much beside what the store only guesses, which is what it has in ram.
  constexpr size_t kState = 1024 * 1024;
  Take({"writer write:wiki stored-bytes:20000000", "everything admin:*"});
  Make("wiki");
  v1::ApplyRequest put = GoodApply("wiki");
  put.mutable_operations(0)->mutable_register_put()->set_value(std::string(kState, 'x'));
  grpc::Status refused;
  int taken = 0;
  for (; taken < 60 && refused.ok(); ++taken) {  // as many fit in a session
    put.mutable_operations(0)->set_name("state-" + std::to_string(taken));
    refused = Ask("writer", kApply, put);
  }
  ExpectFull(refused, "stored bytes of \"writer\"");
  EXPECT_GE(taken, 10) << "nineteen of them fit";
  EXPECT_LE(taken, 45) << "what it has in ram is only guessed";
  v1::ApplyRequest remove;
  remove.set_memory("wiki");
  remove.add_operations()->set_session("chat");
  remove.mutable_operations(0)->set_name("state-0");
  remove.mutable_operations(0)->mutable_remove();
  EXPECT_TRUE(Ask("writer", kApply, remove).ok());
}

TEST_F(StoredBoundsTest, WhoCreatesMemoriesHasABoundOnTheirNumber) {
  Take({"tenant admin:own-* memories:2", "everything admin:*"});
  const auto create = [this](const std::string& name) {
    v1::CreateMemoryRequest request;
    request.mutable_memory()->set_name(name);
    request.mutable_memory()->set_dimension(2);
    request.mutable_memory()->set_metric(v1::METRIC_L2);
    request.mutable_memory()->set_value_kind(v1::VALUE_KIND_TOKEN);
    request.mutable_memory()->set_vocabulary_size(100);
    return Ask("tenant", kCreate, request);
  };
  Make("wiki");
  EXPECT_TRUE(create("own-1").ok());
  EXPECT_TRUE(create("own-2").ok());
  ExpectFull(create("own-3"), "there are 2 memories of the names that \"tenant\" may create, and his quota is 2");
  EXPECT_EQ(create("own-2").error_code(), grpc::StatusCode::ALREADY_EXISTS) << "a retry learns that it is there";
  v1::DropMemoryRequest drop;
  drop.set_memory("own-1");
  EXPECT_TRUE(Ask("tenant", "/mneme.v1.AdminService/DropMemory", drop).ok());
  EXPECT_TRUE(create("own-3").ok());
}

TEST_F(StoredBoundsTest, AScanWaitsForTheQuotaOfAnswersAndIsWholeAndRequestsAreRefusedMeanwhile) {
  constexpr double kQuota = 5'000;
  Take({"reader read:wiki answered-bytes/s:5000", "everything admin:*"});
  Make("wiki");
  EXPECT_TRUE(Ask("everything", kInsert, Entries("wiki", 1, 2'000)).ok());
  const auto stub = v1::MemoryService::NewStub(channel_);
  const auto context = As("reader");
  v1::ScanRequest scan;
  scan.set_memory("wiki");
  scan.set_page_size(500);
  const auto began = std::chrono::steady_clock::now();
  const auto stream = stub->Scan(context.get(), scan);
  size_t entries = 0;
  size_t bytes = 0;
  for (v1::ScanResponse page; stream->Read(&page);) {
    entries += page.entries().ids().size() / sizeof(uint64_t);
    bytes += page.ByteSizeLong();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(entries, 2'000U);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  // A second's worth is there at the start, and the last page need not be paid for.
  const double least = (static_cast<double>(bytes) * 3 / 4 - kQuota) / kQuota;
  EXPECT_GT(least, 1) << "the test asks for too little";
  EXPECT_GT(took.count(), least - 0.2);
  grpc::Status refused;
  for (int i = 0; i < 500 && refused.ok(); ++i) {
    scan.set_page_limit(1);
    refused = Ask("reader", "/mneme.v1.MemoryService/Scan", scan);
  }
  EXPECT_EQ(DetailOf(refused).reason, "RATE_LIMIT");
  EXPECT_TRUE(DetailOf(refused).has_retry);
  EXPECT_THAT(refused.error_message(),
              HasSubstr("\"reader\" has used up its quota of 5000 bytes of answers a second"));
}

}  // namespace
}  // namespace mneme
