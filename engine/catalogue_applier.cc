// 1. Records are read from where the catalogue stands, and each is applied, forwarded, and only then said to be
//    handled.
// 2. Beside that the log is asked for its end, time and again: what was asked for once, and is applied, is the moment
//    as of which the catalogue has everything.
#include "engine/catalogue_applier.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

// A reader is asked again after so long, so that the applier stops when it is to.
constexpr std::chrono::milliseconds kReadWait(100);
// Between two tries to reach a log.
constexpr std::chrono::milliseconds kLogPause(200);
// One question for the end: an answer that comes later is of no use, since the moment counts at which it was asked.
constexpr std::chrono::milliseconds kAskWithin(1'000);
// Who waits looks whether his own time is over so often.
constexpr std::chrono::milliseconds kLook(10);
// Ends that were asked for and are not applied yet: while a log is replayed the first of them are enough.
constexpr size_t kMostAsked = 16;

absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down"); }

}  // namespace

CatalogueApplier::CatalogueApplier(CatalogueApplierOptions options)
    : options_(std::move(options)), handled_(options_.catalogue->applied()), applier_([this] { Run(); }),
      asker_([this] { AskForEnds(); }) {}

CatalogueApplier::~CatalogueApplier() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    if (why_.ok()) why_ = ShuttingDown();
  }
  changed_.NotifyAll();
  applier_.join();
  asker_.join();
}

Sequence CatalogueApplier::handled() const {
  MutexLock lock(&mutex_);
  return handled_;
}

absl::Status CatalogueApplier::status() const {
  MutexLock lock(&mutex_);
  return why_;
}

CatalogueApplier::Steady::time_point CatalogueApplier::known_at() const {
  MutexLock lock(&mutex_);
  if (OffsetAfter(handled_) < heard_) return Steady::time_point::min();
  return known_at_;
}

void CatalogueApplier::HeardOf(LogOffset end) {
  MutexLock lock(&mutex_);
  heard_ = std::max(heard_, end);
}

bool CatalogueApplier::Lacks() const {
  MutexLock lock(&mutex_);
  return OffsetAfter(handled_) < heard_;
}

absl::Status CatalogueApplier::AwaitHandled(Sequence sequence, const CallLimits& limits) const {
  MutexLock lock(&mutex_);
  while (handled_ < sequence) {
    RETURN_IF_ERROR(why_);
    RETURN_IF_ERROR(limits.Check());
    changed_.AwaitFor(&mutex_, kLook, [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return handled_ >= sequence || !why_.ok();
    });
  }
  return absl::OkStatus();
}

absl::Status CatalogueApplier::AwaitEnd(const CallLimits& limits) const {
  const Steady::time_point now = Steady::now();
  MutexLock lock(&mutex_);
  while (known_at_ < now) {
    RETURN_IF_ERROR(why_);
    RETURN_IF_ERROR(limits.Check());
    changed_.AwaitFor(&mutex_, kLook,
                      [this, now]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return known_at_ >= now || !why_.ok(); });
  }
  return absl::OkStatus();
}

void CatalogueApplier::Forward(Take take) {
  absl::Status taken;
  {
    MutexLock order(&forward_mutex_);
    forward_ = std::move(take);
    if (forward_ != nullptr) taken = forward_(options_.catalogue->names().Everything());
  }
  if (!taken.ok()) End(taken);
}

void CatalogueApplier::Run() {
  absl::Status status;
  while (status.ok() && !Stopping()) status = Step();
  if (status.ok() || Stopping()) return;
  End(status);
}

void CatalogueApplier::End(const absl::Status& why) {
  {
    MutexLock lock(&mutex_);
    if (!why_.ok()) return;
    why_ = why;
  }
  changed_.NotifyAll();
  Tell("log_failed", why.ToString());
}

absl::Status CatalogueApplier::Step() {
  RETURN_IF_ERROR(status());
  std::vector<LoggedBytes> records;
  if (reader_ == nullptr) {
    absl::StatusOr<std::unique_ptr<LogReader>> reader = options_.log->Read(OffsetAfter(handled()));
    if (!reader.ok()) return TakeRead(reader.status());
    reader_ = *std::move(reader);
  }
  const absl::Status read = reader_->Next(kReadWait, limits::kMaxAppliedAheadBytes, records);
  for (const LoggedBytes& logged : records) {
    if (Stopping()) return absl::OkStatus();
    RETURN_IF_ERROR(ApplyRecord(logged));
  }
  return TakeRead(read);
}

absl::Status CatalogueApplier::TakeRead(const absl::Status& read) {
  const bool refused = absl::IsNotFound(read) || absl::IsPermissionDenied(read);
  if (refused || absl::IsUnavailable(read)) {
    if (refused && !std::exchange(refused_, true)) Tell("log_refused", read.ToString());
    if (!lost_.exchange(true) && !refused) Tell("log_lost", read.ToString());
    Pause(kLogPause);
    return absl::OkStatus();
  }
  if (absl::IsOutOfRange(read)) {
    return absl::OutOfRangeError(absl::StrCat("the log of names does not have offset ", OffsetAfter(handled()),
                                              ", from which this replica goes on (", std::string(read.message()),
                                              "): start it again, and it takes what another replica has"));
  }
  RETURN_IF_ERROR(read);
  refused_ = false;
  if (lost_.exchange(false)) Tell("log_found", absl::StrCat("names, at offset ", reader_->next()));
  // Offsets of no record that nothing follows yet.
  if (reader_->next() > OffsetAfter(handled())) Handled(reader_->next());
  return absl::OkStatus();
}

absl::Status CatalogueApplier::ApplyRecord(const LoggedBytes& logged) {
  if (SequenceAt(logged.offset) <= options_.catalogue->applied()) return absl::OkStatus();
  const absl::StatusOr<LogRecord> record = DecodeLogRecord(logged.bytes);
  if (!record.ok()) {
    return absl::Status(record.status().code(), absl::StrCat("at offset ", logged.offset, " of the log of names: ",
                                                             std::string(record.status().message())));
  }
  if (record->deployment != options_.deployment) {
    // Who began at the same moment, and was second: its number went nowhere.
    if (logged.offset != 0 && std::holds_alternative<FoundCommand>(record->operation)) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("the record at offset ", logged.offset, " of the log of names is of deployment ",
                     absl::Hex(record->deployment, absl::kZeroPad16), ", this replica of ",
                     absl::Hex(options_.deployment, absl::kZeroPad16), ": is it the log of another deployment?"));
  }
  // Held over both, so that who begins to be told misses nothing between.
  MutexLock order(&forward_mutex_);
  ASSIGN_OR_RETURN(const AppliedChange applied, options_.catalogue->Apply(logged.offset, *record));
  if (forward_ != nullptr) RETURN_IF_ERROR(forward_(applied.changes));
  if (options_.replicas != nullptr) {
    for (const auto& [shard, list] : applied.changes.replicas) options_.replicas(shard, list.addresses);
  }
  Handled(SequenceAt(logged.offset));
  return absl::OkStatus();
}

void CatalogueApplier::Handled(Sequence sequence) {
  {
    MutexLock lock(&mutex_);
    handled_ = std::max(handled_, sequence);
    Settle();
  }
  changed_.NotifyAll();
  if (options_.handled != nullptr) options_.handled(sequence);
}

void CatalogueApplier::Settle() {
  while (!asked_.empty() && asked_.front().end <= OffsetAfter(handled_)) {
    known_at_ = std::max(known_at_, asked_.front().at);
    asked_.pop_front();
  }
}

void CatalogueApplier::AskForEnds() {
  while (!Stopping()) {
    CallLimits limits;
    const Steady::time_point now = Steady::now();
    limits.deadline = now + kAskWithin;
    const absl::StatusOr<LogOffset> end = options_.log->End(limits);
    if (end.ok()) {
      MutexLock lock(&mutex_);
      if (asked_.size() >= kMostAsked) asked_.pop_back();
      // Ends are what a majority has, and do not fall; an older one that is told again is no news.
      asked_.push_back({now, asked_.empty() ? *end : std::max(*end, asked_.back().end)});
      Settle();
    }
    changed_.NotifyAll();
    Pause(options_.poll);
  }
}

void CatalogueApplier::Pause(std::chrono::milliseconds pause) const {
  MutexLock lock(&mutex_);
  changed_.AwaitFor(&mutex_, pause, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; });
}

bool CatalogueApplier::Stopping() const {
  MutexLock lock(&mutex_);
  return stopping_;
}

}  // namespace mneme
