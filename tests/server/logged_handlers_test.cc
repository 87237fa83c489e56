// What a replica of a shard that applies a log answers to front ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "engine/flat_checkpoints.h"
#include "engine/log_record.h"
#include "engine/shard_log.h"
#include "server/checkpoint_handlers.h"
#include "server/hosted_shard.h"
#include "server/open_logs.h"
#include "server/shard_handlers.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using testing::ColumnsOf;
using testing::MemoryLog;
using testing::TokenMemory;

class LoggedHandlersTest : public ::testing::Test {
 protected:
  LoggedHandlersTest() { Open(); }

  void Open() {
    shard_.reset();
    DeploymentOptions options;
    options.data_dir = directory_ / "shard-0";
    options.shards = 1;
    options.search_threads = 1;
    options.hosted.emplace().number = 0;
    options.hosted->log = log_;
    shard_ = LocalDeployment::Open(std::move(options)).value();
  }
  MemoryHandle Create(const std::string& name) { return shard_->CreateMemory(TokenMemory(name, 2)).value(); }

  static RequestIdentity Request(uint64_t number) { return {{number, 2}, 3}; }
  LogOffset Append(std::string record) {
    std::promise<absl::StatusOr<LogOffset>> told;
    log_->Append(std::move(record), [&](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
    return told.get_future().get().value();
  }
  LogOffset Insert(const MemoryHandle& memory, uint64_t request, uint64_t deployment) {
    InsertOperation insert;
    insert.ticket.memory = memory;
    insert.ticket.request = Request(request);
    insert.ticket.stamp_ms = SystemClock().NowMs();
    insert.entries = ColumnsOf(memory->spec, {{.id = request, .key = {0.5F, 1.0F}, .token = 4}});
    return Append(EncodeLogRecord(deployment, std::move(insert)).value());
  }
  LogOffset Insert(const MemoryHandle& memory, uint64_t request) { return Insert(memory, request, shard_->identity()); }

  CallContext Within(std::chrono::milliseconds time) {
    CallLimits limits;
    limits.deadline = std::chrono::steady_clock::now() + time;
    return {front_end_, *shard_, limits, caller_};
  }
  internal::v1::Call CallOf(std::string body) const {
    internal::v1::Call call;
    call.mutable_target()->set_protocol(kInternalProtocol);
    call.mutable_target()->set_deployment(shard_->identity());
    call.mutable_target()->set_shard(0);
    call.mutable_target()->set_shards(1);
    call.set_body(std::move(body));
    return call;
  }
  absl::StatusOr<std::optional<WriteResult>> Outcome(LogOffset offset, uint64_t request) {
    const CallContext context = Within(std::chrono::seconds(20));
    const internal::v1::Call call = CallOf(Flat(offset, Request(request)));
    internal::v1::Answer answer;
    std::promise<absl::Status> ended;
    const absl::Status begun =
        HandleAwaitOutcome(context, call, &answer, [&](const absl::Status& status) { ended.set_value(status); });
    RETURN_IF_ERROR(begun);
    RETURN_IF_ERROR(ended.get_future().get());
    absl::Status outcome;
    std::optional<WriteResult> result;
    RETURN_IF_ERROR(Unflat(answer.body(), outcome, result));
    RETURN_IF_ERROR(outcome);
    return result;
  }
  ReplicaDescription Describe() {
    const CallContext context = Within(std::chrono::seconds(20));
    internal::v1::Answer answer;
    const absl::Status told = HandleDescribeReplica(context, CallOf(Flat()), &answer);
    EXPECT_TRUE(told.ok()) << told;
    ReplicaDescription replica;
    EXPECT_TRUE(Unflat(answer.body(), replica).ok());
    return replica;
  }
  // What a stream that works for a while tells last.
  template <typename Result>
  absl::StatusOr<Result> Last(LongHandler<internal::v1::Call, internal::v1::Answer> handler, std::string body) {
    const CallContext context = Within(std::chrono::seconds(20));
    std::optional<Result> result;
    absl::Status read;
    const absl::Status ended = handler(context, CallOf(std::move(body)), [&](const internal::v1::Answer& answer) {
      FlatProgress progress;
      read = Unflat(answer.body(), progress, result);
      return read.ok();
    });
    RETURN_IF_ERROR(ended);
    RETURN_IF_ERROR(read);
    return result.has_value() ? absl::StatusOr<Result>(*result) : absl::NotFoundError("nothing was told");
  }
  // Lists the sessions once `sequence` is applied.
  absl::Status ListAt(const MemoryHandle& memory, Sequence sequence, std::chrono::milliseconds time) {
    const Version at_least{memory->number, {{0, sequence}}};
    const internal::v1::Call call =
        CallOf(Flat(memory->number, std::string(), std::string(), uint64_t{10}, at_least));
    internal::v1::Answer answer;
    return HandleShardSessions(Within(time), call, &answer);
  }

  TemporaryDirectory directory_;
  Log log_lines_{LogFormat::kJson, LogLevel::kError};
  Metrics metrics_;
  const std::unique_ptr<AccessControl> access_ = AccessControl::New("").value();
  const Caller caller_;
  FrontEnd front_end_{&log_lines_, &metrics_, access_.get(), 1};
  const std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  std::unique_ptr<LocalDeployment> shard_;
};

TEST_F(LoggedHandlersTest, TheOutcomeOfARecordIsThatOfItsPlace) {
  const MemoryHandle wiki = Create("wiki");
  for (uint64_t request = 1; request <= 3; ++request) {
    const LogOffset offset = Insert(wiki, request);
    const auto told = Outcome(offset, request);
    ASSERT_TRUE(told.ok() && told->has_value()) << told.status();
    EXPECT_EQ((*told)->count, 1U);
    EXPECT_EQ((*told)->sequence, SequenceAt(offset));
  }
  // It was there before: the first outcome, wherever the second stands.
  const auto again = Outcome(Insert(wiki, 2), 2);
  ASSERT_TRUE(again.ok() && again->has_value()) << again.status();
  EXPECT_TRUE((*again)->replayed);
  EXPECT_EQ(shard_->log_state().handled, 4U);
  // Nothing comes to a shard but by its log.
  InsertOperation insert;
  insert.ticket.memory = wiki;
  insert.entries = ColumnsOf(wiki->spec, {{.id = 9, .key = {0.5F, 1.0F}, .token = 4}});
  EXPECT_EQ(shard_->Append(std::move(insert)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LoggedHandlersTest, AnOutcomeThatIsNotKnownAnyMoreIsToldAsSuch) {
  const MemoryHandle gone = Create("gone");
  ASSERT_TRUE(shard_->DropMemory("gone").ok());
  const LogOffset refused = Insert(gone, 1);
  EXPECT_EQ(Outcome(refused, 1).status().code(), absl::StatusCode::kNotFound);
  Open();
  const auto told = Outcome(refused, 1);
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_FALSE(told->has_value());
}

TEST_F(LoggedHandlersTest, AReadWaitsForItsMarker) {
  const MemoryHandle wiki = Create("wiki");
  const Sequence next = SequenceAt(log_->End({}).value());
  const absl::Status early = ListAt(wiki, next, std::chrono::milliseconds(50));
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(early), reason::kReplicaLagging);
  LogRecord marker;
  marker.deployment = shard_->identity();
  marker.operation = ReadMarker{};
  EXPECT_EQ(SequenceAt(Append(EncodeLogRecord(marker))), next);
  EXPECT_TRUE(ListAt(wiki, next, std::chrono::seconds(20)).ok());
}

TEST_F(LoggedHandlersTest, APageOfReceiptsHasWhatWasWaitedFor) {
  const MemoryHandle wiki = Create("wiki");
  Insert(wiki, 1);
  DeleteOperation erase;
  erase.ticket.memory = wiki;
  erase.ticket.request = Request(2);
  erase.ticket.stamp_ms = SystemClock().NowMs();
  erase.partitions = {0};
  erase.ids = {1};
  const Sequence deletion = SequenceAt(Append(EncodeLogRecord(shard_->identity(), std::move(erase)).value()));
  const auto ask = [&](Sequence first, uint64_t limit, Sequence sequence, std::chrono::milliseconds time,
                       ReceiptPage& page) -> absl::Status {
    const Version at_least{wiki->number, {{0, sequence}}};
    internal::v1::Answer answer;
    RETURN_IF_ERROR(HandleShardReceipts(Within(time), CallOf(Flat(wiki->number, first, limit, at_least)), &answer));
    return Unflat(answer.body(), page);
  };
  const std::chrono::milliseconds patient = std::chrono::seconds(20);
  ReceiptPage page;
  ASSERT_TRUE(ask(0, 10, deletion, patient, page).ok());
  ASSERT_EQ(page.items.size(), 1U);
  ASSERT_EQ(page.items.front().receipt.parts.size(), 1U);
  EXPECT_EQ(page.items.front().receipt.parts.front().sequence, deletion);
  EXPECT_EQ(page.items.front().status.deleted, 1U);
  EXPECT_EQ(page.items.front().status.state, ErasureState::kHidden);
  EXPECT_FALSE(page.next.has_value());
  ASSERT_TRUE(ask(0, 0, deletion, patient, page).ok());
  EXPECT_TRUE(page.items.empty());
  ASSERT_TRUE(page.next.has_value()) << "whether there is one";
  EXPECT_EQ(page.next->row, deletion);
  ASSERT_TRUE(ask(deletion + 1, 10, deletion, patient, page).ok());
  EXPECT_TRUE(page.items.empty());
  EXPECT_FALSE(page.next.has_value());
  EXPECT_EQ(ask(0, 1'001, deletion, patient, page).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status early = ask(0, 10, deletion + 1, std::chrono::milliseconds(50), page);
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(early), reason::kReplicaLagging);
}

TEST_F(LoggedHandlersTest, AQueryIsAnsweredWithWhatItReads) {
  const MemoryHandle wiki = Create("wiki");
  ASSERT_TRUE(Outcome(Insert(wiki, 1), 1).ok());
  QueryCommand command;
  command.queries.Resize(2 * sizeof(float));
  std::fill_n(command.queries.as<float>(), 2, 0.3F);
  command.count = 1;
  command.k = 1;
  command.exact = true;
  const auto ask = [&] {
    const CallContext context = Within(std::chrono::seconds(20));
    const internal::v1::Call call = CallOf(Flat(wiki->number, std::string(), command, std::string()));
    internal::v1::Answer answer;
    std::promise<absl::Status> ended;
    const absl::Status begun =
        HandleShardQuery(context, call, &answer, [&](const absl::Status& status) { ended.set_value(status); });
    EXPECT_TRUE(begun.ok()) << begun;
    if (begun.ok()) {
      EXPECT_TRUE(ended.get_future().get().ok());
    }
    QueryOutcome outcome;
    EXPECT_TRUE(Unflat(answer.body(), outcome, outcome.read_out).ok());
    EXPECT_FALSE(outcome.read_out.has_value()) << "neighbours were asked for";
    EXPECT_TRUE(CheckWhole(outcome.neighbours).ok());
    return std::move(outcome.neighbours);
  };
  const NeighbourColumns all = ask();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all.ids, (std::vector<EntryId>{1}));
  EXPECT_EQ(all.labels.size(), 1U);
  EXPECT_NE(all.scores.front(), double{static_cast<float>(all.scores.front())});
  command.with_attributes = false;
  command.with_ids = false;
  command.single_scores = true;
  const NeighbourColumns few = ask();
  ASSERT_EQ(few.size(), 1U);
  EXPECT_TRUE(few.ids.empty());
  EXPECT_TRUE(few.partitions.empty());
  EXPECT_TRUE(few.labels.empty());
  EXPECT_EQ(few.values.bytes, all.values.bytes);
  EXPECT_EQ(few.weights, all.weights);
  EXPECT_EQ(few.scores.front(), double{static_cast<float>(all.scores.front())});
}

TEST_F(LoggedHandlersTest, APruneOfAPartWaitsToBeToldToGoOn) {
  const MemoryHandle wiki = Create("wiki");
  for (uint64_t id = 1; id <= 3; ++id) ASSERT_TRUE(Outcome(Insert(wiki, id), id).ok());
  PruneCommand command;
  command.neighbours = 9;
  command.exact = true;
  PruneGuard& guard = command.guard.emplace();
  guard.count = 1;
  guard.queries.Resize(2 * sizeof(float));
  std::fill_n(guard.queries.as<float>(), 2, 0.5F);
  guard.targets = {4};
  guard.lm_log_probs = {-1.0F};
  guard.k = 3;
  const uint64_t number = 77;
  const auto go_on = [&] {
    internal::v1::Answer answer;
    return HandleGoOnPrune(Within(std::chrono::seconds(20)), CallOf(Flat(number)), &answer);
  };
  EXPECT_EQ(go_on().code(), absl::StatusCode::kNotFound);
  std::promise<void> answered;
  std::vector<size_t> found;  // entries, of each batch
  std::optional<PruneOutcome> outcome;
  Sequence sequence = 0;
  const auto hear = [&](const internal::v1::Answer& answer) {
    FlatProgress progress;
    std::optional<NeighbourColumns> more;
    EXPECT_TRUE(Unflat(answer.body(), progress, more, outcome, sequence).ok());
    if (more.has_value()) found.push_back(more->size());
    if (more.has_value() && found.size() == 2) answered.set_value();
    return true;
  };
  const CallContext context = Within(std::chrono::seconds(20));
  const internal::v1::Call call = CallOf(Flat(wiki->number, command, Version(), number));
  auto pruning = std::async(std::launch::async, [&] { return HandleShardPrune(context, call, hear); });
  ASSERT_EQ(answered.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(found, (std::vector<size_t>{3, 1}));
  EXPECT_EQ(pruning.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(shard_->log_state().handled, 3U) << "nothing is written yet";
  EXPECT_TRUE(go_on().ok());
  const absl::Status ended = pruning.get();
  ASSERT_TRUE(ended.ok()) << ended;
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->merged, 2U);
  EXPECT_EQ(sequence, 4U);
  EXPECT_EQ(go_on().code(), absl::StatusCode::kNotFound);
}

// As brokers say that were just started.
TEST_F(LoggedHandlersTest, ALogThatIsNotKnownForAMomentIsWaitedFor) {
  Insert(Create("wiki"), 1);
  log_->StopReading(absl::NotFoundError("no such topic"));
  std::promise<void> awaited;
  const auto hear = [&](std::string_view event, std::string_view) {
    if (event == "log_awaited") awaited.set_value();
  };
  std::future<absl::Status> replayed =
      std::async(std::launch::async, [&] { return AwaitReplayed(*shard_, *log_, hear, [] { return false; }); });
  EXPECT_EQ(awaited.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(replayed.wait_for(std::chrono::milliseconds(500)), std::future_status::timeout);
  log_->GoOnReading();
  const absl::Status status = replayed.get();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(shard_->log_state().handled, 1U);
}

TEST_F(LoggedHandlersTest, AReplicaSaysWhatItIs) {
  const MemoryHandle wiki = Create("wiki");
  const LogOffset last = Insert(wiki, 1);
  ASSERT_TRUE(Outcome(last, 1).ok());
  const ReplicaDescription serving = Describe();
  EXPECT_EQ(serving.state, ReplicaState::kServing);
  EXPECT_EQ(serving.applied, SequenceAt(last));
  EXPECT_EQ(serving.log_end, last + 1);
  EXPECT_EQ(serving.entries, 1U);
  front_end_.SetReplaying(true);
  EXPECT_EQ(Describe().state, ReplicaState::kReplaying);
  EXPECT_EQ(Last<ShardDigest>(HandleDigest, Flat(std::optional<LogOffset>())).status().code(),
            absl::StatusCode::kUnavailable);
  front_end_.SetReplaying(false);
  const LogOffset strange = Insert(wiki, 2, shard_->identity() + 1);
  EXPECT_FALSE(Outcome(strange, 2).ok());
  const ReplicaDescription failed = Describe();
  EXPECT_EQ(failed.state, ReplicaState::kFailed);
  EXPECT_THAT(failed.detail, HasSubstr("of another deployment"));
  EXPECT_EQ(Last<CheckpointManifest>(HandleOpenCheckpoint, Flat()).status().code(), absl::StatusCode::kUnavailable)
      << "no source for others";
}

TEST_F(LoggedHandlersTest, ACheckpointIsReadPieceByPiece) {
  const MemoryHandle wiki = Create("wiki");
  const LogOffset last = Insert(wiki, 1);
  ASSERT_TRUE(Outcome(last, 1).ok());
  const CheckpointManifest manifest = Last<CheckpointManifest>(HandleOpenCheckpoint, Flat()).value();
  EXPECT_EQ(manifest.applied, SequenceAt(last));
  EXPECT_EQ(manifest.entries, 1U);
  const CallContext context = Within(std::chrono::seconds(20));
  const auto read = [&](uint64_t file, uint64_t offset, std::string& bytes) {
    return HandleReadCheckpoint(context, CallOf(Flat(manifest.id, file, offset)),
                                [&](const internal::v1::Answer& answer) {
                                  CheckpointChunk chunk;
                                  EXPECT_TRUE(Unflat(answer.body(), chunk).ok());
                                  EXPECT_EQ(chunk.checksum, ChunkChecksum(chunk.offset, chunk.bytes));
                                  EXPECT_EQ(chunk.offset, offset + bytes.size());
                                  bytes += chunk.bytes;
                                  return true;
                                });
  };
  for (uint64_t file = 0; file < manifest.files.size(); ++file) {
    if (manifest.files[file].bytes == 0) continue;
    std::string bytes;
    ASSERT_TRUE(read(file, 0, bytes).ok());
    EXPECT_EQ(bytes.size(), manifest.files[file].bytes);
    EXPECT_EQ(Checksum128(bytes), manifest.files[file].checksum) << manifest.files[file].name;
    std::string rest;
    ASSERT_TRUE(read(file, bytes.size() - 1, rest).ok());
    EXPECT_EQ(rest, bytes.substr(bytes.size() - 1));
  }
  std::string nothing;
  EXPECT_EQ(read(0, manifest.files[0].bytes, nothing).code(), absl::StatusCode::kOutOfRange);
  internal::v1::Answer answer;
  EXPECT_TRUE(HandleCloseCheckpoint(context, CallOf(Flat(manifest.id, /*useless=*/false)), &answer).ok());
  EXPECT_EQ(read(0, 0, nothing).code(), absl::StatusCode::kNotFound);
  const ShardDigest digest = Last<ShardDigest>(HandleDigest, Flat(std::optional<LogOffset>(last + 1))).value();
  EXPECT_EQ(digest.applied, SequenceAt(last));
  EXPECT_EQ(digest.entries, 1U);
}

TEST_F(LoggedHandlersTest, AReplicaThatAppliesNoMoreAnswersNothing) {
  const MemoryHandle wiki = Create("wiki");
  const LogOffset strange = Insert(wiki, 1, shard_->identity() + 1);
  const absl::Status waited = Outcome(strange, 1).status();
  EXPECT_EQ(waited.code(), absl::StatusCode::kUnavailable) << "another replica may know";
  const absl::Status listed = ListAt(wiki, 0, std::chrono::seconds(20));
  EXPECT_EQ(listed.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(listed), reason::kShardUnavailable);
  EXPECT_THAT(std::string(listed.message()), HasSubstr("applies no more of its log"));
  EXPECT_FALSE(shard_->log_state().status.ok());
}

}  // namespace
}  // namespace mneme
