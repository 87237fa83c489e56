#include "cluster/remote_shard_port.h"

#include <grpcpp/support/client_callback.h>

#include <memory>
#include <utility>

#include "cluster/remote_states.h"
#include "common/status_macros.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

using internal_wire::AppendAnswer;
using internal_wire::AppendRequest;

}  // namespace

// One write on its way. Owns itself until OnDone().
class AppendCall final : public grpc::ClientReadReactor<AppendAnswer> {
 public:
  // `named`: the request has the id that its client gave it.
  AppendCall(RemoteShardPort* port, AppendRequest request, WriteTicket ticket, WriteAdmission::Ticket admitted,
             bool named)
      : port_(port), name_(port->channel_->name()), request_(std::move(request)), ticket_(std::move(ticket)),
        admitted_(std::move(admitted)), named_(named), context_(MakeContext(RemoteShardPort::WithinWriteTime())) {
    port->channel_->canceller().Watch(nullptr, context_);
  }

  // Nobody waits for the place that this one gets.
  void WaitedForByNone() { waited_for_ = false; }

  void Start() {
    port_->channel_->stub().async()->Append(context_.get(), &request_, this);
    StartRead(&answer_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone() says why
    if (std::exchange(waited_for_, false)) port_->GoOn();
    if (answer_.visible() && ticket_.visible != nullptr) std::exchange(ticket_.visible, nullptr)();
    if (!answer_.result().empty()) result_ = std::move(*answer_.mutable_result());
    StartRead(&answer_);
  }

  void OnDone(const grpc::Status& status) override {
    if (std::exchange(waited_for_, false)) IsAway(status) ? port_->GoAll() : port_->GoOn();
    const auto done = std::move(ticket_.done);
    absl::StatusOr<WriteResult> result = Result(status);
    delete this;  // with its hold on the channel (ShardChannel::Ask), and what was admitted
    done(std::move(result));
  }

 private:
  absl::StatusOr<WriteResult> Result(const grpc::Status& status) const {
    if (!status.ok()) return FromGrpcStatus(status, name_);
    WriteResult result;
    RETURN_IF_ERROR(Unflat(result_, result));
    result.replayed = result.replayed && named_;  // gRPC handed it over twice, not the client
    return result;
  }

  RemoteShardPort* const port_;
  const std::string name_;
  const AppendRequest request_;
  WriteTicket ticket_;
  const WriteAdmission::Ticket admitted_;
  const bool named_;
  const std::shared_ptr<grpc::ClientContext> context_;
  AppendAnswer answer_;
  std::string result_;
  bool waited_for_ = true;  // the next is sent when this one has its place
};

absl::Status RemoteShardPort::Submit(WriteOperation operation) {
  WriteTicket* const ticket = TicketOf(operation);
  const bool named = ticket != nullptr && ticket->request.has_value();
  if (ticket != nullptr && !named) ticket->request = RandomIdentity();
  AppendRequest request;
  *request.mutable_target() = channel_->target();
  ASSIGN_OR_RETURN(*request.mutable_record(), EncodeLogRecord(/*deployment=*/0, operation));
  ASSIGN_OR_RETURN(WriteAdmission::Ticket admitted,
                   admission_.Admit(request.record().size() + kCallBytes, channel_->name()));
  request.set_durability(static_cast<uint32_t>(ticket->durability));
  request.set_tell_visible(ticket->visible != nullptr);
  auto call =
      std::make_unique<AppendCall>(this, std::move(request), std::move(*ticket), std::move(admitted), named);
  {
    MutexLock lock(&mutex_);
    if (sending_) {
      waiting_.push_back(call.get());
      (void)call.release();
      return absl::OkStatus();
    }
    sending_ = true;
  }
  call.release()->Start();
  return absl::OkStatus();
}

void RemoteShardPort::GoOn() {
  AppendCall* next = nullptr;
  {
    MutexLock lock(&mutex_);
    if (waiting_.empty()) {
      sending_ = false;
      return;
    }
    next = waiting_.front();
    waiting_.pop_front();
  }
  next->Start();
}

void RemoteShardPort::GoAll() {
  std::deque<AppendCall*> all;
  {
    MutexLock lock(&mutex_);
    all.swap(waiting_);
    sending_ = false;
  }
  for (AppendCall* const call : all) {
    call->WaitedForByNone();
    call->Start();
  }
}

// A shard holds everything that it acknowledged, so that nothing need be waited for.

absl::StatusOr<StateOutcome> RemoteShardPort::ReadStates(const MemoryRecord& memory, const ApplyStates& apply,
                                                         int64_t stamp_ms, const CallLimits& limits) const {
  return AskStates(*channel_, memory, apply, stamp_ms, {}, limits);
}

absl::StatusOr<std::string> RemoteShardPort::ReadSession(const MemoryRecord& memory, const std::string& session,
                                                         int64_t stamp_ms, const CallLimits& limits) const {
  return AskSession(*channel_, memory, session, stamp_ms, {}, WithinWriteTime(limits));
}

absl::StatusOr<std::vector<NamedSession>> RemoteShardPort::ListSessions(const MemoryRecord& memory,
                                                                        const std::string& prefix,
                                                                        const std::string& after, size_t limit,
                                                                        const CallLimits& limits) const {
  return AskSessions(*channel_, memory, {prefix, after, limit}, {}, WithinWriteTime(limits));
}

}  // namespace mneme
