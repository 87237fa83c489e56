// 1. The record of the last write that the shard's store remembers is read first, and must be what is remembered: the
//    log is the one that was applied. Then records are read from where the store stands, which a log that was put back
//    short of it does not have. While a log cannot be reached, its reader is asked again.
// 2. Each is decoded, its memory is found, and what its memory cannot take is refused: alike on every replica.
// 3. It goes to the shard's writer with its place, once the shard has room. The writer groups what waits as it does
//    writes of clients.
// 4. The writer tells what became of it in the order of the places; what it cannot apply ends everything after it.
#include "engine/log_applier.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/logged_write.h"
#include "engine/remembered_result.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// A reader is asked again after so long, so that the applier stops when it is to.
constexpr std::chrono::milliseconds kReadWait(100);
// Between two tries to reach a log, to find a memory that this process is yet to be told of, and to have room.
constexpr std::chrono::milliseconds kLogPause(200);
constexpr std::chrono::milliseconds kMemoryPause(20);
constexpr std::chrono::milliseconds kRoomPause(2);
// How long outcomes are waited for that cannot come for want of room: of several replicas that are short of it each is
// asked within the round that a front end gives them (cluster/logged_shard_port.cc).
constexpr std::chrono::milliseconds kPutOffAfter(500);
// A record that waits longer is worth an event.
constexpr std::chrono::seconds kLongWait(10);

// Whether it is time to say that something has waited for long: once.
class LongWait {
 public:
  bool IsNow() {
    if (told_ || Steady::now() < begin_ + kLongWait) return false;
    return told_ = true;
  }

 private:
  const Steady::time_point begin_ = Steady::now();
  bool told_ = false;
};

// What is remembered of the request of the record at `offset`, by the time that the record has had its outcome.
absl::StatusOr<WriteResult> Recall(const Shard& shard, LogOffset offset, const RequestIdentity& request) {
  const std::string unknown = absl::StrCat("the outcome of the record at offset ", offset, " of shard ",
                                           shard.number(), " is not known any more");
  // Of a merge, which nobody asks for by a request id.
  if (request.id == Hash128()) {
    return absl::UnavailableError(
        absl::StrCat(unknown, ", and it has no request id: prune again, which chooses from what is left"));
  }
  ASSIGN_OR_RETURN(const auto known, shard.store().FindRequest(request.id));
  if (known.has_value() && known->content == request.content) {
    ASSIGN_OR_RETURN(WriteResult result, ResultOf(*known, shard.number()));
    result.replayed = known->sequence != SequenceAt(offset);
    return result;
  }
  if (known.has_value() && known->sequence < SequenceAt(offset)) {
    return WithReason(absl::FailedPreconditionError("request_id was used before with other content; use a new one"),
                      reason::kRequestIdReused);
  }
  return absl::UnavailableError(absl::StrCat(unknown, "; ask again with its request id"));
}

}  // namespace

std::unique_ptr<LogApplier> LogApplier::Start(LogApplierOptions options) {
  return std::unique_ptr<LogApplier>(new LogApplier(std::move(options)));
}

LogApplier::LogApplier(LogApplierOptions options)
    : options_(std::move(options)),
      outcomes_(std::make_shared<LogOutcomes>(
          options_.shard->store().applied(),
          [shard = options_.shard](LogOffset offset, const RequestIdentity& request) {
            return Recall(*shard, offset, request);
          })),
      seen_end_(OffsetAfter(outcomes_->handled())), next_(OffsetAfter(outcomes_->handled())),
      thread_([this] { Run(); }) {}

LogApplier::~LogApplier() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  thread_.join();
  outcomes_->End(0, absl::UnavailableError("the server is shutting down"));
}

void LogApplier::AwaitOutcome(LogOffset offset, const RequestIdentity& request, const CallLimits& limits,
                              std::function<void(absl::StatusOr<WriteResult>)> then) {
  outcomes_->Await(offset, request, limits, std::move(then));
}

absl::Status LogApplier::AwaitHandled(Sequence sequence, const CallLimits& limits) const {
  return outcomes_->AwaitHandled(sequence, limits);
}

void LogApplier::TellWaiters() { outcomes_->TellWaiters(); }

absl::Status LogApplier::AtOffset(LogOffset offset, const CallLimits& limits, std::function<absl::Status()> work) {
  const auto over = [this]() -> absl::Status {
    RETURN_IF_ERROR(outcomes_->status());
    return Stopping() ? absl::UnavailableError("the server is shutting down") : absl::OkStatus();
  };
  return halts_.At(offset, limits, over, std::move(work));
}

void LogApplier::Run() {
  absl::Status status = FindLast();
  while (status.ok() && !Stopping()) status = Step();
  if (status.ok()) return;
  outcomes_->End(next_, status);
  Tell("log_failed", status.ToString());
}

absl::Status LogApplier::FindLast() {
  ASSIGN_OR_RETURN(last_, options_.shard->store().LatestRequest());
  if (!last_.has_value()) return absl::OkStatus();
  const Sequence at = last_->sequence;
  if (at == 0 || at > next_) last_.reset();
  return absl::OkStatus();
}

absl::Status LogApplier::Compare(const LoggedBytes& logged) {
  if (!last_.has_value() || SequenceAt(logged.offset) < last_->sequence) return absl::OkStatus();
  const RememberedRequest last = *std::exchange(last_, std::nullopt);
  if (SequenceAt(logged.offset) == last.sequence) {
    ASSIGN_OR_RETURN(LogRecord record, Decode(logged));
    const WriteTicket* const ticket = TicketOf(record.operation);
    const bool same = ticket != nullptr && ticket->request.has_value() && ticket->request->id == last.id &&
                      ticket->request->content == last.content;
    if (same) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the record at offset ", logged.offset, " of the log of shard ", options_.shard->number(),
                   " is not what this replica has applied there: was the log put back, and written since?"));
}

absl::Status LogApplier::Step() {
  RETURN_IF_ERROR(outcomes_->status());  // the shard's writer says so
  outcomes_->TellWaiters();
  std::vector<LoggedBytes> records;
  const absl::Status read = Read(records);
  LookAtEnd();
  if (!records.empty()) Saw(records.back().offset + 1);
  for (const LoggedBytes& logged : records) {
    if (Stopping()) return absl::OkStatus();
    RETURN_IF_ERROR(HandOver(logged));
  }
  // Not on from here: whether the log reaches to where the shard stands is said of who reads from there.
  if (reader_ != nullptr && !records.empty() && records.back().offset + 1 < next_ && !last_.has_value()) {
    reader_.reset();
    return absl::OkStatus();
  }
  const bool refused = absl::IsNotFound(read) || absl::IsPermissionDenied(read);
  if (refused || absl::IsUnavailable(read)) {
    if (refused && !refused_.exchange(true)) Tell("log_refused", read.ToString());
    if (!lost_.exchange(true) && !refused) Tell("log_lost", read.ToString());
    Pause(kLogPause);
    return absl::OkStatus();
  }
  if (last_.has_value() && (absl::IsOutOfRange(read) || (read.ok() && records.empty() && EndsBefore(*last_)))) {
    last_.reset();  // the log need not have it any more, nor know yet that it has it
    reader_.reset();
    return absl::OkStatus();
  }
  if (absl::IsOutOfRange(read)) {
    return absl::OutOfRangeError(
        absl::StrCat("the log of shard ", options_.shard->number(), " does not have offset ", next_,
                     ", from which this replica goes on (", std::string(read.message()),
                     "): start it again, and it copies what another replica has"));
  }
  RETURN_IF_ERROR(read);
  refused_ = false;
  HaltBefore(next_);
  if (lost_.exchange(false)) Tell("log_found", absl::StrCat("at offset ", next_));
  if (records.empty()) PassGap();
  return absl::OkStatus();
}

bool LogApplier::EndsBefore(const RememberedRequest& request) const {
  const LogOffset end = reader_->seen_end();
  return end != 0 && end < request.sequence;
}

void LogApplier::PassGap() {
  const LogOffset at = reader_->next();
  if (at <= next_ || OffsetAfter(outcomes_->handled()) < next_) return;
  next_ = at;
  outcomes_->Skip(at);
}

absl::Status LogApplier::Read(std::vector<LoggedBytes>& records) {
  if (reader_ == nullptr) {
    const LogOffset from = last_.has_value() ? last_->sequence - 1 : next_;
    ASSIGN_OR_RETURN(reader_, options_.log->Read(from));
  }
  return reader_->Next(kReadWait, limits::kMaxAppliedAheadBytes, records);
}

absl::Status LogApplier::HandOver(const LoggedBytes& logged) {
  if (logged.offset < next_) return Compare(logged);  // it was applied before
  HaltBefore(logged.offset);
  ASSIGN_OR_RETURN(LogRecord record, Decode(logged));
  const absl::StatusOr<MemoryHandle> memory = AwaitMemory(record);
  if (!memory.ok() && !absl::IsNotFound(memory.status())) {
    return Stopping() ? absl::OkStatus() : memory.status();
  }
  AwaitRoom(record);
  if (Stopping()) return absl::OkStatus();
  const LogOffset offset = logged.offset;
  auto done = [shard = options_.shard, outcomes = outcomes_, offset](const absl::StatusOr<WriteResult>& outcome) {
    if (!outcome.ok()) {
      const absl::Status failed = shard->write_status();
      if (!failed.ok()) return outcomes->End(OffsetAfter(outcomes->handled()), failed);
      if (absl::IsAborted(outcome.status())) return;  // it came before, and was told then
    }
    outcomes->Handled(offset, outcome);
  };
  RETURN_IF_ERROR(
      options_.shard->Submit(ToWriteOperation(std::move(record), memory, SequenceAt(offset), std::move(done))));
  next_ = offset + 1;
  return absl::OkStatus();
}

absl::StatusOr<LogRecord> LogApplier::Decode(const LoggedBytes& logged) const {
  absl::StatusOr<LogRecord> record = DecodeLogRecord(logged.bytes);
  if (!record.ok()) {
    return absl::Status(record.status().code(), absl::StrCat("at offset ", logged.offset, " of the log of shard ",
                                                             options_.shard->number(), ": ",
                                                             std::string(record.status().message())));
  }
  if (record->deployment == options_.deployment) return record;
  return absl::FailedPreconditionError(
      absl::StrCat("the record at offset ", logged.offset, " of the log of shard ", options_.shard->number(),
                   " is of deployment ", absl::Hex(record->deployment, absl::kZeroPad16), ", this replica of ",
                   absl::Hex(options_.deployment, absl::kZeroPad16), ": is it the log of another deployment?"));
}

absl::StatusOr<MemoryHandle> LogApplier::AwaitMemory(const LogRecord& record) {
  if (!IsOfAMemory(record)) return MemoryHandle();
  LongWait wait;
  while (true) {
    absl::StatusOr<MemoryHandle> memory = options_.find_memory(record.memory);
    if (!absl::IsUnavailable(memory.status()) || Stopping()) return memory;
    if (wait.IsNow()) Tell("log_waits", absl::StrCat("for memory ", record.memory, " of the record at offset ", next_));
    GoOnWaiting(kMemoryPause);
  }
}

absl::Status LogApplier::CheckRoom(const LogRecord& record) const {
  if (options_.disk != nullptr && FillsDisk(record.operation)) RETURN_IF_ERROR(options_.disk->Check());
  return options_.room != nullptr && Grows(record.operation) ? options_.room() : absl::OkStatus();
}

void LogApplier::AwaitRoom(const LogRecord& record) {
  LongWait wait;
  Steady::time_point put_off = Steady::now() + kPutOffAfter;
  while (!Stopping()) {
    const absl::Status room = CheckRoom(record);
    if (room.ok() && options_.shard->queued_bytes() <= limits::kMaxAppliedAheadBytes) return;
    if (!room.ok() && wait.IsNow()) Tell("log_waits", room.ToString());
    if (!room.ok() && Steady::now() >= put_off) {
      const bool of_disk = ReasonOf(room) == reason::kStorageLow;
      outcomes_->PutOff(next_, WithReason(absl::DeadlineExceededError(absl::StrCat(
                                              "the log waits at offset ", next_, " for room: ", room.message())),
                                          of_disk ? reason::kStorageLow : reason::kReplicaLagging));
      put_off = Steady::now() + kPutOffAfter;
    }
    GoOnWaiting(kRoomPause);
  }
}

void LogApplier::HaltBefore(LogOffset next) {
  if (!halts_.Wanted(next)) return;
  while (OffsetAfter(outcomes_->handled()) < next_) {
    if (Stopping() || !outcomes_->status().ok()) return;
    CallLimits look;
    look.deadline = Steady::now() + kReadWait;
    (void)outcomes_->AwaitHandled(next_, look);
  }
  halts_.Run(next_, next);
}

void LogApplier::GoOnWaiting(std::chrono::milliseconds pause) {
  outcomes_->TellWaiters();
  LookAtEnd();
  Pause(pause);
}

void LogApplier::LookAtEnd() {
  if (reader_ != nullptr) Saw(reader_->seen_end());
}

void LogApplier::Saw(LogOffset end) { seen_end_ = std::max(seen_end_.load(), end); }

void LogApplier::Tell(std::string_view event, std::string_view detail) const {
  if (options_.events != nullptr) options_.events(event, detail);
}

void LogApplier::Pause(std::chrono::milliseconds pause) {
  MutexLock lock(&mutex_);
  stop_.AwaitFor(&mutex_, pause, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; });
}

bool LogApplier::Stopping() const {
  MutexLock lock(&mutex_);
  return stopping_;
}

}  // namespace mneme
