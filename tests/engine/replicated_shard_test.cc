// Deployments that host replicas of one shard over one log: each holds what the log says, and writes come from that
// alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "engine/expiry_queue.h"
#include "engine/log_record.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::MemoryLog;
using testing::PlainEntry;
using testing::TokenMemory;
using Outcome = absl::StatusOr<WriteResult>;

constexpr size_t kReplicas = 2;
constexpr uint64_t kDiskReserve = 1'000;

CallLimits Patient() {
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  return limits;
}

class ReplicatedShardTest : public ::testing::Test {
 protected:
  ReplicatedShardTest() {
    for (uint32_t replica = 0; replica < kReplicas; ++replica) Open(replica);
  }
  ~ReplicatedShardTest() override {
    for (auto& each : replicas_) each.reset();
  }

  absl::Status TryOpen(uint32_t replica, bool logged = true) {
    DeploymentOptions options;
    options.data_dir = directory_ / absl::StrCat("replica-", replica);
    options.shards = 1;
    options.search_threads = 1;
    options.clock = &clocks_[replica];
    options.disk_reserve_bytes = kDiskReserve;
    options.free_disk = [this, replica](const std::string&) { return std::optional<uint64_t>(free_disk_[replica]); };
    HostedShard& hosted = options.hosted.emplace();
    hosted.replica = replica;
    if (logged) hosted.log = log_;
    if (replica != 0) {
      hosted.identity = replicas_[0]->identity();
      hosted.catalogue = replicas_[0]->names().Everything();
    }
    auto opened = LocalDeployment::Open(std::move(options));
    if (!opened.ok()) return opened.status();
    replicas_[replica] = *std::move(opened);
    return absl::OkStatus();
  }
  void Open(uint32_t replica) {
    const absl::Status opened = TryOpen(replica);
    ASSERT_TRUE(opened.ok()) << opened;
  }
  MemoryHandle Create(MemorySpec spec) {
    MemoryHandle memory = replicas_[0]->CreateMemory(spec).value();
    Tell();
    return memory;
  }
  void Tell() { ASSERT_TRUE(replicas_[1]->TakeCatalogue(replicas_[0]->names().Everything()).ok()); }
  void SetClocks(int64_t now_ms) {
    for (ManualClock& clock : clocks_) clock.Set(now_ms);
  }

  LogOffset Append(const MemoryHandle& memory, LoggedOperation operation) {
    std::promise<absl::StatusOr<LogOffset>> told;
    log_->Append(EncodeLogRecord({memory->number, clocks_[0].NowMs(), std::move(operation), replicas_[0]->identity()}),
                 [&told](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get().value();
  }
  LogOffset Insert(const MemoryHandle& memory, const std::vector<PlainEntry>& entries, uint64_t request) {
    InsertOperation insert;
    insert.ticket.request = RequestIdentity{{request, 1}, request};
    insert.entries = ColumnsOf(memory->spec, entries);
    return Append(memory, std::move(insert));
  }
  Outcome OutcomeAt(uint32_t replica, LogOffset offset, uint64_t request) {
    std::promise<Outcome> told;
    replicas_[replica]->AwaitOutcome(offset, {{request, 1}, request}, Patient(),
                                     [&told](Outcome outcome) { told.set_value(std::move(outcome)); });
    return told.get_future().get();
  }
  uint64_t CountAt(uint32_t replica, const MemoryHandle& memory, LogOffset offset) {
    VisitCommand command;
    command.at_least = {memory->number, {{0, SequenceAt(offset)}}};
    command.limits = Patient();
    const auto count = replicas_[replica]->Count(memory, std::move(command));
    EXPECT_TRUE(count.ok()) << count.status();
    return count.value_or(0);
  }
  static std::vector<PlainEntry> Entries(EntryId first, size_t count, int64_t expiry_ms = 0) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < first + count; ++id) {
      PlainEntry entry{.id = id, .key = {static_cast<float>(id % 7), 1.0F}, .token = static_cast<Token>(id % 1000)};
      entry.attributes.expiry_ms = expiry_ms;
      entries.push_back(std::move(entry));
    }
    return entries;
  }

  // Two values at seven keys.
  static std::vector<PlainEntry> Alike(size_t count) {
    std::vector<PlainEntry> entries = Entries(0, count);
    for (PlainEntry& entry : entries) entry.token = static_cast<Token>(entry.id % 2);
    return entries;
  }
  static PruneCommand Greedy() {
    PruneCommand command;
    command.neighbours = 9;
    command.exact = true;
    command.limits = Patient();
    return command;
  }
  std::map<EntryId, float> WeightsAt(uint32_t replica, const MemoryHandle& memory) {
    ScanCommand scan;
    scan.page_size = 1000;
    const auto page = replicas_[replica]->Scan(memory, scan);
    EXPECT_TRUE(page.ok()) << page.status();
    std::map<EntryId, float> weights;
    for (size_t i = 0; page.ok() && i < page->entries.count; ++i) {
      weights[page->entries.ids[i]] = page->entries.At(i).attributes.weight;
    }
    return weights;
  }

  std::atomic<uint64_t> free_disk_[kReplicas] = {kDiskReserve, kDiskReserve};
  TemporaryDirectory directory_;
  ManualClock clocks_[kReplicas] = {ManualClock(1'000'000), ManualClock(1'000'000)};
  const std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  std::unique_ptr<LocalDeployment> replicas_[kReplicas];
};

TEST_F(ReplicatedShardTest, EveryReplicaHasTheReceiptOfADeletionAndErasesByItself) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  Insert(memory, Entries(0, 50), 100);
  DeleteOperation erase;
  erase.ticket.request = RequestIdentity{{101, 1}, 101};
  erase.partitions = {0};
  erase.ids = {3};
  const LogOffset offset = Append(memory, std::move(erase));
  const Version receipt{memory->number, {{0, SequenceAt(offset)}}};
  const auto state_at = [&](uint32_t replica) {
    const auto status = replicas_[replica]->Receipt(memory, receipt, Patient());
    EXPECT_TRUE(status.ok()) << status.status();
    EXPECT_EQ(status->deleted, 1U);
    return status->state;
  };
  for (uint32_t replica = 0; replica < kReplicas; ++replica) {
    ASSERT_TRUE(OutcomeAt(replica, offset, 101).ok());
    EXPECT_EQ(state_at(replica), ErasureState::kHidden);
  }
  clocks_[0].Advance(int64_t{25} * 3'600'000);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (state_at(0) != ErasureState::kRocksDb && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(state_at(0), ErasureState::kRocksDb);
  EXPECT_EQ(state_at(1), ErasureState::kHidden) << "each has an index and a store of its own";
}

TEST_F(ReplicatedShardTest, EveryReplicaAnswersForWhatTheLogHas) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  const LogOffset offset = Insert(memory, Entries(0, 50), 100);
  for (uint32_t replica = 0; replica < kReplicas; ++replica) {
    const Outcome outcome = OutcomeAt(replica, offset, 100);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->count, 50U);
    EXPECT_EQ(outcome->sequence, SequenceAt(offset));
    EXPECT_EQ(CountAt(replica, memory, offset), 50U);
    const LogState state = replicas_[replica]->log_state();
    EXPECT_TRUE(state.logged);
    EXPECT_EQ(state.handled, SequenceAt(offset));
    EXPECT_EQ(state.seen_end, offset + 1);
    EXPECT_TRUE(state.status.ok());
  }
}

TEST_F(ReplicatedShardTest, OneThatWasAwayComesBackAndCatchesUp) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  Insert(memory, Entries(0, 50), 100);
  replicas_[1].reset();
  const LogOffset last = Insert(memory, Entries(40, 20), 101);
  Open(1);
  EXPECT_EQ(CountAt(1, memory, last), 60U);
  replicas_[1].reset();
  std::filesystem::remove_all(directory_ / "replica-1");
  Open(1);
  EXPECT_EQ(CountAt(1, memory, last), 60U) << "its disk was lost, and the log has it all";
}

TEST_F(ReplicatedShardTest, OneWhoseDiskRunsLowWaitsAndGoesOnByItself) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  const LogOffset stored = Insert(memory, Entries(0, 10), 100);
  ASSERT_TRUE(OutcomeAt(1, stored, 100).ok());
  free_disk_[1] = kDiskReserve - 1;
  for (int tries = 0; tries < 2'000 && replicas_[1]->Statistics().write_status.ok(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  DeleteOperation erase;
  erase.ticket.request = RequestIdentity{{101, 1}, 101};
  erase.partitions = {0};
  erase.ids = {3};
  const LogOffset erased = Append(memory, std::move(erase));
  EXPECT_TRUE(OutcomeAt(1, erased, 101).ok()) << "it makes room";
  const LogOffset waits = Insert(memory, Entries(10, 10), 102);
  EXPECT_TRUE(OutcomeAt(0, waits, 102).ok()) << "the other one has room";
  Outcome outcome = OutcomeAt(1, waits, 102);
  EXPECT_TRUE(IsLagging(outcome.status())) << outcome.status();
  EXPECT_EQ(ReasonOf(outcome.status()), reason::kStorageLow);
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("999 bytes free"));
  EXPECT_EQ(replicas_[1]->log_state().handled, SequenceAt(erased));
  EXPECT_TRUE(replicas_[1]->log_state().status.ok());
  free_disk_[1] = kDiskReserve;
  for (int tries = 0; tries < 60 && IsLagging(outcome.status()); ++tries) outcome = OutcomeAt(1, waits, 102);
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(CountAt(1, memory, waits), 19U);
}

TEST_F(ReplicatedShardTest, WritesGoThroughTheLog) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  InsertOperation insert;
  insert.ticket.memory = memory;
  insert.entries = ColumnsOf(memory->spec, Entries(0, 1));
  const absl::Status refused = replicas_[0]->Append(std::move(insert));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("through its log"));
  std::promise<absl::StatusOr<InsertOutcome>> told;
  InsertCommand command;
  command.entries = ColumnsOf(memory->spec, Entries(0, 1));
  replicas_[0]->Insert(memory, std::move(command), nullptr,
                       [&](absl::StatusOr<InsertOutcome> outcome) { told.set_value(std::move(outcome)); });
  EXPECT_EQ(told.get_future().get().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ReplicatedShardTest, WhatOneReplicaPrunesGoesFromEveryOne) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  const LogOffset offset = Insert(memory, Alike(60), 100);
  ASSERT_EQ(CountAt(1, memory, offset), 60U);
  const auto pruned = replicas_[1]->Prune(memory, Greedy());
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_GT(pruned->merged, 40U);
  EXPECT_EQ(pruned->overtaken, 0U);
  EXPECT_EQ(pruned->sequence, log_->End({}).value()) << "where its last group stands in the log";
  for (uint32_t replica = 0; replica < kReplicas; ++replica) {
    EXPECT_EQ(CountAt(replica, memory, pruned->sequence - 1), 60 - pruned->merged);
  }
  EXPECT_EQ(WeightsAt(0, memory), WeightsAt(1, memory));
  float sum = 0;
  for (const auto& [id, weight] : WeightsAt(0, memory)) sum += weight;
  EXPECT_EQ(sum, 60);
  replicas_[0].reset();
  Open(0);
  EXPECT_EQ(CountAt(0, memory, pruned->sequence - 1), 60 - pruned->merged) << "it comes back with the same";
  std::promise<Outcome> told;
  replicas_[0]->AwaitOutcome(pruned->sequence - 1, RequestIdentity(), Patient(),
                             [&told](Outcome outcome) { told.set_value(std::move(outcome)); });
  const absl::Status unknown = told.get_future().get().status();
  EXPECT_TRUE(absl::IsUnavailable(unknown)) << unknown;
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("not known any more, and it has no request id: prune again"));
}

TEST_F(ReplicatedShardTest, WhatIsWrittenBetweenTheChoiceAndItsRecordWins) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  ASSERT_EQ(CountAt(0, memory, Insert(memory, Alike(60), 100)), 60U);
  bool written = false;
  PruneCommand command = Greedy();
  command.progress = [&](const PruneProgress& progress) {
    if (std::string_view(progress.stage) != "writing" || std::exchange(written, true)) return true;
    DeleteOperation erase;
    erase.ticket.request = RequestIdentity{{101, 1}, 101};
    erase.partitions = {0};
    erase.ids = {0, 1, 2, 3, 20, 21};
    Append(memory, std::move(erase));  // whether this replica has applied it or not
    return true;
  };
  const auto pruned = replicas_[0]->Prune(memory, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_GT(pruned->overtaken, 0U);
  for (uint32_t replica = 0; replica < kReplicas; ++replica) {
    EXPECT_EQ(CountAt(replica, memory, pruned->sequence - 1), 54 - pruned->merged);
    const auto weights = WeightsAt(replica, memory);
    float sum = 0;
    for (const auto& [id, weight] : weights) sum += weight;
    EXPECT_EQ(sum, 54) << "every entry that is alive counts once, wherever it went";
    EXPECT_FALSE(weights.contains(0) || weights.contains(20)) << "nothing comes back";
  }
  EXPECT_EQ(WeightsAt(0, memory), WeightsAt(1, memory));
}

TEST_F(ReplicatedShardTest, ALogThatTakesNothingEndsAPrune) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  const LogOffset offset = Insert(memory, Alike(60), 100);
  ASSERT_EQ(CountAt(0, memory, offset), 60U);
  log_->FailAppends(absl::UnavailableError("no broker"), 1, MemoryLog::Fate::kLost);
  EXPECT_TRUE(absl::IsUnavailable(replicas_[0]->Prune(memory, Greedy()).status()));
  EXPECT_EQ(CountAt(0, memory, offset), 60U);
  EXPECT_TRUE(replicas_[0]->Prune(memory, Greedy()).ok()) << "it is asked again";
}

TEST_F(ReplicatedShardTest, ReplicaZeroOwnsTheCatalogue) {
  EXPECT_EQ(replicas_[1]->CreateMemory(TokenMemory("wiki", 2)).status().code(), absl::StatusCode::kFailedPrecondition);
  const MemoryHandle memory = replicas_[0]->CreateMemory(TokenMemory("wiki", 2)).value();
  const LogOffset offset = Insert(memory, Entries(0, 5), 100);
  EXPECT_TRUE(OutcomeAt(0, offset, 100).ok());
  EXPECT_EQ(replicas_[1]->log_state().handled, 0U) << "it does not know the memory yet";
  Tell();
  EXPECT_TRUE(OutcomeAt(1, offset, 100).ok());
}

TEST_F(ReplicatedShardTest, ADroppedMemoryTakesNoWritesAnywhere) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  ASSERT_TRUE(replicas_[0]->DropMemory("wiki").ok());
  Tell();
  const LogOffset offset = Insert(memory, Entries(0, 5), 100);
  for (uint32_t replica = 0; replica < kReplicas; ++replica) {
    EXPECT_EQ(OutcomeAt(replica, offset, 100).status().code(), absl::StatusCode::kNotFound);
  }
}

// Both sweep; whoever comes first, the other finds nothing, or names it again, which changes nothing.
TEST_F(ReplicatedShardTest, WhatExpiresGoesFromEveryReplicaByTheLog) {
  MemorySpec spec = TokenMemory("bounded", 2);
  spec.spread = Spread::kOne;
  spec.capacity = 10;
  const MemoryHandle memory = Create(spec);
  Insert(memory, Entries(0, 6, /*expiry_ms=*/1'000'100), 100);
  ApplyStates apply;
  apply.commands.push_back({"agent", "draft", RegisterPut{"text", 1'000'200}});
  StateOperation states;
  states.ticket.request = RequestIdentity{{101, 1}, 101};
  states.request = std::move(apply);
  const LogOffset last = Append(memory, std::move(states));
  for (uint32_t replica = 0; replica < kReplicas; ++replica) ASSERT_TRUE(OutcomeAt(replica, last, 101).ok());
  SetClocks(1'000'300 + 3 * kExpirySlackMs);
  for (uint32_t replica = 0; replica < kReplicas; ++replica) {
    for (int i = 0; i < 1000; ++i) {
      const DeploymentStatistics now = replicas_[replica]->Statistics();
      if (now.memories.expired == 6 && now.expired_states == 1) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(replicas_[replica]->Statistics().memories.expired, 6U);
    EXPECT_EQ(replicas_[replica]->Statistics().expired_states, 1U);
  }
  EXPECT_GE(log_->End(Patient()).value(), last + 3) << "a record for the rows, and one for the state";
}

TEST_F(ReplicatedShardTest, ADirectoryIsOfOneKindOrTheOther) {
  replicas_[1].reset();
  const absl::Status refused = TryOpen(1, /*logged=*/false);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
}

TEST_F(ReplicatedShardTest, AReplicaThatTheLogLeftBehindStopsAndStillAnswers) {
  const MemoryHandle memory = Create(TokenMemory("wiki", 2));
  const LogOffset seen = Insert(memory, Entries(0, 5), 100);
  ASSERT_TRUE(OutcomeAt(1, seen, 100).ok());
  replicas_[1].reset();
  const LogOffset missed = Insert(memory, Entries(5, 5), 101);
  log_->DropBefore(missed + 1);
  Open(1);
  for (int i = 0; i < 1000 && replicas_[1]->log_state().status.ok(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(replicas_[1]->log_state().status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(OutcomeAt(1, missed, 101).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CountAt(1, memory, seen), 5U);
}

}  // namespace
}  // namespace mneme
