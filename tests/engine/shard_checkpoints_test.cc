// Replicas of a shard have the same digest at the same place of their log, and one becomes another by its checkpoint.
#include "engine/shard_checkpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/log_record.h"
#include "storage/checkpoint_target.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/log_calls.h"
#include "tests/engine/memory_log.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::LogCall;
using testing::LogCalls;
using testing::MemoryLog;
using testing::PlainEntry;
using testing::SimulatedMemories;

constexpr int64_t kNowMs = 1'000'000;

CallLimits Within(std::chrono::milliseconds time) {
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + time;
  return limits;
}
constexpr std::chrono::seconds kPatience{30};

bool Go(uint64_t, uint64_t) { return true; }

class ShardCheckpointsTest : public ::testing::Test {
 protected:
  ShardCheckpointsTest() {
    Open(0);
    for (const auto& [number, memory] : SimulatedMemories()) {
      EXPECT_EQ(replicas_[0]->CreateMemory(memory->spec).value()->number, number);
    }
  }
  ~ShardCheckpointsTest() override {
    for (auto& each : replicas_) each.reset();
  }

  using Prepare = std::function<absl::Status(const DataDirectory&, CatalogueChanges& catalogue)>;

  void Open(size_t replica, Prepare prepare = nullptr) {
    DeploymentOptions options;
    options.data_dir = directory_ / absl::StrCat("replica-", replica);
    options.shards = 1;
    options.search_threads = 1;
    options.clock = &clock_;
    HostedShard& hosted = options.hosted.emplace();
    hosted.replica = static_cast<uint32_t>(replica);
    hosted.log = log_;
    hosted.prepare = std::move(prepare);
    if (replica != 0) {
      hosted.identity = replicas_[0]->identity();
      hosted.catalogue = replicas_[0]->names().Everything();
    }
    auto opened = LocalDeployment::Open(std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status();
    if (replicas_.size() <= replica) replicas_.resize(replica + 1);
    replicas_[replica] = *std::move(opened);
  }

  LogOffset Append(MemoryNumber memory, LoggedOperation operation) {
    std::promise<absl::StatusOr<LogOffset>> told;
    log_->Append(EncodeLogRecord({memory, clock_.NowMs(), std::move(operation), replicas_[0]->identity()}),
                 [&told](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get().value();
  }
  // The next write of clients, of a memory that is there.
  LogOffset Append(LogCalls& calls) {
    LogCall call = calls.Next(kNowMs);
    while (replicas_[0]->names().FindByNumber(call.memory) == nullptr) call = calls.Next(kNowMs);
    return Append(call.memory, call.make());
  }
  void Insert(EntryId id) {
    InsertOperation insert;
    insert.ticket.request = RequestIdentity{{id, 9}, id};
    insert.entries = ColumnsOf(replicas_[0]->FindMemory("plain").value()->spec, {{.id = id, .key = {1.0F, 2.0F}}});
    Append(1, std::move(insert));
  }
  LogOffset End() { return log_->End({}).value(); }
  void AwaitHandled(size_t replica, LogOffset end) {
    const auto late = std::chrono::steady_clock::now() + kPatience;
    while (replicas_[replica]->log_state().handled < end) {
      ASSERT_LT(std::chrono::steady_clock::now(), late) << replicas_[replica]->log_state().status;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  absl::StatusOr<ShardDigest> TryDigest(size_t replica, LogOffset at, std::chrono::milliseconds time = kPatience) {
    return replicas_[replica]->checkpoints()->Digest(at, Within(time), [] {}, [] {}, Go);
  }
  ShardDigest Digest(size_t replica, LogOffset at) {
    const auto digest = TryDigest(replica, at);
    EXPECT_TRUE(digest.ok()) << digest.status();
    return digest.value_or(ShardDigest());
  }

  TemporaryDirectory directory_;
  ManualClock clock_{kNowMs};
  const std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  std::vector<std::unique_ptr<LocalDeployment>> replicas_;
};

// One applies as writes come, one after the other; the other finds all of them, and groups them as it likes.
TEST_F(ShardCheckpointsTest, ReplicasThatAppliedTheSameHaveTheSameDigest) {
  LogCalls calls(TestSeed());
  for (int i = 0; i < 600; ++i) {
    const LogOffset offset = Append(calls);
    if (i % 7 != 0) AwaitHandled(0, offset + 1);
  }
  const LogOffset end = End();
  Open(1);
  AwaitHandled(1, end);
  const ShardDigest digest = Digest(0, end);
  EXPECT_EQ(digest.applied, end);
  EXPECT_EQ(Digest(1, end), digest);
  ASSERT_TRUE(replicas_[1]->BuildIndex(replicas_[1]->FindMemory("plain").value(), true, [](const BuildProgress&) {
    return true;
  }).ok());
  EXPECT_EQ(Digest(1, end), digest) << "an index is each replica's own";
  Insert(500'000);
  const ShardDigest after = Digest(0, end + 1);
  EXPECT_FALSE(after.hash == digest.hash);
  EXPECT_EQ(Digest(1, end + 1), after);
}

TEST_F(ShardCheckpointsTest, ADigestIsOfTheOffsetThatWasAskedForWhileWritesGoOn) {
  Open(1);
  for (EntryId id = 0; id < 50; ++id) Insert(id);
  const LogOffset at = End() + 100;
  std::vector<std::future<absl::StatusOr<ShardDigest>>> asked;
  for (const size_t replica : {0, 1}) {
    asked.push_back(std::async(std::launch::async, [this, replica, at] { return TryDigest(replica, at); }));
  }
  for (EntryId id = 50; id < 300; ++id) {
    Insert(id);
    // The log goes beyond that offset only once they were asked.
    if (id == 100) std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  const absl::StatusOr<ShardDigest> one = asked[0].get();
  const absl::StatusOr<ShardDigest> other = asked[1].get();
  ASSERT_TRUE(one.ok() && other.ok()) << one.status() << other.status();
  EXPECT_EQ(one->applied, at);
  EXPECT_EQ(one->entries, 150U);
  EXPECT_EQ(*one, *other);
  AwaitHandled(0, End());
  EXPECT_EQ(TryDigest(0, at).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(ShardCheckpointsTest, WhoAsksForAnOffsetThatDoesNotComeGoesAtHisTime) {
  Insert(1);
  AwaitHandled(0, End());
  EXPECT_EQ(TryDigest(0, End() + 1, std::chrono::milliseconds(100)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  Insert(2);
  EXPECT_EQ(Digest(0, End()).entries, 2U) << "nothing holds the log up";
}

TEST_F(ShardCheckpointsTest, ACheckpointOfOneBecomesAnotherThatGoesOnWithTheLog) {
  LogCalls calls(TestSeed() + 1);
  for (int i = 0; i < 300; ++i) Append(calls);
  AwaitHandled(0, End());
  ShardCheckpoints& checkpoints = *replicas_[0]->checkpoints();
  const CheckpointManifest manifest = checkpoints.Open({}, Go).value();
  EXPECT_EQ(manifest.applied, End());
  for (int i = 0; i < 100; ++i) Append(calls);
  const LogOffset end = End();
  log_->DropBefore(manifest.applied);
  const auto copy = [&](const DataDirectory& directory, CatalogueChanges&) -> absl::Status {
    auto target = CheckpointTarget::Begin(directory.StorePath(0), manifest);
    RETURN_IF_ERROR(target.status());
    while (true) {
      auto piece = (*target)->Next();
      RETURN_IF_ERROR(piece.status());
      if (!piece->has_value()) break;
      const auto chunk = checkpoints.Read(manifest.id, (*piece)->file, (*piece)->offset, {});
      RETURN_IF_ERROR(chunk.status());
      RETURN_IF_ERROR((*target)->Write(**piece, *chunk));
    }
    RETURN_IF_ERROR((*target)->Finish());
    return CheckpointTarget::Install(directory.StorePath(0), directory.IndexPath(0));
  };
  Open(1, copy);
  AwaitHandled(1, end);
  EXPECT_EQ(Digest(1, end), Digest(0, end));
}

TEST_F(ShardCheckpointsTest, OneCheckpointIsThereForAllUntilItIsClosed) {
  Insert(1);
  AwaitHandled(0, End());
  ShardCheckpoints& checkpoints = *replicas_[0]->checkpoints();
  const CheckpointManifest first = checkpoints.Open({}, Go).value();
  Insert(2);
  AwaitHandled(0, End());
  EXPECT_EQ(checkpoints.Open({}, Go).value(), first);
  EXPECT_TRUE(checkpoints.Read(first.id, 0, 0, {}).ok());
  checkpoints.Close(first.id + 1, false);
  checkpoints.Close(first.id, false);
  EXPECT_TRUE(checkpoints.Read(first.id, 0, 0, {}).ok()) << "the other one copies it yet";
  checkpoints.Close(first.id, false);
  EXPECT_EQ(checkpoints.Read(first.id, 0, 0, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(std::filesystem::is_empty(directory_ / "replica-0/checkpoint"));
  const CheckpointManifest second = checkpoints.Open({}, Go).value();
  EXPECT_NE(second.id, first.id);
  EXPECT_EQ(second.applied, first.applied + 1);
  EXPECT_EQ(second.entries, 2U);
  EXPECT_EQ(checkpoints.Open({}, Go).value(), second);
  checkpoints.Close(second.id, /*useless=*/true);
  EXPECT_EQ(checkpoints.Read(second.id, 0, 0, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ShardCheckpointsTest, AMakingThatIsGivenUpLeavesNothing) {
  Insert(1);
  AwaitHandled(0, End());
  ShardCheckpoints& checkpoints = *replicas_[0]->checkpoints();
  const auto given_up = checkpoints.Open({}, [](uint64_t, uint64_t) { return false; });
  EXPECT_EQ(given_up.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(checkpoints.Digest(End(), Within(kPatience), [] {}, [] {}, [](uint64_t, uint64_t) { return false; })
                .status()
                .code(),
            absl::StatusCode::kCancelled);
  EXPECT_TRUE(std::filesystem::is_empty(directory_ / "replica-0/checkpoint"));
  EXPECT_TRUE(checkpoints.Open({}, Go).ok());
}

// Beside those of a deployment, with bounds of their own.
class BoundedCheckpointsTest : public ::testing::Test {
 protected:
  BoundedCheckpointsTest() : data_(DataDirectory::Open(directory_ / "data", 1).value()) {
    ShardOptions options;
    options.store = OpenRocksDbEntryStore({data_->StorePath(0), &resources_, nullptr, false}).value();
    options.files = IndexFiles::Open(data_->IndexPath(0), data_->deployment()).value();
    shard_ = Shard::Open(std::move(options), {}, 1).value();
  }
  ShardCheckpoints New(uint64_t bytes_per_second, std::chrono::milliseconds idle) {
    return ShardCheckpoints({.data = data_.get(),
                             .shard = shard_.get(),
                             .memories = [] { return std::vector<MemoryHandle>(); },
                             .bytes_per_second = bytes_per_second,
                             .idle = idle});
  }

  TemporaryDirectory directory_;
  StoreResources resources_{4 << 20, 64 << 20};
  const std::unique_ptr<DataDirectory> data_;
  std::unique_ptr<Shard> shard_;
};

TEST_F(BoundedCheckpointsTest, OneThatNobodyReadsIsRemoved) {
  ShardCheckpoints patient = New(1 << 30, std::chrono::hours(1));
  const uint64_t kept = patient.Open({}, Go).value().id;
  patient.LetGo();
  EXPECT_TRUE(patient.Read(kept, 0, 0, {}).ok());
  patient.Close(kept, false);
  ShardCheckpoints impatient = New(1 << 30, std::chrono::milliseconds(0));
  const uint64_t gone = impatient.Open({}, Go).value().id;
  impatient.LetGo();
  EXPECT_EQ(impatient.Read(gone, 0, 0, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BoundedCheckpointsTest, WhatIsReadTakesItsTime) {
  // A chunk in a fifth of a second, whichever size it has.
  ShardCheckpoints slow = New(5 * limits::kCheckpointChunkBytes, std::chrono::hours(1));
  const uint64_t id = slow.Open({}, Go).value().id;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(slow.Read(id, 0, 0, {}).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(590));
  EXPECT_EQ(slow.Read(id, 0, 0, Within(std::chrono::milliseconds(1))).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(BoundedCheckpointsTest, AShardWithoutALogHasADigestOfNowAlone) {
  ShardCheckpoints checkpoints = New(1 << 30, std::chrono::hours(1));
  EXPECT_TRUE(checkpoints.Digest(std::nullopt, {}, [] {}, [] {}, Go).ok());
  EXPECT_EQ(checkpoints.Digest(LogOffset{0}, {}, [] {}, [] {}, Go).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mneme
