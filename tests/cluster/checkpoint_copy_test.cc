// A replica that its log does not reach copies the store of another, whatever becomes of that one meanwhile.
#include "cluster/checkpoint_copy.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/flat_checkpoints.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "tests/engine/memory_log.h"
#include "tests/storage/checkpoint_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::MemoryLog;
namespace wire = internal::v1;
namespace fs = std::filesystem;

// A replica that has a checkpoint, or none.
class Source final : public wire::ShardService::Service {
 public:
  Source() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Source() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Have(const CheckpointSource* checkpoint) { checkpoint_ = checkpoint; }
  // What it has once the first was closed.
  void HaveNext(const CheckpointSource* checkpoint) { next_ = checkpoint; }
  // Goes away after so many chunks more.
  void DieAfter(int chunks) { left_ = chunks; }
  void Damage(bool damages) { damages_ = damages; }
  // Cuts a chunk to so many bytes, so that a file is many.
  void CutTo(size_t bytes) { most_ = bytes; }
  uint64_t sent() const { return sent_; }
  int closed() const { return closed_; }

  grpc::Status OpenCheckpoint(grpc::ServerContext*, const wire::Call* call,
                              grpc::ServerWriter<wire::Answer>* answers) override {
    deployment_ = call->target().deployment();
    if (checkpoint_ == nullptr || left_ <= 0) return {grpc::StatusCode::UNAVAILABLE, "it is not there"};
    Say(answers, Flat(FlatProgress{"reading", 1, 2}, std::optional<CheckpointManifest>()));
    Say(answers, Flat(FlatProgress{"done", 2, 2}, std::optional<CheckpointManifest>(checkpoint_.load()->manifest())));
    return grpc::Status::OK;
  }
  grpc::Status ReadCheckpoint(grpc::ServerContext*, const wire::Call* call,
                              grpc::ServerWriter<wire::Answer>* answers) override {
    uint64_t id = 0;
    uint64_t file = 0;
    uint64_t offset = 0;
    if (!Unflat(call->body(), id, file, offset).ok()) return {grpc::StatusCode::INVALID_ARGUMENT, "not understood"};
    const CheckpointSource& checkpoint = *checkpoint_;
    if (id != checkpoint.manifest().id) return {grpc::StatusCode::NOT_FOUND, "it has gone"};
    while (offset < checkpoint.manifest().files[file].bytes) {
      if (left_-- <= 0) {
        // gRPC drops what was not read when it hears of an error: what is counted here shall have come.
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        return {grpc::StatusCode::UNAVAILABLE, "it died"};
      }
      CheckpointChunk chunk = checkpoint.Read(file, offset).value();
      chunk.bytes.resize(std::min<size_t>(chunk.bytes.size(), most_));
      chunk.checksum = ChunkChecksum(offset, chunk.bytes);
      if (damages_) chunk.bytes.front() ^= 1;
      offset += chunk.bytes.size();
      if (!damages_) sent_ += chunk.bytes.size();
      Say(answers, Flat(chunk));
    }
    return grpc::Status::OK;
  }
  grpc::Status CloseCheckpoint(grpc::ServerContext*, const wire::Call*, wire::Answer*) override {
    ++closed_;
    if (const CheckpointSource* next = next_.exchange(nullptr)) checkpoint_ = next;
    return grpc::Status::OK;
  }
  uint64_t deployment() const { return deployment_; }

 private:
  static void Say(grpc::ServerWriter<wire::Answer>* answers, std::string body) {
    wire::Answer answer;
    answer.set_body(std::move(body));
    answers->Write(answer);
  }

  int port_ = 0;
  std::atomic<const CheckpointSource*> checkpoint_{nullptr};
  std::atomic<const CheckpointSource*> next_{nullptr};
  std::atomic<int> left_{1 << 30};
  std::atomic<bool> damages_{false};
  std::atomic<size_t> most_{limits::kCheckpointChunkBytes};
  std::atomic<uint64_t> sent_{0};
  std::atomic<uint64_t> deployment_{0};
  std::atomic<int> closed_{0};
  std::unique_ptr<grpc::Server> server_;
};

class CheckpointCopyTest : public testing::CheckpointTest {
 protected:
  // So many records, of which the first are not kept.
  void SetLog(LogOffset end, LogOffset begin) {
    log_.LeaveGap(end);
    log_.DropBefore(begin);
  }
  absl::Status Prepare(const std::vector<const Source*>& sources) {
    CheckpointCopyOptions options;
    options.deployment = 77;
    options.shards = 1;
    for (const Source* source : sources) options.sources.push_back(source->address());
    options.log = &log_;
    options.waits = waits_;
    options.events = [this](std::string_view event, std::string_view detail) {
      MutexLock lock(&mutex_);
      absl::StrAppend(&events_, std::string(event), " ", std::string(detail), "\n");
    };
    options.give_up = [this] { return asked_.fetch_add(1) > patience_; };
    options.least_records = 100;
    options.pause = std::chrono::milliseconds(20);
    return PrepareStore(options, target_, directory_ / "target/index").status();
  }
  std::string events() {
    MutexLock lock(&mutex_);
    return events_;
  }
  // That the store of the target is that of the source.
  void ExpectCopied() {
    EXPECT_EQ(TargetDump(), SourceDump());
    EXPECT_FALSE(Is("incoming"));
    EXPECT_FALSE(Is("arrived"));
    EXPECT_THAT(events(), HasSubstr("checkpoint_copied"));
  }

  MemoryLog log_;
  bool waits_ = true;
  int patience_ = 1 << 30;
  std::atomic<int> asked_{0};
  Mutex mutex_;
  std::string events_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(CheckpointCopyTest, WhereTheLogDoesNothingIsCopied) {
  Change(20);
  const auto checkpoint = Take();
  Source source;
  source.Have(checkpoint.get());
  SetLog(99, 0);
  ASSERT_TRUE(Prepare({&source}).ok()) << "few records, all of them there";
  EXPECT_FALSE(Is("db"));
  {
    const auto store = OpenStore(target_);
    StoreBatch batch;
    batch.sequence = 60;
    ASSERT_TRUE(store->Commit(batch).ok());
  }
  SetLog(1'000, 60);
  ASSERT_TRUE(Prepare({&source}).ok()) << "many records, which follow what it has";
  EXPECT_EQ(events(), "");
  EXPECT_EQ(source.sent(), 0U);
}

TEST_F(CheckpointCopyTest, AReplicaWithoutAStoreCopiesOneRatherThanApplyMuch) {
  Change(150);
  const auto checkpoint = Take();
  Source source;
  source.Have(checkpoint.get());
  SetLog(200, 0);
  ASSERT_TRUE(Prepare({&source}).ok());
  ExpectCopied();
  EXPECT_EQ(source.deployment(), 77U);
  EXPECT_EQ(source.closed(), 1);
  EXPECT_EQ(source.sent(), checkpoint->manifest().bytes());
}

TEST_F(CheckpointCopyTest, AStoreThatTheLogDoesNotReachIsReplaced) {
  Change(150);
  const auto checkpoint = Take();
  Source source;
  source.Have(checkpoint.get());
  {
    const auto store = OpenStore(target_);
    StoreBatch batch;
    batch.sequence = 60;
    ASSERT_TRUE(store->Commit(batch).ok());
  }
  SetLog(200, 140);
  ASSERT_TRUE(Prepare({&source}).ok());
  ExpectCopied();
}

TEST_F(CheckpointCopyTest, OneThatDiesIsLeftForTheNextWhichGoesOn) {
  Change(150, 20'000);
  const auto checkpoint = Take();
  Source first;
  Source second;
  for (Source* source : {&first, &second}) {
    source->Have(checkpoint.get());
    source->CutTo(10'000);
  }
  first.DieAfter(25);
  SetLog(200, 140);
  ASSERT_TRUE(Prepare({&first, &second}).ok());
  ExpectCopied();
  EXPECT_GT(first.sent(), 100'000U);
  EXPECT_EQ(first.sent() + second.sent(), checkpoint->manifest().bytes()) << "nothing came twice";
  EXPECT_THAT(events(), HasSubstr("checkpoint_failed"));
}

TEST_F(CheckpointCopyTest, ACopyThatWasCutGoesOnWhenTheProcessStartsAgain) {
  Change(150, 20'000);
  const auto checkpoint = Take();
  Source source;
  source.Have(checkpoint.get());
  source.CutTo(10'000);
  source.DieAfter(25);
  SetLog(200, 140);
  patience_ = 60;
  EXPECT_EQ(Prepare({&source}).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Is("incoming"));
  EXPECT_FALSE(Is("db"));
  patience_ = 1 << 30;
  source.DieAfter(1 << 30);
  ASSERT_TRUE(Prepare({&source}).ok());
  ExpectCopied();
  EXPECT_EQ(source.sent(), checkpoint->manifest().bytes());
}

TEST_F(CheckpointCopyTest, DamagedBytesAreRefusedAndAskedOfTheNext) {
  Change(150);
  const auto checkpoint = Take();
  Source first;
  Source second;
  first.Have(checkpoint.get());
  first.Damage(true);
  second.Have(checkpoint.get());
  SetLog(200, 140);
  ASSERT_TRUE(Prepare({&first, &second}).ok());
  ExpectCopied();
  EXPECT_THAT(events(), HasSubstr("damaged on its way"));
  EXPECT_EQ(first.closed(), 1) << "it keeps nothing for who is not served by it";
}

TEST_F(CheckpointCopyTest, ACheckpointThatTheLogHasLeftBehindIsClosedForANewerOne) {
  Change(150);
  const auto older = Take();
  Change(20);
  const auto newer = Take();
  Source source;
  source.Have(older.get());
  source.HaveNext(newer.get());
  SetLog(200, 160);
  ASSERT_TRUE(Prepare({&source}).ok());
  ExpectCopied();
  EXPECT_EQ(source.closed(), 2);
}

TEST_F(CheckpointCopyTest, WithoutASourceTheLogIsAppliedWhereItWillDo) {
  Source source;
  SetLog(200, 0);
  fs::create_directories(directory_ / "target/incoming");
  ASSERT_TRUE(Prepare({&source}).ok());
  EXPECT_FALSE(Is("db"));
  EXPECT_FALSE(Is("incoming"));
}

TEST_F(CheckpointCopyTest, WithoutASourceItWaitsForOneWhereTheLogWillNotDo) {
  Change(150);
  const auto checkpoint = Take();
  Source source;
  SetLog(200, 140);
  patience_ = 60;
  EXPECT_EQ(Prepare({&source}).code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(events(), HasSubstr("checkpoint_awaited"));
  patience_ = 1 << 30;
  source.Have(checkpoint.get());
  ASSERT_TRUE(Prepare({&source}).ok());
  ExpectCopied();
}

// They may wait for it themselves.
TEST_F(CheckpointCopyTest, WhoTellsNamesDoesNotWaitForASource) {
  Change(150);
  const auto checkpoint = Take();
  Source source;
  SetLog(200, 140);
  waits_ = false;
  ASSERT_TRUE(Prepare({&source}).ok());
  EXPECT_FALSE(Is("db"));
  EXPECT_THAT(events(), HasSubstr("start this one again"));
  source.Have(checkpoint.get());
  ASSERT_TRUE(Prepare({&source}).ok());
  ExpectCopied();
}

TEST_F(CheckpointCopyTest, OneThatStandsNoFurtherIsNoSource) {
  Change(150);
  const auto checkpoint = Take();
  Source source;
  source.Have(checkpoint.get());
  {
    const auto store = OpenStore(target_);
    StoreBatch batch;
    batch.sequence = 160;
    ASSERT_TRUE(store->Commit(batch).ok());
  }
  SetLog(300, 170);
  patience_ = 40;
  EXPECT_EQ(Prepare({&source}).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(source.sent(), 0U);
  EXPECT_THAT(events(), HasSubstr("this replica at 160"));
}

TEST_F(CheckpointCopyTest, WhoTellsNamesDoesNotWaitForTheLog) {
  Source source;
  SetLog(200, 140);
  log_.StopReading();
  waits_ = false;
  EXPECT_TRUE(Prepare({&source}).ok());
  waits_ = true;
  patience_ = 20;
  EXPECT_EQ(Prepare({&source}).code(), absl::StatusCode::kCancelled);
}

TEST_F(CheckpointCopyTest, AStoreThatIsDamagedIsLeftToWhoOpensIt) {
  Source source;
  fs::create_directories(target_);
  std::ofstream(target_ + "/CURRENT") << "MANIFEST-000042\n";
  SetLog(200, 140);
  EXPECT_TRUE(Prepare({&source}).ok());
  EXPECT_TRUE(Is("db/CURRENT"));
}

}  // namespace
}  // namespace mneme
