#include "cluster/logged_shard_port.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "cluster/remote_states.h"
#include "common/checksum.h"
#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Steady = std::chrono::steady_clock;

// A round of all replicas that is over sooner was no waiting for one that comes back, which gRPC does: they refused.
constexpr std::chrono::milliseconds kShortestRound{100};
// So long a read waits for its marker to be appended, whatever its deadline.
constexpr std::chrono::seconds kLongestMarker{3};
// So long one replica is waited for that has not applied a record: another may have.
constexpr std::chrono::milliseconds kLongestRound{2'000};

// Of the part of a write that has its entries from `begin` to `end`. Whoever cuts it alike names it alike, and who cuts
// another write, or the same elsewhere, under its request id is told so: the first part has that id.
RequestIdentity IdentityOfPart(const RequestIdentity& whole, size_t index, size_t begin, size_t end) {
  RequestIdentity part = whole;
  if (index != 0) part.id = {Mix64(whole.id.low ^ Mix64(index)), Mix64(whole.id.high + index)};
  part.content = Mix64(whole.content ^ Mix64(begin ^ Mix64(end)));
  return part;
}

InsertOperation PartOf(const InsertOperation& whole, size_t index, size_t begin, size_t end) {
  InsertOperation part;
  part.ticket.memory = whole.ticket.memory;
  part.ticket.request = IdentityOfPart(*whole.ticket.request, index, begin, end);
  part.ticket.stamp_ms = whole.ticket.stamp_ms;
  part.partition = whole.partition;
  part.bulk = whole.bulk;
  part.entries.values.width = whole.entries.values.width;
  for (size_t i = begin; i < end; ++i) part.entries.Append(whole.entries.At(i));
  if (whole.entries.ids.empty()) part.entries.ids.clear();  // the shard gives them
  return part;
}

absl::Status Stopping() { return absl::CancelledError("the front end is stopping"); }

// Asks until the shard has applied what is waited for: a read there waits for a moment only, whatever its deadline.
template <typename Ask>
auto UntilApplied(const CallLimits& limits, const Ask& ask) {
  while (true) {
    auto answer = ask();
    if (answer.ok() || ReasonOf(answer.status()) != reason::kReplicaLagging) return answer;
    // Of a deadline the answer says more: who lags.
    const absl::Status over = limits.Check();
    if (absl::IsCancelled(over)) answer = over;
    if (!over.ok()) return answer;
  }
}

}  // namespace

// What a record is made of.
struct LoggedShardPort::Piece {
  std::string record;
  RequestIdentity request;
};

// A write, which is told when all of its records were.
struct LoggedShardPort::Whole {
  std::function<void()> visible;
  std::function<void(absl::StatusOr<WriteResult>)> done;
  bool named = false;  // by its client
  WriteAdmission::Ticket admitted;
  Mutex mutex;
  std::vector<absl::StatusOr<WriteResult>> told ABSL_GUARDED_BY(mutex);  // by the order of the records
  size_t left ABSL_GUARDED_BY(mutex) = 0;
};

// One record on its way: to the log, then to a replica.
struct LoggedShardPort::Record {
  std::shared_ptr<Whole> whole;
  size_t at = 0;  // among those of the write
  RequestIdentity request;
  CallLimits limits;
  LogOffset offset = 0;
  Steady::time_point asked;
  bool held_up = false;  // once it is in the log: replicas wait for room before they apply it
  // It leaves the log once: with what the log tells, or when the front end gives up.
  std::atomic<bool> left_log{false};
};

LoggedShardPort::LoggedShardPort(const LoggedShardPortOptions& options)
    : channel_(options.channel), log_(options.log), check_stamp_(options.check_stamp), admission_(options.most_bytes),
      // A marker has a stamp, as every record has, by which replicas may forget what they remember of requests.
      markers_(options.log, [channel = options.channel, clock = options.clock,
                             check = options.check_stamp]() -> absl::StatusOr<std::string> {
        LogRecord marker;
        marker.deployment = channel->target().deployment();
        marker.stamp_ms = clock->NowMs();
        if (check != nullptr) RETURN_IF_ERROR(check(marker.stamp_ms));
        marker.operation = ReadMarker{};
        return EncodeLogRecord(marker);
      }) {}

LoggedShardPort::~LoggedShardPort() {
  MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return handing_over_ == 0; };
  handed_over_.Await(&mutex_, idle);
}

absl::StatusOr<std::string> LoggedShardPort::Encode(const WriteOperation& operation) const {
  return EncodeLogRecord(channel_->target().deployment(), operation);
}

absl::StatusOr<std::vector<LoggedShardPort::Piece>> LoggedShardPort::Cut(const WriteOperation& operation,
                                                                          const RequestIdentity& request) const {
  ASSIGN_OR_RETURN(std::string record, Encode(operation));
  std::vector<Piece> pieces;
  const size_t most = log_->most_record_bytes();
  const auto* insert = std::get_if<InsertOperation>(&operation);
  if (record.size() <= most) {
    pieces.push_back({std::move(record), request});
    return pieces;
  }
  const size_t bytes = record.size();
  std::string().swap(record);
  const size_t count = insert == nullptr ? 1 : insert->entries.count;
  if (count < 2) {
    return absl::InvalidArgumentError(absl::StrCat("the write has ", bytes, " bytes in the log of its shard and cannot "
                                                   "be cut; must have at most ", most));
  }
  // Each takes less than its share of the bound, since entries differ in length.
  const size_t parts = std::min(count, bytes / most + 2);
  for (size_t i = 0; i < parts; ++i) {
    RETURN_IF_ERROR(CutInsert(*insert, i * count / parts, (i + 1) * count / parts, pieces));
  }
  return pieces;
}

absl::Status LoggedShardPort::CutInsert(const InsertOperation& insert, size_t begin, size_t end,
                                        std::vector<Piece>& pieces) const {
  InsertOperation part = PartOf(insert, pieces.size(), begin, end);
  const RequestIdentity request = *part.ticket.request;
  ASSIGN_OR_RETURN(std::string record, Encode(std::move(part)));
  if (record.size() <= log_->most_record_bytes()) {
    pieces.push_back({std::move(record), request});
    return absl::OkStatus();
  }
  if (end - begin < 2) {
    return absl::InvalidArgumentError(absl::StrCat("an entry has ", record.size(), " bytes in the log of its shard; "
                                                   "must have at most ", log_->most_record_bytes()));
  }
  const size_t middle = begin + (end - begin) / 2;
  RETURN_IF_ERROR(CutInsert(insert, begin, middle, pieces));
  return CutInsert(insert, middle, end, pieces);
}

absl::Status LoggedShardPort::Submit(WriteOperation operation) {
  WriteTicket* const ticket = TicketOf(operation);
  if (ticket == nullptr) return Encode(operation).status();  // says that no client causes it
  RETURN_IF_ERROR(CheckRoom(operation));
  if (check_stamp_ != nullptr) RETURN_IF_ERROR(check_stamp_(ticket->stamp_ms));
  const auto whole = std::make_shared<Whole>();
  whole->named = ticket->request.has_value();
  if (!whole->named) ticket->request = RandomIdentity();
  whole->visible = std::move(ticket->visible);
  whole->done = std::move(ticket->done);
  ASSIGN_OR_RETURN(std::vector<Piece> pieces, Cut(operation, *ticket->request));
  {
    MutexLock lock(&whole->mutex);
    whole->told.assign(pieces.size(), absl::StatusOr<WriteResult>(WriteResult()));
    whole->left = pieces.size();
  }
  const CallLimits limits = WithinWriteTime();
  uint64_t bytes = 0;
  std::vector<RecordHandle> records;
  for (const Piece& piece : pieces) {
    bytes += piece.record.size() + kCallBytes;
    RecordHandle& record = records.emplace_back(std::make_shared<Record>());
    record->whole = whole;
    record->at = records.size() - 1;
    record->request = piece.request;
    record->limits = limits;
  }
  ASSIGN_OR_RETURN(whole->admitted, admission_.Admit(bytes, absl::StrCat("the log of shard ", number())));
  absl::Status out_of_ram;  // made while there is ram
  if (pieces.size() > 1) {
    out_of_ram = WithReason(
        absl::ResourceExhaustedError(absl::StrCat("out of ram while appending to the log of shard ", number())),
        reason::kMemoryLimit);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    absl::Status ended;
    try {
      if (!Append(records[i], std::move(pieces[i].record))) ended = Stopping();
    } catch (const std::bad_alloc&) {
      if (i == 0) throw;  // who catches it tells of the write, of which nothing is anywhere
      ended = out_of_ram;  // the write is told when the records are that the log has
    }
    if (!ended.ok()) Tell(records[i], ended);
  }
  return absl::OkStatus();
}

bool LoggedShardPort::Append(const RecordHandle& record, std::string bytes) {
  ShardLog::Appended appended = [this, record](absl::StatusOr<LogOffset> offset) {
    if (record->left_log.exchange(true)) return;  // told; the port may be gone
    {
      MutexLock lock(&mutex_);
      appending_.erase(record);
    }
    if (!offset.ok()) return Tell(record, OfLog(offset.status()));
    record->offset = *offset;
    AskOutcome(record);
  };
  {
    MutexLock lock(&mutex_);
    if (given_up_) return false;
    appending_.insert(record);
    ++handing_over_;
  }
  // The log may not end before it has taken the record, though the write be told meanwhile.
  const absl::Cleanup handed_over = [this] {
    MutexLock lock(&mutex_);
    if (--handing_over_ == 0) handed_over_.NotifyAll();
  };
  try {
    log_->Append(std::move(bytes), std::move(appended));
  } catch (...) {  // no ram, most likely
    if (record->left_log.exchange(true)) return true;  // told meanwhile, that the front end stops
    MutexLock lock(&mutex_);
    appending_.erase(record);
    throw;
  }
  return true;
}

void LoggedShardPort::AskOutcome(RecordHandle record) {
  record->asked = Steady::now();
  CallLimits round = record->limits;
  round.deadline = std::min(round.deadline, record->asked + kLongestRound);
  std::string body = Flat(record->offset, record->request);
  channel_->Ask(&Async::AwaitOutcome, std::move(body), round,
                [this, record = std::move(record)](absl::StatusOr<std::string> answer) {
                  if (answer.ok()) return Tell(record, OutcomeOf(*answer));
                  if (absl::IsCancelled(answer.status()) && GivenUp()) return Tell(record, answer.status());
                  // The write is in the log, and will be applied, whatever is wrong with who was asked.
                  const bool lags = IsLagging(answer.status());
                  if (lags) HoldUp(*record, answer.status());
                  const bool waited = lags || Steady::now() - record->asked >= kShortestRound;
                  if (waited && record->limits.Check().ok()) return AskOutcome(record);
                  Tell(record, NotTold(answer.status().message()));
                });
}

absl::Status LoggedShardPort::CheckRoom(const WriteOperation& operation) const {
  MutexLock lock(&mutex_);
  if (held_up_ == 0) return absl::OkStatus();
  const bool of_disk = ReasonOf(why_) == reason::kStorageLow;
  if (!(of_disk ? FillsDisk(operation) : Grows(operation))) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("writes to shard ", number(), " wait in its log: ", why_.message())),
      of_disk ? reason::kStorageLow : reason::kMemoryLimit);
}

void LoggedShardPort::HoldUp(Record& record, const absl::Status& why) {
  MutexLock lock(&mutex_);
  if (!std::exchange(record.held_up, true)) ++held_up_;
  why_ = why;
}

absl::StatusOr<WriteResult> LoggedShardPort::OutcomeOf(std::string_view answer) const {
  absl::Status outcome;
  std::optional<WriteResult> result;
  if (const absl::Status read = Unflat(answer, outcome, result); !read.ok()) return NotTold(read.message());
  RETURN_IF_ERROR(outcome);
  if (result.has_value()) return *std::move(result);
  return NotTold("no replica knows it any more");
}

absl::Status LoggedShardPort::NotTold(absl::string_view why) const {
  return WithReason(absl::UnavailableError(absl::StrCat("shard ", number(), " was not told what became of a write: ",
                                                        why, "; ask again with the same request id")),
                    reason::kShardUnavailable);
}

void LoggedShardPort::Tell(const RecordHandle& record, absl::StatusOr<WriteResult> result) {
  if (record->held_up) {
    MutexLock lock(&mutex_);
    --held_up_;
  }
  Whole& whole = *record->whole;
  std::vector<absl::StatusOr<WriteResult>> told;
  {
    MutexLock lock(&whole.mutex);
    whole.told[record->at] = std::move(result);
    if (--whole.left != 0) return;
    told.swap(whole.told);
  }
  absl::StatusOr<WriteResult> joined = std::move(told.front());
  for (size_t i = 1; i < told.size() && joined.ok(); ++i) {
    if (!told[i].ok()) {
      joined = told[i].status();
      break;
    }
    joined->count += told[i]->count;
    joined->other += told[i]->other;
    joined->given_ids.insert(joined->given_ids.end(), told[i]->given_ids.begin(), told[i]->given_ids.end());
    joined->sequence = std::max(joined->sequence, told[i]->sequence);
    joined->replayed = joined->replayed && told[i]->replayed;
  }
  whole.admitted.Leave();
  if (joined.ok()) {
    joined->replayed = joined->replayed && whole.named;
    channel_->Saw(joined->sequence);
    if (whole.visible != nullptr) whole.visible();
  }
  const auto done = std::move(whole.done);
  done(std::move(joined));
}

absl::Status LoggedShardPort::OfLog(const absl::Status& status) const {
  const std::string text = absl::StrCat("the log of shard ", number(), ": ", status.message());
  // The caller's own deadline is another.
  if (Unreached(status)) return WithReason(absl::UnavailableError(text), reason::kShardUnavailable);
  const std::string why = ReasonOf(status);
  absl::Status told(status.code(), text);
  return why.empty() ? told : WithReason(std::move(told), why);
}

bool LoggedShardPort::GivenUp() const {
  MutexLock lock(&mutex_);
  return given_up_;
}

void LoggedShardPort::GiveUp() {
  markers_.GiveUp();
  std::set<RecordHandle> appending;
  {
    MutexLock lock(&mutex_);
    given_up_ = true;
    appending.swap(appending_);
  }
  for (const RecordHandle& record : appending) {
    if (!record->left_log.exchange(true)) Tell(record, Stopping());
  }
}

absl::StatusOr<Version> LoggedShardPort::Marker(const MemoryRecord& memory, const CallLimits& limits) const {
  // A reader holds a thread, which others need who ask for less.
  const absl::StatusOr<Sequence> marker = markers_.Next(limits.Within(kLongestMarker));
  if (marker.ok()) return Version{memory.number, {{number(), *marker}}};
  // What the caller's own limits say is his.
  RETURN_IF_ERROR(limits.Check());
  return OfLog(marker.status());
}

absl::StatusOr<StateOutcome> LoggedShardPort::ReadStates(const MemoryRecord& memory, const ApplyStates& apply,
                                                         int64_t stamp_ms, const CallLimits& limits) const {
  ASSIGN_OR_RETURN(const Version at_least, Marker(memory, limits));
  return UntilApplied(limits, [&] { return AskStates(*channel_, memory, apply, stamp_ms, at_least, limits); });
}

absl::StatusOr<std::string> LoggedShardPort::ReadSession(const MemoryRecord& memory, const std::string& session,
                                                         int64_t stamp_ms, const CallLimits& given) const {
  const CallLimits limits = WithinWriteTime(given);
  ASSIGN_OR_RETURN(const Version at_least, Marker(memory, limits));
  return UntilApplied(limits, [&] { return AskSession(*channel_, memory, session, stamp_ms, at_least, limits); });
}

absl::StatusOr<std::vector<NamedSession>> LoggedShardPort::ListSessions(const MemoryRecord& memory,
                                                                        const std::string& prefix,
                                                                        const std::string& after, size_t limit,
                                                                        const CallLimits& given) const {
  const CallLimits limits = WithinWriteTime(given);
  ASSIGN_OR_RETURN(const Version at_least, Marker(memory, limits));
  const SessionsQuestion question{prefix, after, limit};
  return UntilApplied(limits, [&] { return AskSessions(*channel_, memory, question, at_least, limits); });
}

}  // namespace mneme
