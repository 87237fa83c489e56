#include "tests/engine/log_simulation.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "engine/local_shard_port.h"
#include "engine/visible_rows.h"

namespace mneme::testing {
namespace {

constexpr uint64_t kDeployment = 0x51D;
constexpr uint32_t kShard = 3;
constexpr uint64_t kSteps = 110;
constexpr int64_t kSlackMs = 1000;
// For so long a client asks again: less than a request is remembered, by the clocks of any two front ends.
constexpr int64_t kRetryMs = 200'000;

absl::StatusOr<LogOffset> AppendAndWait(ShardLog& log, std::string record) {
  std::promise<absl::StatusOr<LogOffset>> told;
  log.Append(std::move(record), [&told](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
  return told.get_future().get();
}

// A log whose appends are told before they return, so that nothing is under way between two steps.
class PromptLog final : public ShardLog {
 public:
  explicit PromptLog(ShardLog* log) : log_(log) {}
  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  void Append(std::string record, Appended appended) override { appended(AppendAndWait(*log_, std::move(record))); }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override { return log_->End(limits); }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override { return log_->Begin(limits); }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override { return log_->Read(from); }

 private:
  ShardLog* const log_;
};

CallLimits Now() {
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now();
  return limits;
}

}  // namespace

LogSimulation::LogSimulation(uint64_t seed, PlantedFault fault, const std::string& directory)
    : seed_(seed), fault_(fault), directory_(directory), random_(seed), model_(kShard, SimulatedMemories()),
      calls_(seed + 1) {
  delete_group_rows_ = 2 + Below(4);
  front_end_skews_ = {0, -20'000, 15'000};
  if (OneIn(8)) front_end_skews_[1] = -330'000;  // a clock that nobody set
  if (OneIn(2)) log_.LeaveGap(Below(700));
  reader_ = *log_.Read(0);
  const size_t replicas = 3 + Below(2);
  for (size_t i = 0; i < replicas; ++i) {
    auto& replica = *replicas_.emplace_back(std::make_unique<Replica>());
    replica.number = i;
    replica.skew_ms = i == 0 ? 0 : static_cast<int64_t>(Below(8000)) - 4000;
    replica.random.seed(seed + i);
    Open(replica);
  }
}

void LogSimulation::Fail(const std::string& what) {
  if (failure_.empty()) failure_ = absl::StrCat("seed ", seed_, " step ", step_, ": ", what);
}

std::string LogSimulation::Run() {
  while (failure_.empty() && step_ < kSteps) Step();
  if (failure_.empty()) CheckEnd();
  return failure_;
}

void LogSimulation::Step() {
  ++step_;
  now_ms_ += static_cast<int64_t>(Below(1500));
  if (OneIn(40)) now_ms_ += 60'000 * static_cast<int64_t>(5 + Below(15));
  if (OneIn(25)) log_.LeaveGap(OneIn(6) ? 600 : 1);
  for (auto& replica : replicas_) replica->clock.Set(now_ms_ + replica->skew_ms);
  const uint64_t kind = Below(21);
  if (kind < 8) return Ask();
  if (kind < 10) {
    if (asked_.empty()) return;
    Asked& asked = *asked_[asked_.size() - 1 - Below(std::min<size_t>(asked_.size(), 12))];
    // Again, through another front end; while its request is remembered, where more than one effect would be noticed.
    const bool late = asked.in_history.has_value() && now_ms_ > asked.first_ms + kRetryMs;
    return asked.settled || late ? void() : Append(asked);
  }
  if (kind < 14) {
    if (!asked_.empty()) Poll(*asked_[asked_.size() - 1 - Below(std::min<size_t>(asked_.size(), 8))]);
    return;
  }
  if (kind < 16) return Advance(AnyReplica(), 1 + Below(8));
  if (kind == 16) return OneIn(2) ? Crash(AnyReplica()) : Sweep(AnyReplica());
  if (kind == 17) {
    if (OneIn(2)) return Sweep(AnyReplica());
    return AnyReplica().running->shard().LaySomeToSleep(SleepersAre::kAny);  // which is its own, and changes nothing
  }
  if (kind == 18) return ReadEntries();
  if (kind == 19) return Merge(AnyReplica());
  ReadRegister();
}

// --- Clients --------------------------------------------------------------------------------------------------------

int64_t LogSimulation::FrontEndMs() { return now_ms_ + front_end_skews_[Below(front_end_skews_.size())]; }

void LogSimulation::Ask() {
  Asked& asked = *asked_.emplace_back(std::make_unique<Asked>());
  asked.call = calls_.Next(now_ms_);
  asked.first_ms = now_ms_;
  if (asked.call.on.has_value()) {
    asked.call.asked.asked = step_;
    asked.in_history = registers_[*asked.call.on].Ask(asked.call.asked);
  }
  Append(asked);
}

void LogSimulation::Merge(const Replica& replica) {
  if (replica.next == 0) return;
  std::vector<PartitionKey> keys;
  for (const auto& [key, partition] : moments_[replica.next - 1]->partitions()) {
    if (key.memory != 3 && !partition.rows.empty()) keys.push_back(key);  // of memory 3 the model knows nothing
  }
  if (keys.empty()) return;
  const PartitionKey key = keys[Below(keys.size())];
  const bool server_ids = OneIn(2);
  MergeRowsCommand merge{key.partition, {}};
  std::optional<StoredRow> survivor;  // which has taken none
  for (const auto& [row, entry] : moments_[replica.next - 1]->partitions().at(key).rows) {
    const StoredRow stored{row, entry.id};
    if (IsServerId(entry.id) == server_ids && OneIn(3)) {
      survivor = stored;
      continue;
    }
    if ((!survivor.has_value() && merge.merges.survivors.empty()) || OneIn(3)) continue;
    if (survivor.has_value()) {
      merge.merges.survivors.push_back(*std::exchange(survivor, std::nullopt));
      merge.merges.taken.push_back(0);
    }
    ++merge.merges.taken.back();
    merge.merges.merged.push_back(stored);
  }
  if (merge.merges.survivors.empty()) return;
  Asked& asked = *asked_.emplace_back(std::make_unique<Asked>());
  asked.call.memory = key.memory;
  asked.call.make = [merge] { return LoggedOperation(merge); };
  asked.first_ms = now_ms_;
  Append(asked);
}

void LogSimulation::Append(Asked& asked) {
  LogRecord record;
  record.memory = asked.call.memory;
  record.stamp_ms = FrontEndMs();
  record.deployment = kDeployment;
  record.operation = asked.call.make();
  const std::string bytes = EncodeLogRecord(record);
  if (OneIn(10)) {
    log_.FailAppends(absl::UnavailableError("nobody knows"), 1,
                     OneIn(2) ? MemoryLog::Fate::kAppended : MemoryLog::Fate::kLost);
  }
  const absl::StatusOr<LogOffset> offset = AppendAndWait(log_, bytes);
  if (OneIn(15)) (void)AppendAndWait(log_, bytes);  // a broker's or gRPC's own retry
  Ingest();
  if (!offset.ok()) return;
  LogOffset told = *offset;
  const size_t at = index_of_.at(*offset);
  if (fault_ == PlantedFault::kOutcomeOfAnother && at > 0) told = records_[at - 1].offset;
  if (!OneIn(12)) asked.told.emplace_back(*offset, told);  // or the front end ends before it asks
}

void LogSimulation::Poll(Asked& asked) {
  if (asked.told.empty() || asked.settled) return;
  const auto [offset, told] = asked.told[Below(asked.told.size())];
  Replica& replica = AnyReplica();
  AdvanceTo(replica, SequenceAt(std::max(offset, told)));
  if (!failure_.empty()) return;
  CheckOutcome(asked, offset, replica.running->OutcomeOf(told, asked.call.request), replica);
}

void LogSimulation::CheckOutcome(Asked& asked, LogOffset offset, const absl::StatusOr<WriteResult>& outcome,
                                 Replica& replica) {
  if (SequenceAt(offset) <= replica.running->opened_at()) return CheckRecalled(asked, offset, outcome, replica);
  const std::string differs = Difference(outcome, outcomes_[index_of_.at(offset)]);
  if (!differs.empty()) {
    return Fail(absl::StrCat("replica ", replica.number, " tells of offset ", offset, ": ", differs));
  }
  if (outcome.ok()) Settle(asked, *outcome);
  asked.settled = true;
}

void LogSimulation::CheckRecalled(const Asked& asked, LogOffset offset, const absl::StatusOr<WriteResult>& outcome,
                                  Replica& replica) {
  const LogModel& model = *moments_[replica.next - 1];
  const LogModel::Remembered* const known = model.FindRequest(asked.call.request.id);
  ModelOutcome expected;
  expected.code = absl::StatusCode::kUnavailable;
  if (known != nullptr && known->content == asked.call.request.content) {
    expected = known->outcome;
    expected.replayed = known->sequence != SequenceAt(offset);
  } else if (known != nullptr && known->sequence < SequenceAt(offset)) {
    expected.code = absl::StatusCode::kFailedPrecondition;
  }
  const std::string differs = Difference(outcome, expected);
  if (!differs.empty()) {
    Fail(absl::StrCat("replica ", replica.number, " remembers of offset ", offset, ": ", differs));
  }
}

void LogSimulation::Settle(Asked& asked, const WriteResult& result) {
  for (const EntryId id : result.given_ids) calls_.NoteGiven(id);
  if (!asked.in_history.has_value()) return;
  const StateAnswer& answer = result.states->answers.front();
  RegisterCall& call = registers_[*asked.call.on].at(*asked.in_history);
  call.told = step_;
  call.done = answer.status.ok();
  call.version = answer.version;
  if (call.done) calls_.NoteVersion(*asked.call.on, answer.version);
}

void LogSimulation::ReadEntries() {
  if (records_.empty()) return;
  const Sequence token = OneIn(3) ? 0 : SequenceAt(records_[Below(records_.size())].offset);
  Replica& replica = AnyReplica();
  Shard& shard = replica.running->shard();
  if (fault_ != PlantedFault::kStaleRead || replica.number != 1) {
    const absl::Status there = shard.AwaitVisible(token, Now());
    const bool behind = replica.running->handled() < token;
    if (there.ok() == behind) {
      return Fail(absl::StrCat("replica ", replica.number, " waits wrongly: ", there.ToString()));
    }
    AdvanceTo(replica, token);
    if (!failure_.empty()) return;
  }
  // A crash may have left a part of a deletion, which its record completes.
  if (replica.running->handled() == replica.running->opened_at()) Advance(replica, 1);
  for (const MemoryNumber memory : {1, 2}) {
    const auto snapshot = shard.TakeSnapshot(memory, {.partitions = {}, .all = true}, CallLimits());
    if (!snapshot.ok()) return Fail(snapshot.status().ToString());
    if (snapshot->sequence < token) return Fail(absl::StrCat("a read at ", token, " saw ", snapshot->sequence));
    std::map<PartitionKey, std::map<Row, EntryId>> found;
    for (const auto& version : snapshot->versions) {
      (void)ForEachVisibleRow(*version, RowFilter(), CallLimits(), [&](const RowBlock& block, size_t i) {
        found[{memory, version->partition}][block.RowAt(i)] = block.ids[i];
      });
    }
    std::map<PartitionKey, std::map<Row, EntryId>> expected;
    if (replica.next > 0) {
      for (const auto& [key, partition] : moments_[replica.next - 1]->partitions()) {
        for (const auto& [row, entry] : partition.rows) {
          if (key.memory == memory) expected[key][row] = entry.id;
        }
      }
    }
    if (found != expected) {
      std::string text = absl::StrCat("replica ", replica.number, " shows other entries than there are:");
      for (const auto& [which, rows] : {std::pair("found", found), std::pair("expected", expected)}) {
        for (const auto& [key, ids] : rows) {
          absl::StrAppend(&text, "\n  ", which, " ", key.memory, "/", key.partition);
          for (const auto& [row, id] : ids) absl::StrAppend(&text, " ", row, ":", id);
        }
      }
      return Fail(text);
    }
  }
}

Sequence LogSimulation::Mark() {
  LogRecord marker;
  marker.stamp_ms = FrontEndMs();
  marker.deployment = kDeployment;
  marker.operation = ReadMarker{};
  const absl::StatusOr<LogOffset> offset = AppendAndWait(log_, EncodeLogRecord(marker));
  Ingest();
  return offset.ok() ? SequenceAt(*offset) : 0;
}

void LogSimulation::ReadRegister() {
  const std::string name = OneIn(2) ? "x" : "y";
  RegisterCall get;
  get.asked = step_++;
  const Sequence token = Mark();
  Replica& replica = AnyReplica();
  if (fault_ != PlantedFault::kStaleRead) AdvanceTo(replica, token);
  if (!failure_.empty() || token == 0) return;
  mneme::ApplyStates apply;
  apply.commands.push_back({"r", name, RegisterGet{}});
  const DiskRoom disk("", /*reserve_bytes=*/0);
  const LocalShardPort port(&replica.running->shard(), &disk);
  const auto read = port.ReadStates(*SimulatedMemories().at(1), apply, now_ms_, CallLimits());
  if (!read.ok()) return Fail(read.status().ToString());
  get.told = step_;
  get.version = read->answers.front().version;
  get.read = read->answers.front().value;
  registers_[name].Ask(get);
}

// --- Replicas -------------------------------------------------------------------------------------------------------

LogSimulation::Replica& LogSimulation::AnyReplica() { return *replicas_[1 + Below(replicas_.size() - 1)]; }

void LogSimulation::Open(Replica& replica) {
  LogReplicaOptions options;
  options.shard = kShard;
  options.deployment = kDeployment;
  options.memories = SimulatedMemories();
  options.journal = &replica.journal;
  options.log = &log_;
  options.directory = absl::StrCat(directory_, "/", replica.number);
  options.delete_group_rows = delete_group_rows_;
  options.faults = FaultsOf(replica);
  auto opened = LogReplica::Open(std::move(options));
  if (!opened.ok()) return Fail(absl::StrCat("replica ", replica.number, " opens: ", opened.status().ToString()));
  replica.running = *std::move(opened);
  replica.next = static_cast<size_t>(std::distance(
      index_of_.begin(), index_of_.lower_bound(OffsetAfter(replica.running->opened_at()))));
  LogReplica* const running = replica.running.get();
  replica.sweep_log = std::make_unique<SweepLog>(SweepLogOptions{
      std::make_shared<PromptLog>(&log_), kDeployment, [running] { return running->handled(); }, kSlackMs});
  replica.rows = std::make_unique<ExpirySweep>(
      &replica.clock,
      [memories = SimulatedMemories()](MemoryNumber number) {
        const auto at = memories.find(number);
        return at == memories.end() ? nullptr : at->second;
      },
      replica.sweep_log.get());
  replica.states = std::make_unique<StateSweep>(&replica.clock, replica.sweep_log.get());
}

void LogSimulation::Crash(Replica& replica) {
  const Sequence before = replica.running->handled();
  replica.rows.reset();
  replica.states.reset();
  replica.running.reset();
  const size_t steps = replica.journal.size();
  const size_t kept = replica.synced + Below(steps - replica.synced + 1);
  replica.journal.Cut(kept);
  if (fault_ == PlantedFault::kTornGroup && replica.number == 1 && kept > replica.synced) replica.journal.Tear();
  if (OneIn(2)) replica.synced = kept;
  Open(replica);
  if (failure_.empty() && replica.running->opened_at() > before) Fail("a crash brought a replica forward");
}

void LogSimulation::Sweep(Replica& replica) {
  absl::Status swept = replica.rows->Run(replica.running->shard());
  swept.Update(replica.states->Run(replica.running->shard()));
  if (!swept.ok()) return Fail(absl::StrCat("sweep of replica ", replica.number, ": ", swept.ToString()));
  Ingest();
}

void LogSimulation::Ingest() {
  std::vector<LoggedBytes> more;
  const absl::Status read = reader_->Next(std::chrono::milliseconds(0), size_t{1} << 30, more);
  if (!read.ok()) return Fail(read.ToString());
  for (LoggedBytes& logged : more) {
    const absl::StatusOr<LogRecord> record = DecodeLogRecord(logged.bytes);
    if (!record.ok()) return Fail(record.status().ToString());
    outcomes_.push_back(model_.Apply(*record, SequenceAt(logged.offset)));
    moments_.push_back(std::make_shared<const LogModel>(model_));
    index_of_[logged.offset] = records_.size();
    records_.push_back(std::move(logged));
  }
}

void LogSimulation::Advance(Replica& replica, size_t count) {
  const size_t end = std::min(records_.size(), replica.next + count);
  if (end <= replica.next || !failure_.empty()) return;
  std::vector<size_t> sizes(end - replica.next, 1);
  if (replica.number != 0) {
    for (size_t& size : sizes) size = 1 + Below(4);
  }
  const std::vector<LoggedBytes> handed = Handed(replica, replica.next, end);
  replica.next = end;
  const absl::Status applied = replica.running->Apply(handed, sizes);
  if (!applied.ok()) Fail(absl::StrCat("replica ", replica.number, ": ", applied.ToString()));
}

void LogSimulation::AdvanceTo(Replica& replica, Sequence sequence) {
  const auto end = index_of_.lower_bound(OffsetAfter(sequence));  // the first that is beyond
  const auto wanted = static_cast<size_t>(std::distance(index_of_.begin(), end));
  if (wanted > replica.next) Advance(replica, wanted - replica.next);
}

std::vector<LoggedBytes> LogSimulation::Handed(Replica& replica, size_t begin, size_t end) {
  std::vector<LoggedBytes> handed;
  const bool faulty = replica.number == 1;
  for (size_t i = begin; i < end; ++i) {
    LoggedBytes logged = records_[i];
    const bool last = i + 1 == end;
    if (faulty && fault_ == PlantedFault::kSkipped && !last && OneIn(10)) continue;
    // Not of a record whose stamp has requests forgotten: that is another matter.
    const bool forgets = SequenceAt(logged.offset) / 512 != (i == 0 ? 0 : SequenceAt(records_[i - 1].offset)) / 512;
    if (faulty && fault_ == PlantedFault::kSweepByLocalClock && !forgets) {
      LogRecord record = DecodeLogRecord(logged.bytes).value();
      if (record.operation.index() == 8 || record.operation.index() == 9) {
        record.stamp_ms = replica.clock.NowMs();
        logged.bytes = EncodeLogRecord(record);
      }
    }
    handed.push_back(logged);
    const bool gap = !last && records_[i + 1].offset > logged.offset + 1;
    if (faulty && fault_ == PlantedFault::kAppliedTwice && gap) handed.push_back({logged.offset + 1, logged.bytes});
  }
  return handed;
}

StoreFaults LogSimulation::FaultsOf(Replica& replica) {
  StoreFaults faults;
  if (replica.number != 1) return faults;
  if (fault_ == PlantedFault::kLostTombstone) {
    faults.commit = [&replica](StoreBatch& batch) {
      if (!batch.deaths.empty() && replica.random() % 3 == 0) batch.deaths.pop_back();
      return true;
    };
  }
  if (fault_ == PlantedFault::kRefusedTakesNoPlace) {
    faults.commit = [](const StoreBatch& batch) {
      return !batch.runs.empty() || !batch.deaths.empty() || !batch.requests.empty() ||
             !batch.dropped_partitions.empty() || !batch.states.sessions.empty() || !batch.states.states.empty();
    };
  }
  if (fault_ == PlantedFault::kRequestForgotten) faults.forget = [&replica] { return replica.random() % 2 == 0; };
  if (fault_ == PlantedFault::kReusedId) {
    faults.head = [](PartitionHead& head) { head.next_row -= head.next_row == 0 ? 0 : 1; };
  }
  return faults;
}

}  // namespace mneme::testing
