#include "server/query_stream.h"

#include <utility>

#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/find_memory.h"
#include "server/merge_version.h"
#include "server/query_handler.h"
#include "server/query_sources.h"
#include "server/raw_message.h"
#include "server/request_error.h"

namespace mneme {
namespace {

// What a later append may want to know of a query. `plan` has been read out already.
std::shared_ptr<const AnsweredQuery> Remember(const MemoryHandle& appended, QueryPlan& plan, AlignedBuffer rows) {
  auto answered = std::make_shared<AnsweredQuery>();
  answered->memory = appended == nullptr ? 0 : appended->number;
  answered->mixed = plan.mixed;
  answered->rows = std::move(rows);
  answered->count = plan.sources.front().outcome.neighbours.queries();
  if (plan.distribution.has_value()) {
    DistributionPlan& distribution = *plan.distribution;
    answered->has_distribution = true;
    for (QuerySource& source : plan.sources) {
      answered->neighbours.push_back(std::move(source.outcome.neighbours));
      answered->weights.push_back(source.weight);
    }
    answered->temperature = distribution.temperatures.front();
    answered->k = distribution.ks.front();
    answered->allowed = std::move(distribution.allowed);
    answered->has_allowed = distribution.has_allowed;
    if (distribution.has_mix) answered->knn_weight = distribution.knn_weight;
  }
  return answered;
}

}  // namespace

QueryStreamCall* QueryStreamCall::Start(FrontEnd& front_end, const RpcMethod& method,
                                        grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<QueryStreamCall>(front_end, method, context);
  QueryStreamCall* raw = stream.get();
  front_end.AddStream(stream);
  const absl::StatusOr<Deployment*> deployment = front_end.deployment();
  if (deployment.ok()) raw->deployment_ = *deployment;
  raw->self_ = std::move(stream);
  {
    absl::MutexLock lock(&raw->mutex_);
    raw->failure_ = raw->record_.CheckCaller();
    if (raw->failure_.ok()) raw->failure_ = deployment.status();
    raw->MaybeRead();
  }
  raw->Pump();
  return raw;
}

QueryStreamCall::QueryStreamCall(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context)
    : limits_(LimitsOf(*context, cancelled_)),
      record_(front_end, method, *context),
      held_(front_end.held_answers(), context->c_call(), record_.CallerName()) {}

void QueryStreamCall::OnReadDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (ok) {
      waiting_bytes_ += incoming_.Length();
      waiting_.push_back(std::move(incoming_));
      incoming_ = grpc::ByteBuffer();
      MaybeRead();
    } else {
      half_closed_ = true;
    }
  }
  Pump();
}

void QueryStreamCall::OnWriteDone(bool ok) {
  held_.Taken();
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && failure_.ok()) failure_ = absl::CancelledError("the client is gone");
  }
  Pump();
}

void QueryStreamCall::OnCancel() {
  cancelled_->store(true, std::memory_order_relaxed);
  absl::Status why = limits_.Check();  // a deadline cancels too
  Fail(why.ok() ? absl::CancelledError("the client cancelled") : why);
  Pump();
}

void QueryStreamCall::OnDone() { self_.reset(); }

void QueryStreamCall::OnDrain() { Pump(); }

void QueryStreamCall::Fail(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = status;
}

void QueryStreamCall::MaybeRead() {
  if (reading_ || half_closed_ || finished_ || !failure_.ok()) return;
  if (waiting_.size() >= limits::kMaxWaitingSteps || waiting_bytes_ >= limits::kMaxWaitingStepBytes) return;
  reading_ = true;
  StartRead(&incoming_);
}

void QueryStreamCall::Pump() {
  const std::shared_ptr<QueryStreamCall> keep = weak_from_this().lock();
  while (true) {
    Action action = Action::kNothing;
    {
      absl::MutexLock lock(&mutex_);
      action = NextAction();
    }
    if (action == Action::kNothing) return;
    Perform(action);
  }
}

QueryStreamCall::Action QueryStreamCall::NextAction() {
  if (finished_) return Action::kNothing;
  if (!failure_.ok()) {
    if (writing_ || on_workers_ != 0) return Action::kNothing;
    finished_ = true;
    return Action::kFinish;
  }
  if (phase_ == Phase::kAnswered && !writing_) {
    writing_ = true;
    phase_ = Phase::kAppending;
    return Action::kRespond;
  }
  return phase_ == Phase::kIdle ? NextWhenIdle() : Action::kNothing;
}

QueryStreamCall::Action QueryStreamCall::NextWhenIdle() {
  const bool draining = record_.front_end().draining();
  if (!waiting_.empty() && !draining) {
    message_ = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= message_.Length();
    phase_ = Phase::kQuerying;
    MaybeRead();
    return Action::kRunStep;
  }
  if ((!half_closed_ && !draining) || !pending_.empty() || writing_ || on_workers_ != 0) return Action::kNothing;
  if (acknowledged_untold_) {
    writing_ = true;
    return Action::kRespondLast;
  }
  if (!half_closed_ || !waiting_.empty()) failure_ = DrainingError();
  finished_ = true;
  return Action::kFinish;
}

void QueryStreamCall::Perform(Action action) {
  switch (action) {
    case Action::kNothing: return;
    case Action::kRunStep: return BeginStep();
    case Action::kRespond: return Respond();
    case Action::kRespondLast: return RespondLast();
    case Action::kFinish: break;
  }
  grpc::Status end;
  {
    absl::MutexLock lock(&mutex_);
    end = record_.Finish(failure_);
  }
  Finish(std::move(end));
}

void QueryStreamCall::BeginStep() {
  CallPool* pool = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (record_.BoundsWrites()) pool = &record_.front_end().bounded_writes();
    if (pool != nullptr) ++on_workers_;
  }
  if (pool == nullptr) return RunStep();
  const absl::Status submitted = pool->Submit([self = shared_from_this()] {
    self->RunStep();
    self->LeaveWorker();
    self->Pump();
  });
  if (submitted.ok()) return;
  LeaveWorker();
  Fail(submitted);
}

void QueryStreamCall::LeaveWorker() {
  absl::MutexLock lock(&mutex_);
  --on_workers_;
}

void QueryStreamCall::RunStep() {
  const absl::Status status = Guard([this]() -> absl::Status {
    RETURN_IF_ERROR(limits_.Check());
    request_.Clear();
    RETURN_IF_ERROR(Receive(message_.Length()));
    RETURN_IF_ERROR(ParseMessage(message_, &request_));
    message_.Clear();
    response_.Clear();
    response_.set_step(request_.step());
    if (request_.has_query()) names_.TakeFrom(request_.query());
    goes_on_ = request_.query().memory().empty() && request_.query().sources_size() == 0;
    times_anew_ = 0;
    if (request_.has_query()) RETURN_IF_ERROR(template_.Complete(*request_.mutable_query()));
    RETURN_IF_ERROR(Authorize());
    RETURN_IF_ERROR(AdmitStored());
    if (request_.has_query()) return Ask();
    Advance(Phase::kAnswered);
    return absl::OkStatus();
  });
  if (!status.ok()) Fail(status);
}

absl::Status QueryStreamCall::Receive(size_t bytes) {
  absl::MutexLock lock(&mutex_);
  return record_.Receive(bytes);
}

absl::Status QueryStreamCall::Authorize() {
  if (!request_.has_query() && !request_.has_append()) return absl::OkStatus();
  const AccessTargets targets = names_.TargetsOf(request_);
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(record_.AuthorizeTargets(targets));
  return record_.TakeEntries(AppendedEntries());
}

absl::Status QueryStreamCall::AdmitStored() {
  if (!request_.has_append()) return absl::OkStatus();
  Caller caller;
  FrontEnd* front_end = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (!BoundsWrites(record_.caller())) return absl::OkStatus();
    caller = record_.caller();
    front_end = &record_.front_end();
  }
  const v1::StepAppend& append = request_.append();
  const Addition addition{names_.memory(), append.partition(), {AppendedEntries(), append.ByteSizeLong()}};
  ASSIGN_OR_RETURN(step_ticket_,
                   AdmitAddition(front_end->stored_quotas(), caller, *deployment_, addition, limits_));
  return absl::OkStatus();
}

size_t QueryStreamCall::AppendedEntries() const {
  if (!request_.has_append()) return 0;
  if (request_.append().entries().has_keys()) return EntriesOf(request_.append());
  if (request_.has_query()) return RowsOf(request_.query().keys());
  return last_ == nullptr ? 0 : last_->count;
}

absl::Status QueryStreamCall::Ask() {
  const v1::QueryRequest& query = request_.query();
  ASSIGN_OR_RETURN(QueryPlan planned, PlanQuery(*deployment_, query, limits_));
  ASSIGN_OR_RETURN(const MemoryHandle appended, FindAppended(query, planned));
  if (goes_on_) RETURN_IF_ERROR(CheckSameMemories(appended, planned));
  appended_ = appended;
  sources_.clear();
  for (const QuerySource& source : planned.sources) sources_.push_back(source.memory->number);
  if (appended != nullptr) template_.KeepMemory(appended->spec.name);
  for (int i = 0; planned.mixed && i < query.sources_size(); ++i) {
    template_.KeepSource(i, planned.sources[static_cast<size_t>(i)].spec().name);
  }
  const auto plan = std::make_shared<QueryPlan>(std::move(planned));
  const auto rows = std::make_shared<AlignedBuffer>(plan->sources.front().command.queries.Clone());
  AskSources(*deployment_, plan->sources, [self = shared_from_this(), appended, plan, rows](const absl::Status& asked) {
    const absl::Status status = Guard([&]() -> absl::Status {
      // What the message named may be an alias, and mean another memory now.
      if (WasDroppedMeanwhile(asked) && ++self->times_anew_ <= kMostTimesAnew) return self->Ask();
      RETURN_IF_ERROR(asked);
      return self->Answer(appended, *plan, std::move(*rows));
    });
    if (!status.ok()) self->Fail(status);
    self->Pump();
  });
  return absl::OkStatus();
}

// The memory that appends go to: the one that is asked, or the one that a mixture names beside its sources. Null where
// it names none.
absl::StatusOr<MemoryHandle> QueryStreamCall::FindAppended(const v1::QueryRequest& query, const QueryPlan& plan) const {
  const QuerySource& first = plan.sources.front();
  if (!plan.mixed) return first.memory;
  if (query.memory().empty()) return MemoryHandle();
  ASSIGN_OR_RETURN(MemoryHandle memory, FindMemory(*deployment_, query.memory()));
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", query.fingerprint(), memory->spec));
  RETURN_IF_ERROR(CheckSameShape("memory", memory->spec, first.spec()));
  return memory;
}

absl::Status QueryStreamCall::CheckSameMemories(const MemoryHandle& appended, const QueryPlan& plan) const {
  if (appended_ != nullptr && appended != nullptr) RETURN_IF_ERROR(CheckSameMemory(appended_->number, appended));
  for (size_t i = 0; i < plan.sources.size(); ++i) {
    RETURN_IF_ERROR(CheckSameMemory(sources_[i], plan.sources[i].memory));
  }
  return absl::OkStatus();
}

absl::Status QueryStreamCall::Answer(const MemoryHandle& appended, QueryPlan& plan, AlignedBuffer rows) {
  FrontEnd* front_end = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return absl::OkStatus();
    front_end = &record_.front_end();
  }
  RETURN_IF_ERROR(AnswerQuery(*front_end, *deployment_, plan, limits_, response_.mutable_response()));
  previous_ = std::move(last_);
  last_ = Remember(appended, plan, std::move(rows));
  Advance(Phase::kAnswered);
  return absl::OkStatus();
}

void QueryStreamCall::Advance(Phase phase) {
  absl::MutexLock lock(&mutex_);
  phase_ = phase;
}

void QueryStreamCall::FillAcknowledged(v1::QueryStreamResponse& response) {
  response.set_acknowledged_step(acknowledged_step_);
  if (!version_.parts.empty()) response.set_acknowledged_version(deployment_->EncodeVersion(version_));
  if (benefit_.tokens != 0) {
    response.mutable_benefit()->set_tokens(benefit_.tokens);
    response.mutable_benefit()->set_nats(benefit_.nats);
  }
  acknowledged_untold_ = false;
}

void QueryStreamCall::Respond() {
  bool wrote = false;
  {
    absl::MutexLock lock(&mutex_);
    last_step_ = response_.step();
    FillAcknowledged(response_);
    wrote = record_.may_have_written();
  }
  absl::Status status = Guard([&]() -> absl::Status {
    RETURN_IF_ERROR(SerializeMessage(response_, &outgoing_));
    return held_.Give(outgoing_.Length(), wrote);
  });
  {
    absl::MutexLock lock(&mutex_);
    if (status.ok()) record_.TakeAnswer(outgoing_.Length());
    writing_ = status.ok();
    if (!status.ok()) failure_ = status;
  }
  if (!status.ok()) return;
  StartWrite(&outgoing_);
  status = Guard([this] { return SubmitAppend(); });
  if (!status.ok()) Fail(status);
}

void QueryStreamCall::RespondLast() {
  v1::QueryStreamResponse response;
  {
    absl::MutexLock lock(&mutex_);
    response.set_step(last_step_);
    FillAcknowledged(response);
  }
  const absl::Status status = SerializeMessage(response, &outgoing_);
  if (status.ok()) return StartWrite(&outgoing_);
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  failure_ = status;
}

absl::Status QueryStreamCall::SubmitAppend() {
  if (!request_.has_append()) {
    Advance(Phase::kIdle);
    return absl::OkStatus();
  }
  if (appended_ == nullptr) {
    return FieldError("query.memory", "is empty; a message before the first append must name a memory, also beside "
                                      "sources");
  }
  const MemoryHandle memory = appended_;  // of this number: dropped meanwhile, though made anew, it is NOT_FOUND
  ASSIGN_OR_RETURN(PlannedAppend plan, PlanAppend(request_.append(), memory, last_.get(), previous_.get()));
  step_benefit_ = plan.benefit;
  step_of_mixture_ = plan.of_mixture;
  uint64_t serial = 0;
  {
    absl::MutexLock lock(&mutex_);
    serial = ++serial_;
    pending_.push_back({serial, request_.step(), false, std::move(step_ticket_)});
  }
  const auto self = shared_from_this();
  deployment_->Insert(
      memory, std::move(plan.command), [self, serial, memory] { self->OnVisible(serial, memory); },
      [self, serial, memory](absl::StatusOr<InsertOutcome> outcome) { self->OnAcknowledged(serial, memory, outcome); });
  return absl::OkStatus();
}

void QueryStreamCall::OnVisible(uint64_t serial, const MemoryHandle& memory) {
  {
    absl::MutexLock lock(&mutex_);
    // A step learns once: whichever of "visible" and "done" comes first moves the stream on. The other may come while a
    // later step without an append is in the same phase.
    if (serial != serial_ || serial == visible_serial_ || phase_ != Phase::kAppending) return;
    visible_serial_ = serial;
    benefit_.tokens += step_benefit_.tokens;
    benefit_.nats += step_benefit_.nats;
    // Only now, for an append that fails teaches nothing; under the lock, so that it is counted when the stream ends.
    if (step_benefit_.tokens != 0 && !step_of_mixture_) {
      deployment_->CountBenefit(memory, step_benefit_.tokens, step_benefit_.nats);
    }
    phase_ = Phase::kIdle;
  }
  Pump();
}

void QueryStreamCall::OnAcknowledged(uint64_t serial, const MemoryHandle& memory,
                                 const absl::StatusOr<InsertOutcome>& outcome) {
  if (!outcome.ok()) {
    Fail(WithMemory(outcome.status(), *memory));
    return Pump();
  }
  OnVisible(serial, memory);
  {
    absl::MutexLock lock(&mutex_);
    MergeVersion(outcome->version, version_);
    for (PendingAppend& append : pending_) {
      if (append.serial != serial) continue;
      append.acknowledged = true;
      append.ticket.Release();
    }
    while (!pending_.empty() && pending_.front().acknowledged) {
      acknowledged_step_ = pending_.front().step;
      acknowledged_untold_ = true;
      pending_.pop_front();
    }
  }
  Pump();
}

}  // namespace mneme
