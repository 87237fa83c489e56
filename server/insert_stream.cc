#include "server/insert_stream.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_memory.h"
#include "server/find_memory.h"
#include "server/merge_version.h"
#include "server/raw_message.h"
#include "server/request_error.h"
#include "server/write_handlers.h"

namespace mneme {

InsertStreamCall* InsertStreamCall::Start(FrontEnd& front_end, const RpcMethod& method,
                                          grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<InsertStreamCall>(front_end, method, context);
  InsertStreamCall* raw = stream.get();
  front_end.AddStream(stream);
  raw->self_ = std::move(stream);
  const absl::StatusOr<Deployment*> deployment = front_end.deployment();
  if (deployment.ok()) raw->deployment_ = *deployment;
  {
    absl::MutexLock lock(&raw->mutex_);
    raw->failure_ = raw->record_.CheckCaller();
    if (raw->failure_.ok()) raw->failure_ = deployment.status();
  }
  raw->Advance();
  return raw;
}

InsertStreamCall::InsertStreamCall(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context)
    : limits_(LimitsOf(*context, cancelled_)), record_(front_end, method, *context) {}

void InsertStreamCall::OnReadDone(bool ok) {
  CallPool* pool = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (ok && record_.BoundsWrites()) pool = &record_.front_end().bounded_writes();
    taking_ = pool != nullptr;
  }
  // What is stored may have to be asked of shards, which may not hold up a gRPC thread. No other message is read
  // meanwhile.
  if (pool == nullptr) return Take(ok);
  const absl::Status submitted = pool->Submit([self = shared_from_this()] { self->Take(true); });
  if (submitted.ok()) return;
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    taking_ = false;
    if (failure_.ok()) failure_ = submitted;
  }
  Advance();
}

void InsertStreamCall::Take(bool ok) {
  absl::Status status;
  if (ok) status = Guard([this] { return Accept(incoming_); });
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    taking_ = false;
    half_closed_ |= !ok;
    if (failure_.ok()) failure_ = status;
  }
  Advance();
}

void InsertStreamCall::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      broken_ = true;
      if (failure_.ok()) failure_ = absl::CancelledError("the client is gone");
    }
  }
  Advance();
}

void InsertStreamCall::OnCancel() {
  cancelled_->store(true, std::memory_order_relaxed);
  const absl::Status why = limits_.Check();  // a deadline cancels too
  {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
    if (failure_.ok()) failure_ = why.ok() ? absl::CancelledError("the client cancelled") : why;
  }
  Advance();
}

void InsertStreamCall::OnDone() { self_.reset(); }

void InsertStreamCall::OnDrain() { Advance(); }

void InsertStreamCall::CompleteFromTemplate(v1::InsertRequest& insert) {
  if (insert.memory().empty()) {
    insert.set_memory(template_.memory());
    if (insert.partition() == 0) insert.set_partition(template_.partition());
    if (insert.durability() == v1::DURABILITY_UNSPECIFIED) insert.set_durability(template_.durability());
    if (!insert.has_fingerprint() && template_.has_fingerprint()) {
      *insert.mutable_fingerprint() = template_.fingerprint();
    }
    if (!insert.bulk()) insert.set_bulk(template_.bulk());
    return;
  }
  template_.Clear();
  template_.set_memory(insert.memory());
  template_.set_partition(insert.partition());
  template_.set_durability(insert.durability());
  template_.set_bulk(insert.bulk());
  if (insert.has_fingerprint()) *template_.mutable_fingerprint() = insert.fingerprint();
}

absl::Status InsertStreamCall::Receive(size_t bytes) {
  absl::MutexLock lock(&mutex_);
  return record_.Receive(bytes);
}

absl::Status InsertStreamCall::Authorize(const v1::InsertRequest& insert) {
  AccessTargets targets = TargetsOf(insert);
  targets.front().memory = named_;
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(record_.AuthorizeTargets(targets));
  return record_.TakeEntries(EntriesOf(insert));
}

absl::StatusOr<StoredQuotas::Ticket> InsertStreamCall::AdmitStored(const v1::InsertRequest& insert) {
  Caller caller;
  FrontEnd* front_end = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (!BoundsWrites(record_.caller())) return StoredQuotas::Ticket();
    caller = record_.caller();
    front_end = &record_.front_end();
  }
  std::optional<Addition> addition = AdditionOf(insert);
  addition->memory = named_;
  return AdmitAddition(front_end->stored_quotas(), caller, *deployment_, addition, limits_);
}

absl::Status InsertStreamCall::Accept(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(limits_.Check());
  RETURN_IF_ERROR(Receive(bytes.Length()));
  v1::InsertStreamRequest request;
  RETURN_IF_ERROR(ParseMessage(bytes, &request));
  if (request.sequence() != sequence_ + 1) {
    return WithPrecondition(
        WithErrorInfo(absl::FailedPreconditionError(
                          absl::StrCat("sequence is ", request.sequence(), "; must be ", sequence_ + 1)),
                      reason::kSequenceGap,
                      {{"expected", absl::StrCat(sequence_ + 1)}, {"got", absl::StrCat(request.sequence())}}),
        reason::kSequenceGap, "sequence");
  }
  const bool goes_on = request.insert().memory().empty();
  if (!goes_on) named_ = request.insert().memory();
  CompleteFromTemplate(*request.mutable_insert());
  RETURN_IF_ERROR(Authorize(request.insert()));
  ASSIGN_OR_RETURN(PlannedInsert plan, PlanInsert(*deployment_, request.insert()));
  if (goes_on) RETURN_IF_ERROR(CheckSameMemory(memory_, plan.memory));
  ASSIGN_OR_RETURN(StoredQuotas::Ticket ticket, AdmitStored(request.insert()));
  memory_ = plan.memory->number;
  template_.set_memory(plan.memory->spec.name);  // should an alias that was named point elsewhere before the next
  const uint64_t sequence = ++sequence_;
  {
    absl::MutexLock lock(&mutex_);
    // The stream may have ended while this message was on its way: nobody would be told that it was applied.
    if (finished_ || !failure_.ok()) return absl::OkStatus();
    InFlight& added = in_flight_.emplace_back();
    added.bytes = bytes.Length();
    added.durability = plan.command.durability;
    added.ticket = std::move(ticket);
    in_flight_bytes_ += added.bytes;
  }
  deployment_->Insert(plan.memory, std::move(plan.command), nullptr,
                      [self = shared_from_this(), sequence,
                       memory = plan.memory](absl::StatusOr<InsertOutcome> outcome) {
                        self->OnOutcome(sequence, memory, std::move(outcome));
                      });
  return absl::OkStatus();
}

void InsertStreamCall::OnOutcome(uint64_t sequence, const MemoryHandle& memory, absl::StatusOr<InsertOutcome> outcome) {
  if (!outcome.ok()) outcome = WithMemory(outcome.status(), *memory);
  {
    absl::MutexLock lock(&mutex_);
    // Outcomes are taken off the front only once they are told or the stream is broken.
    if (sequence <= acknowledged_ || sequence - acknowledged_ > in_flight_.size()) return;
    InFlight& entry = in_flight_[sequence - acknowledged_ - 1];
    entry.done = true;
    entry.ticket.Release();
    entry.outcome = std::move(outcome);
    Collect();
  }
  Advance();
}

void InsertStreamCall::Collect() {
  while (!broken_ && !in_flight_.empty() && in_flight_.front().done) {
    InFlight& front = in_flight_.front();
    if (!front.outcome.ok()) {
      // An earlier message decides the status over a later one that did not validate.
      broken_ = true;
      failure_ = front.outcome.status();
      return;
    }
    next_.durability = next_.any ? std::min(next_.durability, front.durability) : front.durability;
    next_.any = true;
    next_.inserted += front.outcome->inserted;
    next_.replaced += front.outcome->replaced;
    next_.given_ids.insert(next_.given_ids.end(), front.outcome->given_ids.begin(), front.outcome->given_ids.end());
    MergeVersion(front.outcome->version, version_);
    in_flight_bytes_ -= front.bytes;
    ++acknowledged_;
    in_flight_.pop_front();
  }
}

void InsertStreamCall::Advance() {
  const std::shared_ptr<InsertStreamCall> keep = weak_from_this().lock();
  absl::MutexLock lock(&mutex_);
  if (finished_) return;
  if (MaybeRespond() || MaybeFinish()) return;
  MaybeRead();
}

bool InsertStreamCall::MaybeRespond() {
  if (writing_ || !next_.any || cancelled_->load(std::memory_order_relaxed)) return false;
  v1::InsertStreamResponse response;
  response.set_sequence(acknowledged_);
  response.set_inserted(next_.inserted);
  response.set_replaced(next_.replaced);
  WriteColumn(next_.given_ids, response.mutable_ids());
  response.set_version(deployment_->EncodeVersion(version_));
  response.set_durability(WriteDurability(next_.durability));
  response.set_window_bytes(limits::kInsertStreamWindowBytes);
  next_ = Acknowledgement();
  const absl::Status status = Guard([&] { return SerializeMessage(response, &outgoing_); });
  if (!status.ok()) {
    broken_ = true;
    failure_ = status;
    return false;
  }
  writing_ = true;
  record_.TakeAnswer(outgoing_.Length());
  StartWrite(&outgoing_);
  MaybeRead();
  return true;
}

bool InsertStreamCall::MaybeFinish() {
  const bool draining = record_.front_end().draining();
  const bool closing = half_closed_ || draining || !failure_.ok();
  if (writing_ || taking_ || !closing || (!broken_ && !in_flight_.empty())) return false;
  if (failure_.ok() && !half_closed_) {
    failure_ = DrainingError();
  }
  finished_ = true;
  Finish(record_.Finish(failure_));
  return true;
}

void InsertStreamCall::MaybeRead() {
  if (reading_ || half_closed_ || finished_ || !failure_.ok() || record_.front_end().draining()) return;
  if (in_flight_bytes_ >= limits::kInsertStreamWindowBytes) return;
  reading_ = true;
  incoming_.Clear();
  StartRead(&incoming_);
}

}  // namespace mneme
